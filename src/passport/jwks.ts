/** Public keys as JSON Web Keys (RFC 7517, RFC 8037). */
import { KmsError } from '../errors.js'

/** A public Ed25519 key. */
export interface Jwk {
  kty: 'OKP'
  crv: 'Ed25519'
  /** 32 bytes, base64url without padding. */
  x: string
  kid: string
  use: 'sig'
  alg: 'EdDSA'
}

/** A set of keys. */
export interface JwkSet {
  keys: readonly object[]
}

/** A key whose passports are taken. */
export interface TrustedKey {
  kid: string
  /** 32 bytes. */
  publicKey: Uint8Array
}

const KEY_BYTES = 32

/** A key as it is published. */
export function toJwk({ kid, publicKey }: TrustedKey): Jwk {
  const x = Buffer.from(publicKey).toString('base64url')
  return { kty: 'OKP', crv: 'Ed25519', x, kid, use: 'sig', alg: 'EdDSA' }
}

/**
 * The Ed25519 keys of a set that have a kid and may verify. Keys of other kinds are let be: a set may serve others, too.
 *
 * @throws KmsError `BadRequest` for what is no set, for an Ed25519 key that is none or that comes with its private half,
 * and for two keys of one kid, of which nobody knows which is meant.
 */
export function fromJwks(set: unknown): TrustedKey[] {
  const { keys } = (typeof set === 'object' && set !== null ? set : {}) as { keys?: unknown }
  if (!Array.isArray(keys)) throw new KmsError('BadRequest', 'must be a JWK set', { field: 'jwks' })
  const kids = new Set<string>()
  return keys.flatMap((jwk: unknown, i) => {
    if (typeof jwk !== 'object' || jwk === null) throw fault(i, 'must be an object')
    const { kty, crv, x, d, kid, use, alg, key_ops: ops } = jwk as Record<string, unknown>
    if (kty !== 'OKP' || crv !== 'Ed25519' || typeof kid !== 'string') return []
    const agrees =
      (use === undefined || use === 'sig') &&
      (alg === undefined || alg === 'EdDSA' || alg === 'Ed25519') &&
      (ops === undefined || (Array.isArray(ops) && ops.includes('verify')))
    if (!agrees) return []
    // Whoever can read the set can sign with it.
    if (d !== undefined) throw fault(i, 'must not have the private half of its key')
    if (kids.has(kid)) throw fault(i, 'has the kid of another key')
    kids.add(kid)
    const publicKey = typeof x === 'string' ? Buffer.from(x, 'base64url') : undefined
    if (publicKey?.length !== KEY_BYTES || publicKey.toString('base64url') !== x) {
      throw fault(i, 'must have the 32 bytes of its public key as base64url')
    }
    return [{ kid, publicKey: Uint8Array.from(publicKey) }]
  })
}

function fault(index: number, why: string): KmsError {
  return new KmsError('BadRequest', why, { field: `jwks.keys[${index}]` })
}
