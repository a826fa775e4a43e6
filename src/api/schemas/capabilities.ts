/** Capabilities, minted on line. */

import { PATTERNS } from './common.js'

/** Nobody may set a longer life than 30 days; a service may have a shorter bound. */
const MOST_LIFE_S = 30 * 24 * 3600

const caveats = {
  type: 'array',
  maxItems: 64,
  items: {
    type: 'string',
    pattern: '^(?:scope|tenant|kid|alg|purpose|exp|nbf|rps|ip|payload_b3) = [!-~]+$',
  },
  description: 'Each is `name = value`: see docs/capabilities.md.',
} as const

export const capabilities = {
  MintCapabilityRequest: {
    type: 'object',
    additionalProperties: false,
    required: ['caveats'],
    properties: {
      caveats,
      name: { type: 'string', pattern: PATTERNS.name, description: 'For people; part of the identifier.' },
      ttl_s: {
        type: 'integer',
        minimum: 1,
        maximum: MOST_LIFE_S,
        description: 'Seconds that it lives; as long as `capability.max_life` where this is not said.',
      },
    },
  },
  MintedCapability: {
    type: 'object',
    additionalProperties: false,
    required: ['token', 'id', 'identifier', 'exp', 'caveats'],
    properties: {
      token: { type: 'string', description: 'The capability: the bearer token of whoever holds it.' },
      id: { type: 'string', format: 'uuid', description: 'What the list of revoked capabilities names.' },
      identifier: { type: 'string', description: 'The actor of audit records.' },
      exp: { type: 'integer', minimum: 0, description: 'Unix seconds.' },
      caveats: { ...caveats, description: 'All that hold, those of the minter first.' },
      audit: { $ref: '#/components/schemas/AuditPosition' },
    },
  },
} as const
