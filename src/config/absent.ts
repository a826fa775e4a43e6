/**
 * A setting that the product has a name for and this version no feature. It is refused, so that nobody relies on what
 * is not there, except where its value asks for what is so anyway.
 */
export interface AbsentSetting {
  readonly env: string
  /** Older names of the variable. */
  readonly aliases?: readonly string[]
  /** Values that ask for what is so anyway, as text; `setting` reads other settings. */
  readonly holds?: (value: string, setting: (key: string) => unknown) => boolean
  /** What a fault says. */
  readonly rule: string
  /** Whether the value may hold a secret. */
  readonly secret?: true
}

const is =
  (...allowed: string[]) =>
  (value: string) =>
    allowed.includes(value)

const isOff = is('false', '0')

/** What opens a store, by the older name of its derivation. */
const ROOT_KEY_OF_KDF: Readonly<Record<string, string>> = { scrypt: 'passphrase', age: 'age-identity' }

const NO_CACHE = 'is not in this version: public keys are all in memory'

/** Every such setting, by its dotted key. A feature that comes takes its row from here to `schema.ts`. */
export const ABSENT: Readonly<Record<string, AbsentSetting>> = {
  grpc_addr: {
    env: 'RON_KMS_GRPC_ADDR',
    aliases: ['KMS_GRPC_ADDR'],
    rule: 'is not in this version: the service speaks HTTP only',
  },
  'entropy_time.rng_reseed_interval_ops': {
    env: 'RON_KMS_RNG_RESEED_INTERVAL_OPS',
    aliases: ['KMS_RNG_RESEED_INTERVAL_OPS'],
    holds: value => /^[1-9][0-9]{0,18}$/.test(value),
    rule: 'must be a whole number from 1; every draw asks the operating system, so any interval is kept',
  },
  'audit.verify_cache_max': {
    env: 'RON_KMS_VERIFY_CACHE_MAX',
    aliases: ['KMS_VERIFY_CACHE_MAX'],
    rule: NO_CACHE,
  },
  'observability.redact_level': {
    env: 'RON_KMS_REDACT_LEVEL',
    holds: is('hashes'),
    rule: 'must be hashes: nothing else of a request is ever logged',
  },
  'observability.log_inputs': {
    env: 'RON_KMS_LOG_INPUTS',
    holds: isOff,
    rule: 'must be false: inputs are never logged',
  },
  'observability.correlation_id_mode': {
    env: 'RON_KMS_CORRELATION_ID_MODE',
    holds: is('uuidv7'),
    rule: 'must be uuidv7: this version makes no others',
  },
  'observability.emit_cache_age_metric': {
    env: 'RON_KMS_EMIT_CACHE_AGE_METRIC',
    holds: is('true', '1'),
    rule: 'must be true: kms_verify_cache_age_ms is there wherever there is a token',
  },
  'backends.file.kdf': {
    env: 'RON_KMS_FILE_KDF',
    holds: (value, setting) => ROOT_KEY_OF_KDF[value] === setting('root_key.kind'),
    rule: 'is not in this version: root_key.kind says what opens the store; scrypt is a passphrase, age an age-identity',
  },
  'backends.file.aead': {
    env: 'RON_KMS_FILE_AEAD',
    holds: is('chacha20poly1305'),
    rule: 'must be chacha20poly1305: this version seals with no other',
  },
  'store.postgres_url': {
    env: 'RON_KMS_POSTGRES_URL',
    rule: 'is not in this version: what is kept is in files or in memory',
    secret: true,
  },
}
