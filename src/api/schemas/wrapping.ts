/** Data keys: encrypted, decrypted, and encrypted anew to the head. */
import { PATTERNS } from './common.js'

const alg = {
  type: 'string',
  enum: ['x25519', 'ml-kem', 'ml-kem-512', 'ml-kem-1024', 'hybrid'],
} as const
const envelope = { type: 'string', pattern: PATTERNS.base64, minLength: 4 } as const

export const wrapping = {
  WrapRequest: {
    type: 'object',
    additionalProperties: false,
    required: ['kid'],
    oneOf: [{ required: ['plaintext_key_b64'] }, { required: ['size'] }],
    properties: {
      kid: { $ref: '#/components/schemas/KidOrKey' },
      plaintext_key_b64: {
        type: 'string',
        pattern: PATTERNS.base64,
        minLength: 4,
        maxLength: 5464,
        writeOnly: true,
        description: 'A data key of 1 to 4,096 bytes.',
      },
      size: {
        type: 'integer',
        minimum: 1,
        maximum: 512,
        description: 'The length of a data key that the service makes.',
      },
      kem_mode: { type: 'string', enum: ['classical', 'pq', 'hybrid'], description: 'Must be the key’s.' },
      return_plaintext: { type: 'boolean', description: 'Whether a data key that was made is answered too.' },
    },
  },
  WrapResponse: {
    type: 'object',
    additionalProperties: false,
    required: ['wrapped_b64', 'alg', 'kid'],
    properties: {
      wrapped_b64: envelope,
      alg,
      kid: { $ref: '#/components/schemas/Kid' },
      plaintext_key_b64: { type: 'string', pattern: PATTERNS.base64 },
    },
  },
  UnwrapRequest: {
    type: 'object',
    additionalProperties: false,
    required: ['kid', 'wrapped_b64'],
    properties: {
      kid: {
        type: 'string',
        pattern: PATTERNS.kidMaybeVersion,
        description: 'What the envelope was made for.',
      },
      wrapped_b64: envelope,
    },
  },
  UnwrapResponse: {
    type: 'object',
    additionalProperties: false,
    required: ['plaintext_key_b64', 'alg', 'kid'],
    properties: {
      plaintext_key_b64: { type: 'string', pattern: PATTERNS.base64 },
      alg,
      kid: { $ref: '#/components/schemas/Kid' },
    },
  },
} as const
