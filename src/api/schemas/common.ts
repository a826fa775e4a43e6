/** The words that all requests and answers of the HTTP API are made of, as JSON Schema 2020-12. */

const NAME = '[A-Za-z0-9][A-Za-z0-9._-]{0,63}'
const SLH_DSA = [
  'slh-dsa',
  'slh-dsa-sha2-128f',
  'slh-dsa-sha2-192s',
  'slh-dsa-sha2-192f',
  'slh-dsa-sha2-256s',
  'slh-dsa-sha2-256f',
  'slh-dsa-shake-128s',
  'slh-dsa-shake-128f',
  'slh-dsa-shake-192s',
  'slh-dsa-shake-192f',
  'slh-dsa-shake-256s',
  'slh-dsa-shake-256f',
] as const

/** Every algorithm that a kid can show. */
export const ALGORITHMS = [
  'ed25519',
  'ml-dsa',
  'ml-dsa-44',
  'ml-dsa-87',
  ...SLH_DSA,
  'x25519',
  'ml-kem',
  'ml-kem-512',
  'ml-kem-1024',
] as const

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}'
const KEY = `${NAME}/${NAME}/(?:${ALGORITHMS.join('|')})/${UUID}`
const VERSION = '#v[1-9][0-9]{0,8}'
// RFC 4648 section 4: padded, and no stray bits in the last character.
const BASE64 = '(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?'

/** Patterns that parameters in paths share with the schemas below. */
export const PATTERNS = {
  name: `^${NAME}$`,
  /** Of a new key: `ron-kms` is reserved, in any case. */
  tenant: `^(?![Rr][Oo][Nn]-[Kk][Mm][Ss]$)${NAME}$`,
  uuidMaybeVersion: `^${UUID}(?:${VERSION})?$`,
  kid: `^${KEY}${VERSION}$`,
  kidMaybeVersion: `^${KEY}(?:${VERSION})?$`,
  base64: `^${BASE64}$`,
} as const

export const common = {
  Algorithm: {
    type: 'string',
    enum: ALGORITHMS,
    description:
      '`ml-dsa` is ML-DSA-65, `slh-dsa` SLH-DSA-SHA2-128s, `ml-kem` ML-KEM-768; other parameter sets have their own names. A hybrid key shows its classical algorithm.',
  },
  NewAlgorithm: {
    type: 'string',
    enum: [...ALGORITHMS, 'hybrid'],
    description:
      'An algorithm, or `hybrid` for two tracks: Ed25519 and ML-DSA-65, or X25519 and ML-KEM-768 for the purpose `kem`. Which families are allowed is a setting.',
  },
  Kid: {
    type: 'string',
    pattern: PATTERNS.kid,
    description: 'A version of a key: `<tenant>/<purpose>/<alg>/<uuid>#vN`.',
  },
  KidOrKey: {
    type: 'string',
    pattern: PATTERNS.kidMaybeVersion,
    description: 'A version of a key or, without `#vN`, the key itself: its head where something is made.',
  },
  VersionName: { type: 'string', pattern: '^#v[1-9][0-9]{0,9}$' },
  Signs: {
    type: 'string',
    enum: ['digest', 'message'],
    description:
      'What signatures of the key cover, for ever: the 32 bytes of a BLAKE3-256 digest, or the message itself.',
  },
  KeyState: {
    type: 'string',
    enum: ['enabled', 'disabled', 'destroy_scheduled', 'destroyed'],
  },
  Timestamp: { type: 'string', format: 'date-time', description: 'RFC 3339, UTC.' },
  OpId: {
    type: 'string',
    format: 'uuid',
    pattern: '^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$',
    description:
      'Makes the request idempotent for 24 hours: sent again with the same body it gets the same answer, with another it is refused. The header `Idempotency-Key` means the same; sent both ways they must agree.',
  },
  AuditPosition: {
    type: 'object',
    additionalProperties: false,
    required: ['log', 'index'],
    description: 'Where the operation is recorded: `GET /v1/kms/audit/proof/{seq}` proves it.',
    properties: {
      log: { type: 'string' },
      index: { type: 'integer', minimum: 0 },
      continuity: {
        type: 'integer',
        minimum: 0,
        description: 'Of a rotation: the record in which the old head vouches for the new version.',
      },
    },
  },
} as const
