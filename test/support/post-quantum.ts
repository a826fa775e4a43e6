// Keys and signatures made by @noble/post-quantum, a stranger to our native lanes; and ways to spoil them.
import { createHash } from 'node:crypto'
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { ml_kem512, ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js'
import { slh_dsa_sha2_128f, slh_dsa_shake_128f } from '@noble/post-quantum/slh-dsa.js'
import { KmsError, type PostQuantumLane } from '../../src/primitives.js'

/** Every lane of ML-DSA and ML-KEM. */
export const PQ_LANES: readonly PostQuantumLane[] = ['auto', 'aws-lc', 'rustcrypto', 'noble']

export const ML_DSA = { 'ml-dsa-44': ml_dsa44, 'ml-dsa-65': ml_dsa65, 'ml-dsa-87': ml_dsa87 } as const
export const ML_KEM = { 'ml-kem-512': ml_kem512, 'ml-kem-768': ml_kem768, 'ml-kem-1024': ml_kem1024 } as const
/** The sets that sign in less than a second in JavaScript. */
export const SLH_DSA_FAST = {
  'slh-dsa-sha2-128f': slh_dsa_sha2_128f,
  'slh-dsa-shake-128f': slh_dsa_shake_128f,
} as const

export const ML_DSA_SETS = Object.keys(ML_DSA) as (keyof typeof ML_DSA)[]
export const ML_KEM_SETS = Object.keys(ML_KEM) as (keyof typeof ML_KEM)[]

export interface MlDsaSigner {
  set: keyof typeof ML_DSA
  publicKey: Uint8Array
  sign(message: Uint8Array, context?: Uint8Array): Uint8Array
}

/** A key of a set, the same for the same number. */
export function mlDsaSigner(set: keyof typeof ML_DSA, number = 1): MlDsaSigner {
  const scheme = ML_DSA[set]
  const { publicKey, secretKey } = scheme.keygen(new Uint8Array(32).fill(number))
  const sign = (message: Uint8Array, context = new Uint8Array(0)) =>
    scheme.sign(message, secretKey, { context: Uint8Array.from(context) })
  return { set, publicKey, sign }
}

/** μ of a message (FIPS 204, Algorithm 7, line 6), or of one with another prefix. */
export function muOf(publicKey: Uint8Array, ...parts: Uint8Array[]): Uint8Array {
  const hash = createHash('shake256', { outputLength: 64 }).update(shake256(publicKey))
  for (const part of parts) hash.update(part)
  return Uint8Array.from(hash.digest())
}

/** The prefix of a message in front of its context (FIPS 204, Algorithm 2, line 10). */
export function prefix(context: Uint8Array): Uint8Array {
  return Uint8Array.from([0, context.length, ...context])
}

function shake256(bytes: Uint8Array): Uint8Array {
  return createHash('shake256', { outputLength: 64 }).update(bytes).digest()
}

/** A copy with one bit turned over. */
export function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  const at = (bit >> 3) % copy.length
  copy[at] = (copy[at] as number) ^ (1 << (bit & 7))
  return copy
}

/** `code field` of what a call throws. */
export function refusal(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    if (!(error instanceof KmsError)) throw error
    return `${error.code} ${error.field}`
  }
  return 'not refused'
}
