/**
 * Lane `noble` of ML-DSA, SLH-DSA and ML-KEM: pure JavaScript, for platforms without a binary. Public data only, the
 * shared secret that an encapsulation makes excepted.
 *
 * Sizes are checked by the callers, before any arithmetic. Keys and signatures are copied: another thread may write to
 * shared memory meanwhile, and noble takes apart what it is given with `slice`, which for a `Buffer` does not copy.
 */
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { ml_kem512, ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js'
import * as slh from '@noble/post-quantum/slh-dsa.js'
import { KmsError } from '../errors.js'

const ML_DSA = { 'ml-dsa-44': ml_dsa44, 'ml-dsa-65': ml_dsa65, 'ml-dsa-87': ml_dsa87 }
const ML_KEM = { 'ml-kem-512': ml_kem512, 'ml-kem-768': ml_kem768, 'ml-kem-1024': ml_kem1024 }
const SLH_DSA = {
  'slh-dsa-sha2-128s': slh.slh_dsa_sha2_128s,
  'slh-dsa-sha2-128f': slh.slh_dsa_sha2_128f,
  'slh-dsa-sha2-192s': slh.slh_dsa_sha2_192s,
  'slh-dsa-sha2-192f': slh.slh_dsa_sha2_192f,
  'slh-dsa-sha2-256s': slh.slh_dsa_sha2_256s,
  'slh-dsa-sha2-256f': slh.slh_dsa_sha2_256f,
  'slh-dsa-shake-128s': slh.slh_dsa_shake_128s,
  'slh-dsa-shake-128f': slh.slh_dsa_shake_128f,
  'slh-dsa-shake-192s': slh.slh_dsa_shake_192s,
  'slh-dsa-shake-192f': slh.slh_dsa_shake_192f,
  'slh-dsa-shake-256s': slh.slh_dsa_shake_256s,
  'slh-dsa-shake-256f': slh.slh_dsa_shake_256f,
}

/** A parameter set of FIPS 204, by its own name. */
export type MlDsaName = 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87'
/** A parameter set of FIPS 203, by its own name. */
export type MlKemName = 'ml-kem-512' | 'ml-kem-768' | 'ml-kem-1024'
/** A parameter set of FIPS 205, by its own name. */
export type SlhDsaName = `slh-dsa-${'sha2' | 'shake'}-${'128' | '192' | '256'}${'s' | 'f'}`

/** ML-DSA.Verify (FIPS 204, Algorithm 3). */
export function mlDsaVerify(
  set: MlDsaName,
  publicKey: Uint8Array,
  message: Uint8Array,
  context: Uint8Array,
  signature: Uint8Array,
): boolean {
  const options = { context: copy(context) }
  return ML_DSA[set].verify(copy(signature), plain(message), copy(publicKey), options)
}

/** The same of an external μ (FIPS 204, Algorithm 7, line 6). */
export function mlDsaVerifyMu(
  set: MlDsaName,
  publicKey: Uint8Array,
  mu: Uint8Array,
  signature: Uint8Array,
): boolean {
  return ML_DSA[set].internal.verify(copy(signature), copy(mu), copy(publicKey), { externalMu: true })
}

/** `slh_verify` (FIPS 205, Algorithm 24). */
export function slhDsaVerify(
  set: SlhDsaName,
  publicKey: Uint8Array,
  message: Uint8Array,
  context: Uint8Array,
  signature: Uint8Array,
): boolean {
  const options = { context: copy(context) }
  return SLH_DSA[set].verify(copy(signature), plain(message), copy(publicKey), options)
}

/** The modulus q of ML-KEM. */
const Q = 3329
/** Length of the seed ρ at the end of an encoded public key in bytes. */
const RHO = 32

/**
 * The modulus check of FIPS 203, section 7.2, of a key of the right length.
 *
 * @throws KmsError `BadRequest`, field `publicKey`.
 */
export function mlKemCheckPublicKey(publicKey: Uint8Array): void {
  for (let i = 0; i < publicKey.length - RHO; i += 3) {
    const [low, middle, high] = publicKey.subarray(i, i + 3) as unknown as [number, number, number]
    if ((low | ((middle & 0xf) << 8)) < Q && ((middle >> 4) | (high << 4)) < Q) continue
    throw new KmsError('BadRequest', 'an ML-KEM public key with a coefficient above the modulus', {
      field: 'publicKey',
    })
  }
}

/**
 * ML-KEM.Encaps (FIPS 203, Algorithm 20) of a key of the right length, checked.
 *
 * @throws KmsError `BadRequest`, field `publicKey`.
 */
export function mlKemEncapsulate(
  set: MlKemName,
  publicKey: Uint8Array,
): { ciphertext: Uint8Array; sharedSecret: Uint8Array } {
  const key = copy(publicKey)
  mlKemCheckPublicKey(key)
  const { cipherText, sharedSecret } = ML_KEM[set].encapsulate(key)
  // A view of half of a larger buffer otherwise.
  const secret = copy(sharedSecret)
  sharedSecret.fill(0)
  return { ciphertext: cipherText, sharedSecret: secret }
}

/** A `Uint8Array` of this realm with the same bytes in memory of its own. */
function copy(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(bytes)
}

/** A `Uint8Array` of this realm over the same memory, whatever subclass or realm `bytes` is of. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
}
