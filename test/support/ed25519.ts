// Signatures to verify, made by node:crypto, a stranger to our code.
import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { ed25519 as noble } from '@noble/curves/ed25519.js'
import type { VerifyLane } from '../../src/primitives.js'

/** Lanes that must give the same verdict on every input. */
export const STRICT_LANES: readonly VerifyLane[] = ['auto', 'simd', 'dalek', 'ring', 'noble']

export interface Signer {
  publicKey: Uint8Array
  sign(message: Uint8Array): Uint8Array
}

export function signer(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const { x } = publicKey.export({ format: 'jwk' })
  return {
    publicKey: Uint8Array.from(Buffer.from(x as string, 'base64url')),
    sign: message => Uint8Array.from(sign(null, message, privateKey)),
  }
}

const { Point } = noble
const L = Point.Fn.ORDER

/** The eight points of small order, encoded. */
export const TORSION: readonly Uint8Array[] = torsion()

function torsion(): Uint8Array[] {
  // A point of order 8: (0, 1) and its multiples are all of them.
  const generator = Point.fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')
  const points: Uint8Array[] = []
  let point = Point.ZERO
  for (let i = 0; i < 8; i++) {
    points.push(point.toBytes())
    point = point.add(generator)
  }
  return points
}

/** A signature whose R, or A, carries torsion of the given index, and satisfies the equation up to it. */
export function mixedOrder(where: 'R' | 'A', index: number, message: Uint8Array) {
  const small = Point.fromBytes(TORSION[index] as Uint8Array, true)
  const secret = 0x1234_5678_9abc_def1n
  const nonce = 0xfeed_f00dn + BigInt(index)
  const a = Point.BASE.multiply(secret)
  const r = Point.BASE.multiply(nonce)
  const publicKey = (where === 'A' ? a.add(small) : a).toBytes()
  const encodedR = (where === 'R' ? r.add(small) : r).toBytes()
  const k = littleEndian(createHash('sha512').update(encodedR).update(publicKey).update(message).digest()) % L
  const s = (nonce + k * secret) % L
  const signature = new Uint8Array(64)
  signature.set(encodedR)
  signature.set(Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse(), 32)
  // [S]B - [k]A = R - [k]T for A = a + T: it holds without the cofactor exactly when [k]T is zero.
  const valid = index === 0 || (where === 'A' && small.multiplyUnsafe(k % 8n).is0())
  return { publicKey, message, signature, valid }
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
}
