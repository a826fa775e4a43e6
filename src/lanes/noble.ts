/**
 * Lane `noble`: strict Ed25519 in pure JavaScript, for platforms without a binary.
 *
 * noble's own `verify` is cofactored, even with `zip215: false`, so only its points and scalars are
 * used, and the rules of strict verification (SECURITY.md) are put around them. Public data only.
 */
import { ed25519 } from '@noble/curves/ed25519.js'
import { blake3 as nobleBlake3 } from '@noble/hashes/blake3.js'
import { sha512 } from '@noble/hashes/sha2.js'
import { KmsError } from '../errors.js'

const { Point } = ed25519
/** The order of the base point. */
const L = Point.Fn.ORDER
/** The field's prime. */
const P = Point.Fp.ORDER

/** One y of the points of order 8; the other is its negative. */
const Y8 = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n
/** The y-coordinates of the eight points of small order. */
const SMALL_ORDER_Y: ReadonlySet<bigint> = new Set([1n, 0n, P - 1n, Y8, P - Y8])

/**
 * The strict verdict. `publicKey` has 32 bytes, `signature` any length.
 *
 * The equation is [S]B + [k](-A) = R with k in [0, L), compared by encoding, without the cofactor.
 */
export function verify(key: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== 64) return false
  // Both are read more than once, and another thread may write to them meanwhile.
  const publicKey = Uint8Array.from(key)
  const r = Uint8Array.from(signature.subarray(0, 32))
  const s = littleEndian(signature.subarray(32))
  if (s >= L || !isCanonicalPoint(r) || !isCanonicalPoint(publicKey)) return false
  const a = decodePoint(publicKey)
  if (!a) return false
  const hash = sha512.create().update(r).update(publicKey).update(message).digest()
  const k = littleEndian(hash) % L
  const expected = Point.BASE.multiplyUnsafe(s).add(a.negate().multiplyUnsafe(k)).toBytes()
  return expected.every((byte, i) => byte === r[i])
}

/** Whether `publicKey` is canonical, on the curve and of large order. */
export function isPublicKey(publicKey: Uint8Array): boolean {
  return isCanonicalPoint(publicKey) && decodePoint(publicKey) !== undefined
}

/** The points of small order on Curve25519 by their u: 0, 1, -1 and the two of order 8 (RFC 7748, section 6.1). */
const SMALL_ORDER_U: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  P - 1n,
  0x00b8495f16056286fdb1329ceb8d09da6ac49ff1fae35616aeb8413b7c7aebe0n,
  0x57119fd0dd4e22d8868e1c58c45c44045bef839c55b1d0b1248c50a3bc959c5fn,
])

/**
 * Refuses an X25519 public key of small order, in every encoding. `publicKey` has 32 bytes.
 *
 * @throws KmsError `BadRequest`, field `publicKey`.
 */
export function x25519CheckPublicKey(publicKey: Uint8Array): void {
  const u = littleEndian(publicKey) & ((1n << 255n) - 1n)
  if (!SMALL_ORDER_U.has(u % P)) return
  throw new KmsError('BadRequest', 'an X25519 public key of small order', { field: 'publicKey' })
}

/** BLAKE3-256. */
export function blake3(payload: Uint8Array): Uint8Array {
  return nobleBlake3(payload)
}

/** y below p, and not of small order (which covers every encoding with x = 0). */
function isCanonicalPoint(encoded: Uint8Array): boolean {
  const y = littleEndian(encoded) & ((1n << 255n) - 1n)
  return y < P && !SMALL_ORDER_Y.has(y)
}

function decodePoint(encoded: Uint8Array): InstanceType<typeof Point> | undefined {
  try {
    return Point.fromBytes(encoded)
  } catch {
    return undefined
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  const hex = Buffer.from(bytes).reverse().toString('hex')
  return BigInt(`0x${hex}`)
}
