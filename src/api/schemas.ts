/** Every schema of the HTTP API, by its name in the OpenAPI document. */
import { audit } from './schemas/audit.js'
import { capabilities } from './schemas/capabilities.js'
import { common } from './schemas/common.js'
import { keys } from './schemas/keys.js'
import { problems } from './schemas/problem.js'
import { signatures } from './schemas/signatures.js'
import { wrapping } from './schemas/wrapping.js'

export const SCHEMAS = {
  ...common,
  ...keys,
  ...signatures,
  ...wrapping,
  ...audit,
  ...capabilities,
  ...problems,
} as const

/** The name of a schema. */
export type SchemaName = keyof typeof SCHEMAS
