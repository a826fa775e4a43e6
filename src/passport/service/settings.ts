import {
  boolean,
  duration,
  integer,
  type Kind,
  name,
  oneOf,
  type SocketAddress,
  size,
  socket,
  text,
  url,
} from '../../config/kinds.js'
import { SCHEMA as KMS, type Key as KmsKey } from '../../config/schema.js'
import type { Setting, SettingsOf } from '../../config/setting.js'
import { MOST_BATCH, MOST_MSG_BYTES, MOST_SKEW_S } from '../native.js'

const setting = <T>(row: Setting<T>): Setting<T> => row

/** A setting that both services have, by a variable of its own. */
function asInKms<K extends KmsKey>(key: K, env: string): (typeof KMS)[K] {
  const { aliases: _, ...row } = KMS[key] as Setting<unknown>
  return { ...row, env } as (typeof KMS)[K]
}

const SOCKET_RULE = 'must be ip:port or [ipv6]:port with a port from 0 to 65535'
const DURATION_RULE = 'must be a duration from 1ms to 24h, such as 250ms, 5s, 1m or 1h'
const WORD_RULE = 'must be 1 to 64 of A-Z a-z 0-9 . _ -, and begin with a letter or digit'
const timeout = duration(1, 24 * 3_600_000)
const word = text('[A-Za-z0-9][A-Za-z0-9._-]{0,63}', 64)
const KID = '[A-Za-z0-9._-]+/[A-Za-z0-9._-]+/ed25519/[0-9a-f-]{36}'
const YEAR_MS = 366 * 24 * 3_600_000
const DAYS_30_S = 30 * 24 * 3600

/** An address, or none. */
const maybeSocket: Kind<SocketAddress | null> = {
  text: raw => (raw === '' ? null : socket.text(raw)),
  value: raw => (raw === '' ? null : socket.value(raw)),
}

/** Kids with their versions; comma-separated in text. */
const kids: Kind<readonly string[]> = {
  text: raw => allKids(raw === '' ? [] : raw.split(',').map(kid => kid.trim())),
  value: raw => (Array.isArray(raw) ? allKids(raw) : typeof raw === 'string' ? kids.text(raw) : undefined),
}

function allKids(list: readonly unknown[]): readonly string[] | undefined {
  const whole = new RegExp(`^${KID}#v[1-9][0-9]{0,9}$`)
  return list.every(kid => typeof kid === 'string' && whole.test(kid)) ? (list as string[]) : undefined
}

/** Every setting of `svc-passport`, by its dotted key in a file. */
export const SCHEMA = {
  bind_addr: setting({
    env: 'PASSPORT_BIND_ADDR',
    aliases: ['PASSPORT_BIND'],
    flag: '--bind <ip:port>',
    kind: socket,
    default: '127.0.0.1:5307',
    rule: SOCKET_RULE,
    description: 'address of the API; port 0 takes a free one',
  }),
  admin_addr: setting({
    env: 'PASSPORT_ADMIN_ADDR',
    flag: '--admin-addr <ip:port>',
    kind: maybeSocket,
    default: '',
    rule: `${SOCKET_RULE}; empty for the address of the API`,
    description: 'address of /metrics, /healthz, /readyz and /version',
  }),
  max_conns: asInKms('max_conns', 'PASSPORT_MAX_CONNS'),
  read_timeout: asInKms('read_timeout', 'PASSPORT_READ_TIMEOUT'),
  write_timeout: asInKms('write_timeout', 'PASSPORT_WRITE_TIMEOUT'),
  idle_timeout: asInKms('idle_timeout', 'PASSPORT_IDLE_TIMEOUT'),
  'tls.enabled': setting({
    ...asInKms('tls.enabled', 'PASSPORT_TLS_ENABLED'),
    description:
      'serve the API over TLS 1.3 only, with health and metrics where they have no address of their own',
  }),
  'tls.cert_path': asInKms('tls.cert_path', 'PASSPORT_TLS_CERT_PATH'),
  'tls.key_path': asInKms('tls.key_path', 'PASSPORT_TLS_KEY_PATH'),
  'tls.client_ca': asInKms('tls.client_ca', 'PASSPORT_TLS_CLIENT_CA'),
  'uds.path': asInKms('uds.path', 'PASSPORT_UDS_PATH'),
  'uds.allow_uids': asInKms('uds.allow_uids', 'PASSPORT_UDS_ALLOW_UIDS'),
  'passport.issuer': setting({
    env: 'PASSPORT_ISSUER',
    flag: '--issuer <name>',
    kind: text('[\\x21-\\x7e]+', 256),
    default: 'svc-passport',
    rule: 'must be 1 to 256 printable ASCII characters without spaces',
    description: 'iss of every passport',
  }),
  'passport.default_ttl_s': setting({
    env: 'PASSPORT_DEFAULT_TTL_S',
    flag: '--default-ttl-s <seconds>',
    kind: integer(1, DAYS_30_S),
    default: '3600',
    rule: `must be a whole number from 1 to ${DAYS_30_S}`,
    description: 'lifetime of a passport where none is asked for',
  }),
  'passport.max_ttl_s': setting({
    env: 'PASSPORT_MAX_TTL_S',
    flag: '--max-ttl-s <seconds>',
    kind: integer(1, DAYS_30_S),
    default: '86400',
    rule: `must be a whole number from 1 to ${DAYS_30_S}, and not below passport.default_ttl_s`,
    description: 'longest lifetime of a passport',
  }),
  'passport.clock_skew_s': setting({
    env: 'PASSPORT_CLOCK_SKEW_S',
    flag: '--clock-skew-s <seconds>',
    kind: integer(0, MOST_SKEW_S),
    default: '120',
    rule: `must be a whole number from 0 to ${MOST_SKEW_S}`,
    description: 'how far the clocks of issuer and verifier may differ',
  }),
  'verify.coalesce': setting({
    env: 'PASSPORT_VERIFY_COALESCE',
    flag: '--coalesce [boolean]',
    kind: boolean,
    default: 'true',
    rule: 'must be true or false',
    description: 'verify requests that come at the same time side by side',
  }),
  'verify.target_batch': setting({
    env: 'PASSPORT_VERIFY_TARGET_BATCH',
    flag: '--target-batch <number>',
    kind: integer(1, MOST_BATCH),
    default: '64',
    rule: `must be a whole number from 1 to ${MOST_BATCH}, and not above verify.max_batch`,
    description: 'requests that are worked on as soon as there are so many',
  }),
  'verify.max_batch': setting({
    env: 'PASSPORT_VERIFY_MAX_BATCH',
    flag: '--verify-max-batch <number>',
    kind: integer(1, MOST_BATCH),
    default: '256',
    rule: `must be a whole number from 1 to ${MOST_BATCH}`,
    description: 'most requests that are verified side by side in one call',
  }),
  'verify.max_wait_us': setting({
    env: 'PASSPORT_VERIFY_MAX_WAIT_US',
    flag: '--max-wait-us <number>',
    kind: integer(0, 100_000),
    default: '500',
    rule: 'must be a whole number from 0 to 100000',
    description: 'longest that a request waits for others, in microseconds',
  }),
  'cache.vk_ttl_s': setting({
    env: 'PASSPORT_VK_TTL_S',
    flag: '--vk-ttl-s <seconds>',
    kind: integer(1, 86_400),
    default: '60',
    rule: 'must be a whole number from 1 to 86400',
    description: 'how often the key service is asked for versions and their states',
  }),
  'cache.jwks_ttl_s': setting({
    env: 'PASSPORT_JWKS_TTL_S',
    flag: '--jwks-ttl-s <seconds>',
    kind: integer(0, 86_400),
    default: '60',
    rule: 'must be a whole number from 0 to 86400',
    description: 'how long others may keep the published keys',
  }),
  'limits.max_msg_bytes': setting({
    env: 'PASSPORT_MAX_MSG_BYTES',
    flag: '--max-msg-bytes <size>',
    kind: size(64, MOST_MSG_BYTES),
    default: '4096',
    rule: `must be a size from 64 to ${MOST_MSG_BYTES}`,
    description: 'longest payload of a passport',
  }),
  'limits.max_batch': setting({
    env: 'PASSPORT_MAX_BATCH',
    flag: '--max-batch <number>',
    kind: integer(1, MOST_BATCH),
    default: '512',
    rule: `must be a whole number from 1 to ${MOST_BATCH}`,
    description: 'most items of a verify_batch',
  }),
  'limits.max_body_bytes': setting({
    env: 'PASSPORT_MAX_BODY_BYTES',
    flag: '--max-body-bytes <size>',
    kind: size(1024, 67_108_864),
    default: '4MiB',
    rule: 'must be a size from 1KiB to 64MiB, such as 65536, 64KiB or 1MiB',
    description: 'largest request body',
    live: true,
  }),
  'limits.max_inflight': setting({
    env: 'PASSPORT_MAX_INFLIGHT',
    aliases: ['PASSPORT_CONCURRENCY_LIMIT'],
    flag: '--max-inflight <number>',
    kind: integer(1, 1_000_000),
    default: '1024',
    rule: 'must be a whole number from 1 to 1000000',
    description: 'requests under way or waiting; what comes beyond is answered 429',
    live: true,
  }),
  'security.require_aud': setting({
    env: 'PASSPORT_REQUIRE_AUD',
    flag: '--require-aud [boolean]',
    kind: boolean,
    default: 'true',
    rule: 'must be true or false',
    description: 'refuse a verification that names no audience as bad_aud',
  }),
  'security.verify_requires_capability': setting({
    env: 'PASSPORT_VERIFY_REQUIRES_CAPABILITY',
    flag: '--verify-requires-capability [boolean]',
    kind: boolean,
    default: 'false',
    rule: 'must be true or false',
    description: 'ask for a capability on the verify routes, too',
  }),
  'security.replay_items': setting({
    env: 'PASSPORT_REPLAY_ITEMS',
    flag: '--replay-items <number>',
    kind: integer(0, 16_777_216),
    default: '0',
    rule: 'must be a whole number from 0 to 16777216; 0 for no replay window',
    description: 'passports that are remembered so that each is taken once',
  }),
  'security.distrust': setting({
    env: 'PASSPORT_DISTRUST',
    flag: '--distrust <kids>',
    kind: kids,
    default: '',
    rule: 'must be kids with their versions, separated by commas',
    description: 'versions whose passports are refused, whatever the key service says',
    live: true,
  }),
  'capability.root_key_file': setting({
    env: 'PASSPORT_CAPABILITY_ROOT_KEY_FILE',
    flag: '--capability-root-key-file <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description: 'file of the root keys of capabilities',
  }),
  'capability.root_key_env': setting({
    env: 'PASSPORT_CAPABILITY_ROOT_KEY_ENV',
    flag: '--capability-root-key-env <name>',
    kind: name,
    default: '',
    rule: 'must be the name of an environment variable',
    description: 'environment variable that holds them instead',
  }),
  'capability.revocation_file': setting({
    env: 'PASSPORT_CAPABILITY_REVOCATION_FILE',
    flag: '--capability-revocation-file <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description:
      'list of revoked capabilities, looked at once a second; while it cannot be read nobody is let in',
  }),
  'rotation.publish_ahead': setting({
    env: 'PASSPORT_PUBLISH_AHEAD',
    flag: '--publish-ahead <duration>',
    kind: duration(0, YEAR_MS),
    default: '60s',
    rule: 'must be a duration from 0ms to 8784h, such as 60s or 1h',
    description: 'how long a new version is published before it signs',
  }),
  'rotation.max_age': setting({
    env: 'PASSPORT_ROTATION_MAX_AGE',
    flag: '--rotation-max-age <duration>',
    kind: duration(0, 10 * YEAR_MS),
    default: '720h',
    rule: 'must be a duration from 0ms to 87840h; 0ms for no rotation by age',
    description: 'age at which the signing version is rotated by itself',
  }),
  'kms.url': setting({
    env: 'PASSPORT_KMS_URL',
    flag: '--kms-url <url>',
    kind: url,
    default: '',
    rule: 'must be an http or https URL such as http://127.0.0.1:9446; empty for the key service in this process',
    description: 'a ron-kms that holds the key',
    // What is refused may have a password in it.
    secret: true,
  }),
  'kms.capability_file': setting({
    env: 'PASSPORT_KMS_CAPABILITY_FILE',
    flag: '--kms-capability-file <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file, and is needed with kms.url',
    description:
      'file with the capability for that ron-kms: kms:read, kms:sign, kms:rotate, kms:destroy on the key',
  }),
  'kms.key': setting({
    env: 'PASSPORT_KMS_KEY',
    flag: '--kms-key <kid>',
    kind: text(`(?:${KID})?`, 256),
    default: '',
    rule: 'must be <tenant>/<purpose>/ed25519/<uuid> without a version, and is needed with kms.url',
    description: 'the key that signs; in this process one is made where none is named',
  }),
  'kms.tenant': setting({
    env: 'PASSPORT_KMS_TENANT',
    flag: '--kms-tenant <name>',
    kind: word,
    default: 'passport',
    rule: WORD_RULE,
    description: 'tenant of the key that is made',
  }),
  'kms.purpose': setting({
    env: 'PASSPORT_KMS_PURPOSE',
    flag: '--kms-purpose <name>',
    kind: word,
    default: 'issuer',
    rule: WORD_RULE,
    description: 'purpose of the key that is made',
  }),
  'kms.timeout': setting({
    env: 'PASSPORT_KMS_TIMEOUT',
    flag: '--kms-timeout <duration>',
    kind: timeout,
    default: '2s',
    rule: DURATION_RULE,
    description: 'time for an answer of a remote ron-kms',
  }),
  'store.backend': setting({
    env: 'PASSPORT_STORE_BACKEND',
    flag: '--backend <name>',
    kind: oneOf('inmem', 'file'),
    default: 'file',
    rule: 'must be inmem or file',
    description: 'where the key service in this process keeps the key',
  }),
  'store.dir': setting({
    env: 'PASSPORT_STORE_DIR',
    flag: '--store-dir <dir>',
    kind: name,
    default: './passport-data',
    rule: 'must be the name of a directory',
    description: 'directory of keys and audit log; made where it is missing',
  }),
  'root_key.kind': setting({
    env: 'PASSPORT_ROOT_KEY_KIND',
    flag: '--root-key-kind <kind>',
    kind: oneOf('key-file', 'passphrase', 'age-identity'),
    default: 'key-file',
    rule: 'must be key-file, passphrase or age-identity',
    description: 'what opens the store',
  }),
  'root_key.file': setting({
    env: 'PASSPORT_ROOT_KEY_FILE',
    flag: '--root-key-file <file>',
    kind: name,
    default: '',
    rule: 'must be the name of a file',
    description: 'file that holds it',
  }),
  'root_key.env': setting({
    env: 'PASSPORT_ROOT_KEY_ENV',
    flag: '--root-key-env <variable>',
    kind: name,
    default: '',
    rule: 'must be the name of a variable',
    description: 'name of the variable that holds it',
  }),
  'log.level': asInKms('log.level', 'PASSPORT_LOG_LEVEL'),
  'log.format': asInKms('log.format', 'PASSPORT_LOG_FORMAT'),
} as const

/** The dotted name of a setting. */
export type Key = keyof typeof SCHEMA

/** The settings as code reads them; durations are milliseconds. */
export type PassportConfig = SettingsOf<typeof SCHEMA>

/** Every key, in the order of the table. */
export const KEYS = Object.keys(SCHEMA) as Key[]

/** Variables with the prefix that are not settings. */
export const OTHER_VARIABLES = [
  'PASSPORT_CONFIG_FILE', // the file, see load.ts
  'PASSPORT_CONFIG', // its older name
  'PASSPORT_TOKEN', // read by `ronctl passport`
  'PASSPORT_URL', // the same
] as const
