// Finds the secrets of keys in the memory that holds them, knowing nothing but their public halves.
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto'
import { sha3_512, shake256 } from '@noble/hashes/sha3.js'
import { ml_dsa65 } from '@noble/post-quantum/ml-dsa.js'
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js'

export interface HeldKey {
  alg: string
  purpose: string
  /** Hex. */
  publicKey: string
  publicKeyPq?: string
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** The public half that node:crypto derives from a raw private key. */
function derive(prefix: string, seed: Uint8Array): string {
  const der = Buffer.concat([Buffer.from(prefix, 'hex'), seed])
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  return hex(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32))
}

const ED25519 = '302e020100300506032b657004220420'
const X25519 = '302e020100300506032b656e04220420'

/** What a seed is expanded to, as far as it is secret, by name. */
type Parts = Record<string, Uint8Array>

const FAMILIES: Record<
  string,
  { seedLen: number; publicKey(seed: Uint8Array): string; parts(seed: Uint8Array): Parts }
> = {
  ed25519: {
    seedLen: 32,
    publicKey: seed => derive(ED25519, seed),
    parts: seed => {
      const hash = createHash('sha512').update(seed).digest()
      const scalar = Buffer.from(hash.subarray(0, 32))
      scalar[0] = (scalar[0] ?? 0) & 0b1111_1000
      scalar[31] = ((scalar[31] ?? 0) & 0b0111_1111) | 0b0100_0000
      return { seed, scalar, prefix: hash.subarray(32), ...nonceParts(hash.subarray(32)) }
    },
  },
  x25519: { seedLen: 32, publicKey: seed => derive(X25519, seed), parts: seed => ({ seed }) },
  'ml-dsa': {
    seedLen: 32,
    publicKey: seed => hex(ml_dsa65.keygen(seed).publicKey),
    parts: seed => {
      // FIPS 204, Algorithm 6, line 1: ρ is public, ρ′ and K are not.
      const expanded = shake256(Buffer.concat([seed, Uint8Array.of(6, 5)]), { dkLen: 128 })
      return { seed, rhoPrime: expanded.subarray(32, 96), k: expanded.subarray(96) }
    },
  },
  'ml-kem': {
    seedLen: 64,
    publicKey: seed => hex(ml_kem768.keygen(seed).publicKey),
    parts: mlKemParts,
  },
  'x-wing': {
    seedLen: 32,
    publicKey: seed => derive(X25519, xWing(seed).subarray(64)),
    parts: seed => ({ seed, ...mlKemParts(xWing(seed)), x25519: xWing(seed).subarray(64) }),
  },
}

/** What every key of a test signs. */
export const MESSAGE = new Uint8Array(100).fill(7)

/** The order of the base point of Ed25519. */
const L = 2n ** 252n + 27742317777372353535851937790883648493n

/** The nonce of the signature of {@link MESSAGE} (RFC 8032, section 5.1.6, step 2): with it, a signature gives the key. */
function nonceParts(prefix: Uint8Array): Parts {
  const hash = createHash('sha512').update(prefix).update(MESSAGE).digest()
  const nonce = BigInt(`0x${Buffer.from(hash).reverse().toString('hex')}`) % L
  const reduced = Buffer.from(nonce.toString(16).padStart(64, '0'), 'hex').reverse()
  return { nonceHash: hash, nonce: reduced }
}

/** The seed of ML-KEM, 64 bytes, and the key of X25519 that a seed of X-Wing is expanded to. */
function xWing(seed: Uint8Array): Uint8Array {
  return shake256(seed, { dkLen: 96 })
}

function mlKemParts(seed: Uint8Array): Parts {
  const [d, z] = [seed.slice(0, 32), seed.slice(32, 64)]
  // FIPS 203, Algorithm 13, line 1: ρ is public, σ is not.
  const expanded = sha3_512(Buffer.concat([d, Uint8Array.of(3)]))
  return { d, z, sigma: expanded.subarray(32) }
}

/** The families and public halves of a key. */
function halves({ alg, purpose, publicKey, publicKeyPq }: HeldKey): [string, string][] {
  if (alg !== 'hybrid' || !publicKeyPq) return [[alg, publicKey]]
  if (purpose === 'kem') return [['x-wing', publicKey]]
  return [
    ['ed25519', publicKey],
    ['ml-dsa', publicKeyPq],
  ]
}

/**
 * Tries every 32 bytes of `arena` as the beginning of the seed of every key, until each has one. Throws where one has
 * none.
 */
export function secretsOf(keys: HeldKey[], arena: Buffer[]): Parts {
  const secrets: Parts = {}
  const wanted = keys
    .flatMap(halves)
    .map(([family, publicKey], i) => ({ name: `${family} ${i}`, family, publicKey }))
  // Seeds are small, and what is small is in the smallest regions.
  for (const bytes of [...arena].sort((a, b) => a.length - b.length)) {
    for (let at = 0; at + 64 <= bytes.length && wanted.length > 0; at += 32) {
      if (new Set(bytes.subarray(at, at + 32)).size < 16) continue
      for (const { name, family, publicKey } of [...wanted]) {
        const parts = family.startsWith('slh-dsa')
          ? slhDsaParts(bytes.subarray(at), publicKey)
          : partsOf(family, bytes.subarray(at), publicKey)
        if (!parts) continue
        for (const [part, value] of Object.entries(parts)) secrets[`${name} ${part}`] = value
        wanted.splice(
          wanted.findIndex(it => it.name === name),
          1,
        )
      }
    }
  }
  if (wanted.length > 0) throw new Error(`not in secret memory: ${wanted.map(({ name }) => name).join()}`)
  return secrets
}

function partsOf(name: string, bytes: Buffer, wanted: string): Parts | undefined {
  const family = FAMILIES[name]
  if (!family) throw new Error(`no such family: ${name}`)
  const seed = Uint8Array.from(bytes.subarray(0, family.seedLen))
  return family.publicKey(seed) === wanted ? family.parts(seed) : undefined
}

/** SK.seed ‖ SK.prf ‖ PK.seed, the last of which the public half begins with. */
function slhDsaParts(bytes: Buffer, publicKey: string): Parts | undefined {
  const n = publicKey.length / 4
  if (hex(bytes.subarray(2 * n, 3 * n)) !== publicKey.slice(0, 2 * n)) return undefined
  return { skSeed: bytes.subarray(0, n), skPrf: bytes.subarray(n, 2 * n) }
}
