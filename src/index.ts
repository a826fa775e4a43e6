/**
 * A key management service in the Node process.
 *
 * @module ron-kms
 */
export { KmsError, type KmsErrorCode, type KmsErrorDetails } from './errors.js'
export {
  type Algorithm,
  type BatchVerdicts,
  type CallContext,
  type CreatedKey,
  type CreateKeyOptions,
  type EngineMetrics,
  type KeyAttestation,
  type KeyDescription,
  type KidVerifyItem,
  Kms,
  type KmsOptions,
  type Operation,
  type RotatedKey,
  type RotateKeyOptions,
} from './kms.js'
export type { VerifyLane } from './primitives.js'
