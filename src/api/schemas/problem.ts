/** What every answer that is not 2xx looks like. */

const problem = {
  code: {
    type: 'string',
    description: 'Stable; codes are only ever added.',
    enum: [
      'BadRequest',
      'Unsupported',
      'NoCapability',
      'ExportForbidden',
      'AttestationMissing',
      'NotFound',
      'Conflict',
      'TooLarge',
      'Backpressure',
      'StoreUnavailable',
      'Timeout',
      'Internal',
    ],
  },
  message: { type: 'string', description: 'For people; may change, and never holds what the caller sent.' },
  retryable: { type: 'boolean', description: 'Whether the same request may succeed later.' },
  retry_after_ms: { type: 'integer', minimum: 0 },
  field: { type: 'string', description: 'The part of the request that is at fault.' },
} as const

export const problems = {
  ItemError: {
    type: 'object',
    additionalProperties: false,
    required: ['code', 'message', 'retryable'],
    properties: problem,
  },
  ErrorEnvelope: {
    type: 'object',
    additionalProperties: false,
    required: ['error'],
    properties: {
      error: {
        type: 'object',
        additionalProperties: false,
        required: ['code', 'message', 'retryable', 'ts', 'request_id'],
        properties: {
          ...problem,
          hint: { type: 'string', description: 'What to do about it.' },
          ts: { type: 'string', format: 'date-time' },
          request_id: { type: 'string', pattern: '^r-[0-9a-z]+$' },
        },
      },
    },
  },
} as const
