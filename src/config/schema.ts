import {
  boolean,
  duration,
  integer,
  type Kind,
  listOf,
  moment,
  name,
  networks,
  numbers,
  oneOf,
  orEmpty,
  part,
  size,
  socket,
  tableOf,
  text,
  url,
} from './kinds.js'

/** One setting: every way to give it, and what it may be. */
export interface Setting<T> {
  /** The environment variable. */
  readonly env: string
  /** Older names of the variable: accepted with a warning. */
  readonly aliases?: readonly string[]
  /** The command line flag, as commander writes it. */
  readonly flag: string
  readonly kind: Kind<T>
  /** Written as a user would write it; it goes through the same check as a user's value. */
  readonly default: string
  /** What a fault says: the values that are allowed. */
  readonly rule: string
  readonly description: string
  /** Whether a running service takes another value on SIGHUP; all else needs a restart. */
  readonly live?: true
  /** Whether the value may hold a secret, as a URL may hold a token: it is never printed. */
  readonly secret?: true
}

const setting = <T>(row: Setting<T>): Setting<T> => row

const SOCKET_RULE = 'must be ip:port or [ipv6]:port with a port from 0 to 65535'
const DURATION_RULE = 'must be a duration from 1ms to 24h, such as 250ms, 5s, 1m or 1h'
const timeout = duration(1, 24 * 3_600_000)

/** Ten years, of 366 days. */
const MOST_DELAY_MS = 10 * 366 * 24 * 3_600_000

const instance = text('[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*', 200)
const verifyMode = oneOf('or', 'and', 'pq_only')
const percent = integer(0, 100)
const TENANT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

/** What `pq.*` may be for one tenant. */
type TenantRule = {
  produce_hybrid: boolean
  verify_mode: 'or' | 'and' | 'pq_only'
  rollout_percent: number
  legacy_grace: number
}

/** A witness of the audit log; both are needed. */
type WitnessSetting = {
  url: string
  key: string
}

/** Every setting, by its dotted key in a file. */
export const SCHEMA = {
  bind_addr: setting({
    env: 'RON_KMS_BIND_ADDR',
    aliases: ['KMS_API_ADDR', 'KMS_BIND'],
    flag: '--bind <ip:port>',
    kind: socket,
    default: '127.0.0.1:9446',
    rule: SOCKET_RULE,
    description: 'address of the API; port 0 takes a free one',
  }),
  metrics_addr: setting({
    env: 'RON_KMS_METRICS_ADDR',
    aliases: ['KMS_METRICS_ADDR'],
    flag: '--metrics <ip:port>',
    kind: socket,
    default: '127.0.0.1:9909',
    rule: SOCKET_RULE,
    description: 'address of /metrics, /healthz, /readyz and /version',
  }),
  max_conns: setting({
    env: 'RON_KMS_MAX_CONNS',
    flag: '--max-conns <number>',
    kind: integer(1, 4_294_967_295),
    default: '1024',
    rule: 'must be a whole number from 1 to 4294967295',
    description: 'connections that each listener holds at once',
    live: true,
  }),
  read_timeout: setting({
    env: 'RON_KMS_READ_TIMEOUT',
    flag: '--read-timeout <duration>',
    kind: timeout,
    default: '5s',
    rule: DURATION_RULE,
    description: 'time for the headers of a request, and again for its body',
    live: true,
  }),
  write_timeout: setting({
    env: 'RON_KMS_WRITE_TIMEOUT',
    flag: '--write-timeout <duration>',
    kind: timeout,
    default: '5s',
    rule: DURATION_RULE,
    description: 'time for the peer to take an answer',
    live: true,
  }),
  idle_timeout: setting({
    env: 'RON_KMS_IDLE_TIMEOUT',
    flag: '--idle-timeout <duration>',
    kind: timeout,
    default: '60s',
    rule: DURATION_RULE,
    description: 'time that a connection may stay open between requests',
    live: true,
  }),
  'limits.max_body_bytes': setting({
    env: 'RON_KMS_MAX_BODY_BYTES',
    aliases: ['KMS_MAX_PAYLOAD'],
    flag: '--max-body-bytes <size>',
    kind: size(1024, 1_073_741_824),
    default: '1MiB',
    rule: 'must be a size from 1KiB to 1024MiB, such as 65536, 64KiB or 1MiB',
    description: 'largest request body',
    live: true,
  }),
  'limits.decompress_ratio_cap': setting({
    env: 'RON_KMS_DECOMPRESS_RATIO_CAP',
    flag: '--decompress-ratio-cap <number>',
    kind: integer(1, 10_000),
    default: '10',
    rule: 'must be a whole number from 1 to 10000',
    description: 'how many times its encoded size a request body with a Content-Encoding may decode to',
    live: true,
  }),
  'queue.max_inflight_sign': setting({
    env: 'RON_KMS_MAX_INFLIGHT_SIGN',
    aliases: ['KMS_MAX_INFLIGHT_SIGN'],
    flag: '--max-inflight-sign <number>',
    kind: integer(1, 0xffff_ffff),
    default: '512',
    rule: 'must be a whole number from 1 to 4294967295',
    description:
      'requests under way or waiting that sign or change something; what comes beyond is answered 429',
    live: true,
  }),
  'queue.max_inflight_verify': setting({
    env: 'RON_KMS_MAX_INFLIGHT_VERIFY',
    aliases: ['KMS_MAX_INFLIGHT_VERIFY'],
    flag: '--max-inflight-verify <number>',
    kind: integer(1, 0xffff_ffff),
    default: '1024',
    rule: 'must be a whole number from 1 to 4294967295',
    description: 'requests under way or waiting that verify or read; what comes beyond is answered 429',
    live: true,
  }),
  'queue.tenant_share_min': setting({
    env: 'RON_KMS_TENANT_SHARE_MIN',
    aliases: ['KMS_TENANT_SHARE_MIN'],
    flag: '--tenant-share-min <part>',
    kind: part,
    default: '0.05',
    rule: 'must be a number from 0.001 to 1',
    description: 'part of each queue that is a tenant’s, however many others want it',
    live: true,
  }),
  'tls.enabled': setting({
    env: 'RON_KMS_TLS_ENABLED',
    flag: '--tls [boolean]',
    kind: boolean,
    default: 'false',
    rule: 'must be true or false',
    description: 'serve the API over TLS 1.3 only; the metrics address stays without',
  }),
  'tls.cert_path': setting({
    env: 'RON_KMS_TLS_CERT_PATH',
    flag: '--tls-cert <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description: 'PEM file with the certificate and those that lead to its root',
    live: true,
  }),
  'tls.key_path': setting({
    env: 'RON_KMS_TLS_KEY_PATH',
    flag: '--tls-key <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description: 'PEM file with the private key of the certificate, which not everyone may read',
    live: true,
  }),
  'tls.client_ca': setting({
    env: 'RON_KMS_TLS_CLIENT_CA',
    flag: '--tls-client-ca <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description: 'PEM file with the roots of client certificates: with it a client without one is refused',
  }),
  'uds.path': setting({
    env: 'RON_KMS_UDS_PATH',
    flag: '--uds <path>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description:
      'Unix socket that serves the API too, without TLS, in a directory of its own that only the owner may enter',
  }),
  'uds.allow_uids': setting({
    env: 'RON_KMS_UDS_ALLOW_UIDS',
    flag: '--uds-allow-uids <list>',
    kind: numbers(4_294_967_294),
    default: '',
    rule: 'must be user ids, comma-separated, each once',
    description: 'users whose processes may connect to the Unix socket; the user of the service if empty',
  }),
  'service.backend': setting({
    env: 'RON_KMS_BACKEND',
    aliases: ['KMS_BACKEND'],
    flag: '--backend <name>',
    kind: oneOf('inmem', 'file', 'pkcs11'),
    default: 'file',
    rule: 'must be inmem, file or pkcs11: others are not in this version',
    description: 'what holds the private keys',
  }),
  'service.multi_backends': setting({
    env: 'RON_KMS_MULTI_BACKENDS',
    flag: '--multi-backends <list>',
    kind: orEmpty(listOf('inmem', 'file', 'pkcs11')),
    default: '',
    rule: 'must name backends, each once',
    description:
      'backends whose keys may be in the store, comma-separated: the first is service.backend, which signs, and keys of the other only verify; service.backend alone',
  }),
  'service.allow_sign_fallback': setting({
    env: 'RON_KMS_ALLOW_SIGN_FALLBACK',
    flag: '--allow-sign-fallback [boolean]',
    kind: boolean,
    default: 'false',
    rule: 'must be true or false',
    description:
      'let a key of a later backend sign where kid, version and attestation class are those of the first',
  }),
  'backends.pkcs11.module_path': setting({
    env: 'RON_KMS_PKCS11_MODULE_PATH',
    aliases: ['KMS_PKCS11_MODULE'],
    flag: '--pkcs11-module <file>',
    kind: name,
    default: '',
    rule: 'must be the absolute name of a file',
    description: 'PKCS#11 module of the backend pkcs11',
  }),
  'backends.pkcs11.slot_label': setting({
    env: 'RON_KMS_PKCS11_SLOT_LABEL',
    flag: '--pkcs11-label <label>',
    kind: text('.{1,32}', 32),
    default: 'RON-KMS',
    rule: 'must have 1 to 32 characters',
    description: 'label of the token, exact',
  }),
  'backends.pkcs11.pin_env': setting({
    env: 'RON_KMS_PKCS11_PIN_ENV',
    flag: '--pkcs11-pin-env <name>',
    kind: name,
    default: '',
    rule: 'must be the name of an environment variable',
    description: 'environment variable that holds the PIN; the PIN itself is never a setting',
  }),
  'backends.pkcs11.max_sessions': setting({
    env: 'RON_KMS_PKCS11_MAX_SESSIONS',
    flag: '--pkcs11-max-sessions <number>',
    kind: integer(1, 256),
    default: '16',
    rule: 'must be a whole number from 1 to 256',
    description: 'most sessions with the token',
  }),
  'backends.pkcs11.queue': setting({
    env: 'RON_KMS_PKCS11_QUEUE',
    flag: '--pkcs11-queue <number>',
    kind: integer(1, 65_536),
    default: '512',
    rule: 'must be a whole number from 1 to 65536',
    description: 'most calls that wait for a session; further ones answer 429',
  }),
  'backends.pkcs11.keep_alive': setting({
    env: 'RON_KMS_PKCS11_KEEP_ALIVE',
    flag: '--pkcs11-keep-alive <duration>',
    kind: timeout,
    default: '30s',
    rule: DURATION_RULE,
    description: 'idle time after which a session is asked whether it lives',
  }),
  'backends.pkcs11.idle_close': setting({
    env: 'RON_KMS_PKCS11_IDLE_CLOSE',
    flag: '--pkcs11-idle-close <duration>',
    kind: timeout,
    default: '5m',
    rule: DURATION_RULE,
    description: 'idle time after which a session is closed, but for the last one',
  }),
  'backends.pkcs11.trip_after': setting({
    env: 'RON_KMS_PKCS11_TRIP_AFTER',
    flag: '--pkcs11-trip-after <number>',
    kind: integer(1, 1000),
    default: '5',
    rule: 'must be a whole number from 1 to 1000',
    description: 'failures in a row after which the token counts as gone',
  }),
  'backends.pkcs11.backoff_first': setting({
    env: 'RON_KMS_PKCS11_BACKOFF_FIRST',
    flag: '--pkcs11-backoff-first <duration>',
    kind: timeout,
    default: '100ms',
    rule: DURATION_RULE,
    description: 'first delay before a token that is gone is asked again; it doubles, with jitter',
  }),
  'backends.pkcs11.backoff_most': setting({
    env: 'RON_KMS_PKCS11_BACKOFF_MOST',
    flag: '--pkcs11-backoff-most <duration>',
    kind: timeout,
    default: '5s',
    rule: DURATION_RULE,
    description: 'longest of these delays',
  }),
  'backends.pkcs11.deadline': setting({
    env: 'RON_KMS_PKCS11_DEADLINE',
    flag: '--pkcs11-deadline <duration>',
    kind: timeout,
    default: '2s',
    rule: DURATION_RULE,
    description: 'longest that one operation waits for the token',
  }),
  'backends.pkcs11.open_deadline': setting({
    env: 'RON_KMS_PKCS11_OPEN_DEADLINE',
    flag: '--pkcs11-open-deadline <duration>',
    kind: timeout,
    default: '10s',
    rule: DURATION_RULE,
    description: 'longest that opening the token takes',
  }),
  'security.attest_require': setting({
    env: 'RON_KMS_ATTEST_REQUIRE',
    aliases: ['KMS_ATTEST_REQUIRE'],
    flag: '--attest <word>',
    kind: oneOf('never', 'if-available', 'required'),
    default: 'if-available',
    rule: 'must be never, if-available or required',
    description: 'whether evidence of where keys are is asked for; if required, nothing signs without it',
  }),
  'audit.verify_cache_ttl_ms': setting({
    env: 'RON_KMS_VERIFY_CACHE_TTL_MS',
    aliases: ['KMS_VERIFY_CACHE_TTL_MS'],
    flag: '--verify-cache-ttl <ms>',
    kind: integer(1, 86_400_000),
    default: '300000',
    rule: 'must be a whole number of milliseconds from 1 to 86400000',
    description:
      'milliseconds for which keys are verified with while their token is away; after twice this they are not',
  }),
  'backends.file.dir': setting({
    env: 'RON_KMS_FILE_DIR',
    flag: '--file-dir <dir>',
    kind: name,
    default: './kms-sealed',
    rule: 'must be the name of a directory',
    description: 'directory of the backend file; made where it is missing',
  }),
  'backends.file.accept_older': setting({
    env: 'RON_KMS_FILE_ACCEPT_OLDER',
    flag: '--accept-older-store',
    kind: boolean,
    default: 'false',
    rule: 'must be true or false',
    description: 'open a store that is older than its anchor, or whose anchor is missing',
  }),
  'root_key.kind': setting({
    env: 'RON_KMS_ROOT_KEY_KIND',
    flag: '--root-key-kind <kind>',
    kind: oneOf('key-file', 'passphrase', 'age-identity', 'hsm'),
    default: 'key-file',
    rule: 'must be key-file, passphrase, age-identity or hsm',
    description: 'what the root key is; hsm, an AES key in the token, where the backend pkcs11 is given none',
    live: true,
  }),
  'root_key.file': setting({
    env: 'RON_KMS_ROOT_KEY_FILE',
    flag: '--root-key-file <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description: 'file that holds the root key of the backend file',
    live: true,
  }),
  'root_key.env': setting({
    env: 'RON_KMS_ROOT_KEY_ENV',
    flag: '--root-key-env <name>',
    kind: name,
    default: '',
    rule: 'must be the name of an environment variable',
    description: 'environment variable that holds it instead',
    live: true,
  }),
  'audit.enabled': setting({
    env: 'RON_KMS_AUDIT_ENABLED',
    flag: '--audit <boolean>',
    kind: boolean,
    default: 'true',
    rule: 'must be true or false',
    description: 'record every operation that changes something or uses a private key',
  }),
  'audit.instance': setting({
    env: 'RON_KMS_AUDIT_INSTANCE',
    flag: '--audit-instance <name>',
    kind: instance,
    default: 'main',
    rule: 'must be one or more names of letters, digits, dots, dashes and underscores, with / between them',
    description: 'name of this instance: its audit log is called ron-kms/<name>, and no other may be',
  }),
  'audit.dir': setting({
    env: 'RON_KMS_AUDIT_DIR',
    flag: '--audit-dir <dir>',
    kind: name,
    default: '',
    rule: 'must be the name of a directory',
    description:
      'directory of the audit log; audit in backends.file.dir with the backend file, and with inmem in memory only',
  }),
  'audit.anchor': setting({
    env: 'RON_KMS_AUDIT_ANCHOR',
    flag: '--anchor <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file outside of backends.file.dir',
    description:
      'file, best on another disk, that remembers how far store and audit log were, so that an older copy is found out; beside the directory, with .anchor at the end of its name',
  }),
  'audit.durability': setting({
    env: 'RON_KMS_AUDIT_DURABILITY',
    flag: '--audit-durability <word>',
    kind: oneOf('queued', 'fsync'),
    default: 'queued',
    rule: 'must be queued or fsync',
    description: 'what an answer waits for: its record in a file, which a kill does not lose, or on disk',
  }),
  'audit.on_full': setting({
    env: 'RON_KMS_AUDIT_ON_FULL',
    flag: '--audit-on-full <word>',
    kind: oneOf('reject', 'drop-oldest'),
    default: 'reject',
    rule: 'must be reject or drop-oldest',
    description:
      'what happens when there is no room for a record: the operation is refused, or the oldest go',
  }),
  'audit.flush_interval': setting({
    env: 'RON_KMS_AUDIT_FLUSH_INTERVAL',
    flag: '--audit-flush-interval <duration>',
    kind: duration(1, 60_000),
    default: '100ms',
    rule: 'must be a duration from 1ms to 60s',
    description: 'longest that a record of a queued log waits for the disk',
  }),
  'audit.checkpoint_interval': setting({
    env: 'RON_KMS_AUDIT_CHECKPOINT_TIME',
    flag: '--audit-checkpoint-time <duration>',
    kind: duration(10, 3_600_000),
    default: '10s',
    rule: 'must be a duration from 10ms to 1h',
    description: 'time after which a checkpoint is made, if there are records that none covers',
  }),
  'audit.checkpoint_interval_ops': setting({
    env: 'RON_KMS_AUDIT_CHECKPOINT_INTERVAL',
    flag: '--audit-checkpoint-ops <number>',
    kind: integer(1, 1_000_000_000),
    default: '5000',
    rule: 'must be a whole number from 1 to 1000000000',
    description: 'records after which a checkpoint is made',
  }),
  'audit.verify': setting({
    env: 'RON_KMS_AUDIT_VERIFY',
    flag: '--audit-verify <word>',
    kind: oneOf('none', 'requests'),
    default: 'requests',
    rule: 'must be none or requests',
    description: 'whether there is a record of each request to verify',
  }),
  'audit.key_generation': setting({
    env: 'RON_KMS_AUDIT_KEY_GENERATION',
    flag: '--audit-key-generation <number>',
    kind: integer(1, 1_000_000),
    default: '1',
    rule: 'must be a whole number from 1 to 1000000',
    description: 'which audit keys sign; one more than before makes new ones, which those before sign',
  }),
  'audit.retain_records': setting({
    env: 'RON_KMS_AUDIT_RETAIN_RECORDS',
    flag: '--audit-retain-records <number>',
    kind: integer(0, Number.MAX_SAFE_INTEGER),
    default: '0',
    rule: 'must be a whole number from 0',
    description:
      'newest records that stay in audit.dir; older files of 16 MiB are given up, their hashes stay; 0 keeps all',
  }),
  'audit.archive_dir': setting({
    env: 'RON_KMS_AUDIT_ARCHIVE_DIR',
    flag: '--audit-archive-dir <dir>',
    kind: name,
    default: '',
    rule: 'must be the name of a directory on the file system of audit.dir',
    description: 'where files that are given up go; without it they are removed',
  }),
  'audit.export': setting({
    env: 'RON_KMS_AUDIT_EXPORT',
    flag: '--audit-export <url>',
    kind: url,
    default: '',
    rule: 'must be an http or https URL without user and password',
    description: 'takes every record as JSON lines by POST, in order and at least once, within a second',
    secret: true,
  }),
  'audit.export_position': setting({
    env: 'RON_KMS_AUDIT_EXPORT_POSITION',
    flag: '--audit-export-position <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description:
      'file that remembers how far the export is; beside audit.dir, with .export at the end of its name',
  }),
  'audit.witnesses': setting({
    env: 'RON_KMS_AUDIT_WITNESSES',
    flag: '--audit-witnesses <json>',
    kind: tableOf<WitnessSetting>(name => TENANT.test(name), {
      url,
      key: text('[^+\\s]+\\+[0-9a-f]{8}\\+[A-Za-z0-9+/]+=*', 4096),
    }),
    default: '{}',
    rule: 'must hold, by name, the url of a witness and its verifier key as key',
    description: 'witnesses (C2SP tlog-witness) that cosign checkpoints',
    secret: true,
  }),
  'audit.accept_keys': setting({
    env: 'RON_KMS_AUDIT_ACCEPT_KEYS',
    flag: '--accept-audit-keys',
    kind: boolean,
    default: 'false',
    rule: 'must be true or false',
    description: 'go on with audit keys that those before did not sign, and record that',
  }),
  'audit.accept_older': setting({
    env: 'RON_KMS_AUDIT_ACCEPT_OLDER',
    flag: '--accept-older-log',
    kind: boolean,
    default: 'false',
    rule: 'must be true or false',
    description:
      'go on with an audit log that disagrees with its anchor, and record that; so does backends.file.accept_older',
  }),
  'service.amnesia': setting({
    env: 'RON_KMS_AMNESIA',
    aliases: ['KMS_AMNESIA'],
    flag: '--amnesia',
    kind: boolean,
    default: 'false',
    rule: 'must be true or false',
    description: 'write nothing durable, ever',
  }),
  'service.allowed_algs': setting({
    env: 'RON_KMS_ALLOWED_ALGS',
    aliases: ['KMS_ALLOWED_ALGS'],
    flag: '--allowed-algs <list>',
    kind: listOf('ed25519', 'ml-dsa', 'slh-dsa', 'x25519', 'ml-kem'),
    default: 'ed25519,ml-dsa,x25519,ml-kem',
    rule: 'must name one or more of ed25519, ml-dsa, slh-dsa, x25519 and ml-kem, each once',
    description: 'algorithms that keys may use, comma-separated; a hybrid key needs both of its',
  }),
  'pq.produce_hybrid': setting({
    env: 'RON_KMS_PQ_PRODUCE_HYBRID',
    aliases: ['KMS_PQ_PRODUCE_HYBRID'],
    flag: '--pq-produce-hybrid [boolean]',
    kind: boolean,
    default: 'true',
    rule: 'must be true or false',
    description: 'whether both halves of a hybrid key sign',
    live: true,
  }),
  'pq.verify_mode': setting({
    env: 'RON_KMS_PQ_VERIFY_MODE',
    aliases: ['KMS_PQ_VERIFY_MODE'],
    flag: '--pq-verify <mode>',
    kind: verifyMode,
    default: 'and',
    rule: 'must be or, and or pq_only',
    description: 'which halves of a hybrid signature must hold',
    live: true,
  }),
  'pq.rollout_percent': setting({
    env: 'RON_KMS_PQ_ROLLOUT_PERCENT',
    aliases: ['KMS_PQ_ROLLOUT_PERCENT'],
    flag: '--pq-rollout <percent>',
    kind: percent,
    default: '100',
    rule: 'must be a whole number from 0 to 100',
    description: 'part of all keys that pq.* applies to; the others stay classical',
    live: true,
  }),
  'pq.legacy_grace': setting({
    env: 'RON_KMS_PQ_LEGACY_GRACE',
    flag: '--pq-legacy-grace <moment>',
    kind: moment,
    default: 'none',
    rule: 'must be none or a moment such as 2027-01-31T00:00:00Z',
    description: 'until when classical keys sign and verify under pq_only',
    live: true,
  }),
  'pq.tenants': setting({
    env: 'RON_KMS_PQ_TENANTS',
    flag: '--pq-tenants <json>',
    kind: tableOf<TenantRule>(name => TENANT.test(name), {
      produce_hybrid: boolean,
      verify_mode: verifyMode,
      rollout_percent: percent,
      legacy_grace: moment,
    }),
    default: '{}',
    rule: 'must hold, by tenant, any of produce_hybrid, verify_mode, rollout_percent and legacy_grace',
    description: 'what pq.* is for single tenants',
    live: true,
  }),
  'security.sign_rate_limit_rps': setting({
    env: 'RON_KMS_SIGN_RATE_LIMIT',
    aliases: ['KMS_SIGN_RATE_LIMIT'],
    flag: '--sign-rate-limit <number>',
    kind: integer(0, 0xffff_ffff),
    default: '500',
    rule: 'must be a whole number from 0 to 4294967295',
    description:
      'signatures a second that the instance makes; 0 is no limit, which is the default with --dev',
    live: true,
  }),
  'capability.root_key_file': setting({
    env: 'RON_KMS_CAPABILITY_ROOT_KEY_FILE',
    flag: '--capability-root-key-file <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description: 'file of the root keys of capabilities, the newest last, which mints',
  }),
  'capability.root_key_env': setting({
    env: 'RON_KMS_CAPABILITY_ROOT_KEY_ENV',
    flag: '--capability-root-key-env <name>',
    kind: name,
    default: '',
    rule: 'must be the name of an environment variable',
    description: 'environment variable that holds them instead',
  }),
  'capability.revocation_file': setting({
    env: 'RON_KMS_CAPABILITY_REVOCATION_FILE',
    flag: '--capability-revocation-file <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description:
      'list of revoked capabilities, looked at once a second; while it cannot be read nobody is let in',
  }),
  'capability.trusted_proxies': setting({
    env: 'RON_KMS_CAPABILITY_TRUSTED_PROXIES',
    flag: '--capability-trusted-proxies <list>',
    kind: networks,
    default: '',
    rule: 'must be addresses or networks such as 10.0.0.1 or 10.0.0.0/8',
    description: 'proxies whose X-Forwarded-For is believed, comma-separated',
  }),
  'capability.read_may_verify': setting({
    env: 'RON_KMS_CAPABILITY_READ_MAY_VERIFY',
    flag: '--capability-read-may-verify [boolean]',
    kind: boolean,
    default: 'false',
    rule: 'must be true or false',
    description: 'whether kms:read also verifies',
  }),
  'capability.max_rps': setting({
    env: 'RON_KMS_CAPABILITY_MAX_RPS',
    flag: '--capability-max-rps <number>',
    kind: integer(0, 1_000_000),
    default: '0',
    rule: 'must be a whole number from 0 to 1000000',
    description:
      'requests a second of one capability, with all that was attenuated from it; 0 for no ceiling',
  }),
  'capability.mint_per_minute': setting({
    env: 'RON_KMS_CAPABILITY_MINT_PER_MINUTE',
    flag: '--capability-mint-per-minute <number>',
    kind: integer(1, 1_000_000),
    default: '60',
    rule: 'must be a whole number from 1 to 1000000',
    description: 'capabilities that may be minted on line in a minute, for each tenant',
  }),
  'capability.max_active': setting({
    env: 'RON_KMS_CAPABILITY_MAX_ACTIVE',
    flag: '--capability-max-active <number>',
    kind: integer(1, 1_000_000),
    default: '10000',
    rule: 'must be a whole number from 1 to 1000000',
    description: 'capabilities minted on line that may be active, for each tenant',
  }),
  'capability.max_life': setting({
    env: 'RON_KMS_CAPABILITY_MAX_LIFE',
    flag: '--capability-max-life <duration>',
    kind: duration(1000, 30 * 24 * 3_600_000),
    default: '24h',
    rule: 'must be a duration from 1s to 720h',
    description: 'longest life of a capability that is minted on line',
  }),
  'security.time_skew_tolerance_ms': setting({
    env: 'RON_KMS_TIME_SKEW_TOLERANCE_MS',
    aliases: ['KMS_TIME_SKEW_TOLERANCE_MS'],
    flag: '--time-skew-tolerance-ms <number>',
    kind: integer(0, 300_000),
    default: '2000',
    rule: 'must be a whole number from 0 to 300000',
    description:
      'how far the clocks of others may be off, in milliseconds, where a capability begins or ends',
  }),
  'security.verify_after_sign': setting({
    env: 'RON_KMS_VERIFY_AFTER_SIGN',
    flag: '--verify-after-sign <boolean>',
    kind: boolean,
    default: 'true',
    rule: 'must be true or false',
    description: 'verify each signature before it leaves, so that a fault of the machine cannot reveal a key',
  }),
  'security.require_mlock': setting({
    env: 'RON_KMS_REQUIRE_MLOCK',
    flag: '--require-mlock [boolean]',
    kind: boolean,
    default: 'false',
    rule: 'must be true or false',
    description: 'refuse to start, and to hold another secret, where memory cannot be locked into RAM',
  }),
  'destroy.min_delay': setting({
    env: 'RON_KMS_DESTROY_MIN_DELAY',
    flag: '--destroy-min-delay <duration>',
    kind: duration(0, MOST_DELAY_MS),
    default: '24h',
    rule: 'must be a duration from 0ms to 87840h, such as 30m, 24h or 168h',
    description: 'shortest time from the wish to destroy a key until it is destroyed',
  }),
  'ed25519.table_cache_bytes': setting({
    env: 'RON_KMS_ED25519_TABLE_CACHE_BYTES',
    flag: '--ed25519-table-cache-bytes <size>',
    kind: size(0, 4_294_967_295),
    default: '64MiB',
    rule: 'must be a size from 0 to 4095MiB, such as 16MiB or 64MiB; 0 keeps no tables',
    description: 'memory for the tables of public keys in use',
    live: true,
  }),
  'security.allow_import': setting({
    env: 'RON_KMS_ALLOW_IMPORT',
    flag: '--allow-import [boolean]',
    kind: boolean,
    default: 'false',
    rule: 'must be true or false',
    description: 'take in private keys that were made elsewhere',
  }),
  'otel.endpoint': setting({
    env: 'RON_KMS_OTEL_ENDPOINT',
    flag: '--otel-endpoint <url>',
    kind: url,
    default: '',
    rule: 'must be an http or https URL',
    description: 'OTLP/HTTP receiver of traces, such as http://127.0.0.1:4318; nothing is traced without one',
  }),
  'log.level': setting({
    env: 'RON_KMS_LOG_LEVEL',
    flag: '--log-level <level>',
    kind: oneOf('trace', 'debug', 'info', 'warn', 'error'),
    default: 'info',
    rule: 'must be trace, debug, info, warn or error',
    description: 'least severe event that is logged',
    live: true,
  }),
  'log.format': setting({
    env: 'RON_KMS_LOG_FORMAT',
    flag: '--log-format <format>',
    kind: oneOf('json', 'text'),
    default: 'json',
    rule: 'must be json or text',
    description: 'JSON lines, or lines for people',
  }),
} as const

/** The dotted name of a setting. */
export type Key = keyof typeof SCHEMA

type Values = { [K in Key]: (typeof SCHEMA)[K] extends Setting<infer T> ? T : never }
type Head<K> = K extends `${infer H}.${string}` ? H : K
type Below<T, H extends string> = { [K in keyof T as K extends `${H}.${infer R}` ? R : never]: T[K] }
type Tree<T> = {
  readonly [H in Head<keyof T & string> & string]: H extends keyof T ? T[H] : Tree<Below<T, H>>
}

/** The settings as code reads them, for example `config.limits.max_body_bytes`; durations are milliseconds. */
export type Config = Tree<Values>

/** Every key, in the order of the table. */
export const KEYS = Object.keys(SCHEMA) as Key[]

/** Variables with the prefix that are not settings of the service. */
export const OTHER_VARIABLES: ReadonlySet<string> = new Set([
  'RON_KMS_CONFIG', // the file, see load.ts
  'RON_KMS_TOKEN', // read by clients such as `ron-kms demo`
  'RON_KMS_CPU_TIER', // read by the native core: forces a tier of instructions
])
