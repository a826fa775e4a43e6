/**
 * A key management service in the Node process.
 *
 * @module ron-kms
 */
export {
  type Asked,
  type Caller,
  type CapabilityOptions,
  CapabilityVerifier,
  type Denial,
  type Scope,
} from './capability.js'
export { KmsError, type KmsErrorCode, type KmsErrorDetails } from './errors.js'
export type {
  Algorithm,
  AlgorithmFamily,
  CreatedKey,
  CreateKeyOptions,
  DestroyOptions,
  ImportKeyOptions,
  KeyAttestation,
  KeyDescription,
  KeyPage,
  KeyState,
  KeyStateChange,
  KeyStateOptions,
  ListedKey,
  ListKeysOptions,
  RotatedKey,
  RotateKeyOptions,
  SigningAlgorithm,
  WrappingAlgorithm,
} from './key-types.js'
export { Kms } from './kms.js'
export type * from './kms-types.js'
export type { VerifyLane } from './primitives.js'
export { type SecretMemory, secretMemory } from './secret-memory.js'
