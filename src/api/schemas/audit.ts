/** The audit log: the proof that a record is in it. A checkpoint is text, see `operations.ts`. */
import { PATTERNS } from './common.js'

const hash = { type: 'string', pattern: PATTERNS.base64, description: '32 bytes.' } as const

export const audit = {
  InclusionProof: {
    type: 'object',
    additionalProperties: false,
    required: ['log', 'index', 'size', 'leaf_hash_b64', 'proof_b64', 'checkpoint'],
    description: 'RFC 9162 section 2.1.3, with the checkpoint that it leads to.',
    properties: {
      log: { type: 'string' },
      index: { type: 'integer', minimum: 0 },
      size: { type: 'integer', minimum: 1 },
      leaf_hash_b64: hash,
      proof_b64: { type: 'array', items: hash },
      checkpoint: { type: 'string', description: 'A signed note (C2SP).' },
      record_b64: {
        type: 'string',
        pattern: PATTERNS.base64,
        description: 'The record itself, while its file is there.',
      },
    },
  },
} as const
