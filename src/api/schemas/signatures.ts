/** Signing and verifying, one request at a time and in arrays. */
import { PATTERNS } from './common.js'

const payload = {
  payload_b3: {
    type: 'string',
    pattern: '^[0-9a-f]{64}$',
    description: 'BLAKE3-256 of the payload, for keys that sign digests.',
  },
  message_b64: {
    type: 'string',
    pattern: PATTERNS.base64,
    description: 'The message, up to 64 KiB, for keys that sign messages.',
  },
  context_b64: {
    type: 'string',
    pattern: PATTERNS.base64,
    maxLength: 340,
    description: 'A context of up to 255 bytes, for ML-DSA, SLH-DSA and hybrid keys.',
  },
} as const
/** A payload is given in one of two forms: the one that fits the key. */
const onePayload = { oneOf: [{ required: ['payload_b3'] }, { required: ['message_b64'] }] } as const
/** The kid is said once for all signatures, or by each. */
const oneKid = {
  allOf: [
    { oneOf: onePayload.oneOf },
    {
      oneOf: [
        {
          required: ['kid'],
          properties: { sigs: { type: 'array', items: { type: 'object', properties: { kid: false } } } },
        },
        {
          properties: {
            kid: false,
            sigs: { type: 'array', items: { type: 'object', required: ['kid'], properties: { kid: true } } },
          },
        },
      ],
    },
  ],
} as const
/** An item that is at fault spoils no other: the array as such is well-formed. */
const orAnything = { description: 'Anything else is answered with an error of its own.' } as const
const reference = {
  type: 'string',
  description: 'Up to 256 bytes; comes back with the item’s answer.',
} as const
const sign = {
  kid_or_set: { $ref: '#/components/schemas/KidOrSet' },
  ...payload,
  policy: { $ref: '#/components/schemas/SignPolicy' },
  op_id: { $ref: '#/components/schemas/OpId' },
} as const
const verify = {
  kid: {
    type: 'string',
    pattern: PATTERNS.kid,
    description: 'Of all signatures; not needed where each has its own.',
  },
  ...payload,
  sigs: {
    type: 'array',
    minItems: 1,
    description: 'At most 512.',
    items: { $ref: '#/components/schemas/Signature' },
  },
  policy: { $ref: '#/components/schemas/VerifyPolicy' },
} as const
const batchError = { error: { $ref: '#/components/schemas/ItemError' } } as const
const signed = {
  sigs: { type: 'array', items: { $ref: '#/components/schemas/SignatureMade' } },
  kid: { type: 'string', pattern: PATTERNS.kid, description: 'Absent where a set signed.' },
  attestation: { $ref: '#/components/schemas/SignatureAttestation' },
  audit: { $ref: '#/components/schemas/AuditPosition' },
} as const
const verified = {
  ok: { type: 'boolean' },
  details: { $ref: '#/components/schemas/VerifyDetails' },
} as const

export const signatures = {
  KidOrSet: {
    type: 'object',
    additionalProperties: false,
    minProperties: 1,
    maxProperties: 1,
    description: 'One kid, or a set that signs whole or not at all.',
    properties: {
      kid: { $ref: '#/components/schemas/KidOrKey' },
      kid_set: {
        type: 'array',
        minItems: 1,
        description: 'At most 512.',
        items: { $ref: '#/components/schemas/KidOrKey' },
      },
    },
  },
  SignPolicy: {
    type: 'object',
    additionalProperties: false,
    properties: {
      produce_hybrid: {
        type: 'boolean',
        description: 'Asks for both signatures of a hybrid key; never for fewer than the service does.',
      },
    },
  },
  SignRequest: {
    type: 'object',
    additionalProperties: false,
    required: ['kid_or_set'],
    properties: sign,
    ...onePayload,
  },
  SignatureAttestation: {
    type: 'object',
    additionalProperties: false,
    required: ['class', 'complete', 'b3'],
    description: 'Where a token has said something of the key that signed: GET /attest/{kid} has it in full.',
    properties: {
      class: { type: 'string', description: 'The class of custody, of the weakest half.' },
      complete: {
        type: 'boolean',
        description: 'Whether the token says that the key was made there and can never leave.',
      },
      b3: {
        type: 'string',
        pattern: '^[0-9a-f]{64}$',
        description: 'BLAKE3-256 of the evidence, as audit records have it.',
      },
    },
  },
  SignatureMade: {
    type: 'object',
    additionalProperties: false,
    required: ['alg', 'signature_b64'],
    properties: {
      alg: { $ref: '#/components/schemas/Algorithm' },
      signature_b64: { type: 'string', pattern: PATTERNS.base64 },
      kid: { type: 'string', pattern: PATTERNS.kid, description: 'Where a set signed.' },
      attestation: { $ref: '#/components/schemas/SignatureAttestation' },
      audit: { $ref: '#/components/schemas/AuditPosition' },
    },
  },
  SignResponse: {
    type: 'object',
    additionalProperties: false,
    required: ['sigs'],
    properties: signed,
  },
  SignItem: {
    type: 'object',
    additionalProperties: false,
    required: ['kid_or_set'],
    properties: { ...sign, reference },
    ...onePayload,
  },
  SignBatchRequest: {
    type: 'array',
    description: 'At most 512 items, and 512 signatures in all.',
    items: { anyOf: [{ $ref: '#/components/schemas/SignItem' }, orAnything] },
  },
  SignBatchResponse: {
    type: 'array',
    items: {
      type: 'object',
      additionalProperties: false,
      oneOf: [{ required: ['sigs'] }, { required: ['error'] }],
      properties: { reference, ...signed, ...batchError },
    },
  },
  Signature: {
    type: 'object',
    additionalProperties: false,
    required: ['alg', 'signature_b64'],
    properties: {
      alg: { $ref: '#/components/schemas/Algorithm' },
      signature_b64: { type: 'string', pattern: PATTERNS.base64 },
      kid: { $ref: '#/components/schemas/Kid' },
    },
  },
  VerifyPolicy: {
    type: 'object',
    additionalProperties: false,
    properties: {
      mode: {
        type: 'string',
        enum: ['or', 'and', 'pq_only'],
        description: 'Which signatures of a hybrid key must hold; never fewer than the service asks for.',
      },
    },
  },
  VerifyRequest: {
    type: 'object',
    additionalProperties: false,
    required: ['sigs'],
    properties: verify,
    ...oneKid,
  },
  VerifyDetails: {
    type: 'object',
    additionalProperties: false,
    required: ['checked', 'satisfied_mode'],
    properties: {
      checked: { type: 'array', items: { $ref: '#/components/schemas/Algorithm' } },
      satisfied_mode: { enum: ['or', 'and', 'pq_only', null] },
    },
  },
  VerifyResponse: {
    type: 'object',
    additionalProperties: false,
    required: ['ok', 'details'],
    properties: verified,
  },
  VerifyItem: {
    type: 'object',
    additionalProperties: false,
    required: ['sigs'],
    properties: { ...verify, reference },
    ...oneKid,
  },
  VerifyBatchRequest: {
    type: 'array',
    description: 'At most 512 items.',
    items: { anyOf: [{ $ref: '#/components/schemas/VerifyItem' }, orAnything] },
  },
  VerifyBatchResponse: {
    type: 'array',
    items: {
      type: 'object',
      additionalProperties: false,
      oneOf: [{ required: ['ok', 'details'] }, { required: ['error'] }],
      properties: { reference, ...verified, ...batchError },
    },
  },
} as const
