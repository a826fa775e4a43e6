/**
 * A key management service in the Node process.
 *
 * @module ron-kms
 */
export { KmsError, type KmsErrorCode, type KmsErrorDetails } from './errors.js'
export type {
  Algorithm,
  CreatedKey,
  CreateKeyOptions,
  KeyAttestation,
  KeyDescription,
  RotatedKey,
  RotateKeyOptions,
} from './key-types.js'
export {
  type BatchVerdicts,
  type CallContext,
  type EngineMetrics,
  type KidVerifyItem,
  Kms,
  type KmsOptions,
  type Operation,
} from './kms.js'
export type { VerifyLane } from './primitives.js'
