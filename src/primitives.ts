/**
 * Stateless verbs on public data, for people who bring their own keys. Without a native binary they run
 * in pure JavaScript (lane `noble`), with the same verdicts.
 *
 * @module ron-kms/primitives
 */
export { KmsError, type KmsErrorCode } from './errors.js'
export { blake3 } from './primitives/digest.js'
export {
  ed25519,
  type PackedItems,
  type PublicKey,
  type VerifyBatchAsyncOptions,
  type VerifyItem,
  type VerifyLane,
  type VerifyOptions,
} from './primitives/ed25519.js'
export { canonicalJson } from './primitives/json.js'
export type { PostQuantumLane } from './primitives/lanes.js'
export { type MacaroonInspection, type MacaroonText, macaroon } from './primitives/macaroon.js'
export {
  type MlDsaPublicKey,
  type MlDsaSet,
  type MlDsaVerifyMuOptions,
  type MlDsaVerifyOptions,
  mlDsa,
} from './primitives/ml-dsa.js'
export {
  type Encapsulation,
  type MlKemOptions,
  type MlKemPublicKey,
  type MlKemSet,
  mlKem,
} from './primitives/ml-kem.js'
export {
  type SlhDsaLane,
  type SlhDsaSet,
  type SlhDsaVerifyOptions,
  slhDsa,
} from './primitives/slh-dsa.js'
export { x25519 } from './primitives/x25519.js'
