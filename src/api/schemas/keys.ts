/** Keys: made, imported, listed, shown, rotated, derived, and taken in and out of use. */
import { PATTERNS } from './common.js'

const tenant = { type: 'string', pattern: PATTERNS.tenant } as const
const purpose = { type: 'string', pattern: PATTERNS.name } as const
const base64 = { type: 'string', pattern: PATTERNS.base64 } as const
const createdMs = { type: 'integer', minimum: 0, description: 'Unix milliseconds.' } as const

export const keys = {
  PolicyHints: {
    type: 'object',
    maxProperties: 32,
    description:
      'A flat object that is kept and shown; names and texts up to 256 bytes. The service acts on the ones that are named here.',
    properties: {
      verify_mode: { type: 'string', enum: ['or', 'and', 'pq_only'] },
      wrap_outside: {
        type: 'boolean',
        description: 'Whether envelopes that others made with the public key are opened.',
      },
      aead: { type: 'string', enum: ['chacha20-poly1305', 'aes-256-gcm'] },
      rotate_days: {
        type: 'integer',
        minimum: 1,
        maximum: 3650,
        description:
          'The key is rotated by itself when its newest version is that old, unless `owner` is there and is not `service`.',
      },
    },
    additionalProperties: {
      anyOf: [
        { type: 'string' },
        { type: 'boolean' },
        { type: 'integer', minimum: -9007199254740991, maximum: 9007199254740991 },
      ],
    },
  },
  PublicTrack: {
    type: 'object',
    additionalProperties: false,
    required: ['alg', 'pubkey_b64'],
    properties: { alg: { $ref: '#/components/schemas/Algorithm' }, pubkey_b64: base64 },
  },
  PublicKey: {
    type: 'object',
    additionalProperties: false,
    required: ['alg', 'pubkey_b64'],
    properties: {
      alg: { $ref: '#/components/schemas/Algorithm' },
      pubkey_b64: base64,
      pq: { $ref: '#/components/schemas/PublicTrack' },
    },
  },
  CreateKeyRequest: {
    type: 'object',
    additionalProperties: false,
    required: ['tenant', 'purpose', 'alg'],
    properties: {
      tenant,
      purpose,
      alg: { $ref: '#/components/schemas/NewAlgorithm' },
      signs: { $ref: '#/components/schemas/Signs' },
      policy_hints: { $ref: '#/components/schemas/PolicyHints' },
      op_id: { $ref: '#/components/schemas/OpId' },
    },
  },
  ImportKeyRequest: {
    type: 'object',
    additionalProperties: false,
    required: ['tenant', 'purpose', 'alg', 'private_key_b64', 'public_key_b64'],
    properties: {
      tenant,
      purpose,
      alg: { $ref: '#/components/schemas/NewAlgorithm' },
      private_key_b64: {
        ...base64,
        writeOnly: true,
        description:
          'The seed: 32 bytes of Ed25519, X25519, ML-DSA and X-Wing, 64 of ML-KEM; of a hybrid key that signs those of Ed25519 and ML-DSA, one after the other.',
      },
      public_key_b64: { ...base64, description: 'Must be the public key of that private key.' },
      pq_public_key_b64: { ...base64, description: 'Of the post-quantum track of a hybrid key.' },
      signs: { $ref: '#/components/schemas/Signs' },
      policy_hints: { $ref: '#/components/schemas/PolicyHints' },
      op_id: { $ref: '#/components/schemas/OpId' },
    },
  },
  CreatedKey: {
    type: 'object',
    additionalProperties: false,
    required: ['kid', 'public'],
    properties: {
      kid: { $ref: '#/components/schemas/Kid' },
      public: { $ref: '#/components/schemas/PublicKey' },
      audit: { $ref: '#/components/schemas/AuditPosition' },
    },
  },
  ListedKey: {
    type: 'object',
    additionalProperties: false,
    required: ['kid', 'alg', 'signs', 'head', 'newest', 'state', 'created_ms'],
    properties: {
      kid: { $ref: '#/components/schemas/Kid' },
      alg: { $ref: '#/components/schemas/Algorithm' },
      signs: { $ref: '#/components/schemas/Signs' },
      head: { $ref: '#/components/schemas/VersionName' },
      newest: { $ref: '#/components/schemas/VersionName' },
      state: { $ref: '#/components/schemas/KeyState' },
      destroy_at: { $ref: '#/components/schemas/Timestamp' },
      created_ms: createdMs,
    },
  },
  KeyList: {
    type: 'object',
    additionalProperties: false,
    required: ['keys'],
    properties: {
      keys: { type: 'array', maxItems: 512, items: { $ref: '#/components/schemas/ListedKey' } },
      next: {
        type: 'string',
        pattern: PATTERNS.kidMaybeVersion,
        description: 'What `after` is for the next page; absent on the last.',
      },
    },
  },
  KeyDescription: {
    type: 'object',
    additionalProperties: false,
    required: ['kid', 'alg', 'signs', 'head', 'versions', 'public', 'state', 'version_states', 'created_ms'],
    properties: {
      kid: { $ref: '#/components/schemas/Kid' },
      alg: { $ref: '#/components/schemas/Algorithm' },
      signs: { $ref: '#/components/schemas/Signs' },
      head: { $ref: '#/components/schemas/VersionName' },
      versions: { type: 'array', items: { $ref: '#/components/schemas/VersionName' } },
      public: { $ref: '#/components/schemas/PublicKey' },
      state: { $ref: '#/components/schemas/KeyState' },
      destroy_at: { $ref: '#/components/schemas/Timestamp' },
      version_states: {
        type: 'array',
        description: 'The stricter of the key’s state and the version’s own.',
        items: {
          type: 'object',
          additionalProperties: false,
          required: ['version', 'state'],
          properties: {
            version: { $ref: '#/components/schemas/VersionName' },
            state: { $ref: '#/components/schemas/KeyState' },
            destroy_at: { $ref: '#/components/schemas/Timestamp' },
          },
        },
      },
      created_ms: createdMs,
      pending: {
        type: 'object',
        additionalProperties: false,
        required: ['kid', 'active_at'],
        description: 'The version that becomes the head next.',
        properties: {
          kid: { $ref: '#/components/schemas/Kid' },
          active_at: { $ref: '#/components/schemas/Timestamp' },
        },
      },
      policy_hints: { $ref: '#/components/schemas/PolicyHints' },
    },
  },
  KeyAttestation: {
    type: 'object',
    additionalProperties: false,
    required: ['kid', 'alg', 'head', 'versions', 'created_ms', 'class'],
    properties: {
      kid: { $ref: '#/components/schemas/Kid' },
      alg: { $ref: '#/components/schemas/Algorithm' },
      head: { $ref: '#/components/schemas/VersionName' },
      versions: { type: 'array', items: { $ref: '#/components/schemas/VersionName' } },
      created_ms: createdMs,
      class: {
        type: 'string',
        description:
          'The class of custody, of the weakest half: `software-memory`, `software-file`, `pkcs11-<model>`, `pkcs11-<model>-sealed`.',
      },
      evidence: { $ref: '#/components/schemas/KeyEvidence' },
    },
  },
  KeyEvidence: {
    type: 'object',
    additionalProperties: false,
    required: ['kid', 'class', 'complete', 'facts', 'b3'],
    description: 'What a token says of the half that it holds. Software gives none.',
    properties: {
      kid: { $ref: '#/components/schemas/Kid' },
      class: { type: 'string' },
      complete: {
        type: 'boolean',
        description: 'Whether it says that the key was made there and can never leave.',
      },
      facts: { type: 'object', additionalProperties: { type: 'string' } },
      b3: {
        type: 'string',
        pattern: '^[0-9a-f]{64}$',
        description: 'BLAKE3-256 of it, as audit records have it.',
      },
    },
  },
  RotateKeyRequest: {
    type: 'object',
    additionalProperties: false,
    properties: {
      alg: { $ref: '#/components/schemas/NewAlgorithm' },
      activate_after_ms: {
        type: 'integer',
        minimum: 0,
        maximum: 316224000000,
        description: 'How long the version is published before it signs: at most ten years.',
      },
      op_id: { $ref: '#/components/schemas/OpId' },
    },
  },
  RotatedKey: {
    type: 'object',
    additionalProperties: false,
    required: ['kid', 'previous'],
    properties: {
      kid: { $ref: '#/components/schemas/Kid' },
      previous: { $ref: '#/components/schemas/Kid' },
      active_at: { $ref: '#/components/schemas/Timestamp' },
      audit: { $ref: '#/components/schemas/AuditPosition' },
    },
  },
  DeriveKeyRequest: {
    type: 'object',
    additionalProperties: false,
    required: ['context'],
    properties: {
      context: {
        type: 'string',
        minLength: 1,
        pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$',
        description: '1 to 256 bytes of UTF-8 without control characters.',
      },
    },
  },
  ChangeStateRequest: {
    type: 'object',
    additionalProperties: false,
    properties: { op_id: { $ref: '#/components/schemas/OpId' } },
  },
  DestroyKeyRequest: {
    type: 'object',
    additionalProperties: false,
    properties: {
      delay_ms: {
        type: 'integer',
        minimum: 0,
        maximum: 316224000000,
        description:
          'At least the delay that the service asks for (`destroy.min_delay`), which is the default.',
      },
      op_id: { $ref: '#/components/schemas/OpId' },
    },
  },
  StateChange: {
    type: 'object',
    additionalProperties: false,
    required: ['kid', 'state'],
    properties: {
      kid: { $ref: '#/components/schemas/KidOrKey' },
      state: { $ref: '#/components/schemas/KeyState' },
      destroy_at: { $ref: '#/components/schemas/Timestamp' },
      audit: { $ref: '#/components/schemas/AuditPosition' },
    },
  },
} as const
