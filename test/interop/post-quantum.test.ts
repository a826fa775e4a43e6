// Strangers and our post-quantum verbs understand each other: node:crypto of a Node with OpenSSL 3.5, and
// @noble/post-quantum. Both sign and we verify; we encapsulate and both decapsulate. The key service against both is in
// the script beside this file.
import { execFile, execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { mlDsa, mlKem, type SlhDsaSet, slhDsa } from '../../src/primitives.js'
import { part } from '../support/parts.js'
import {
  flipped,
  ML_DSA,
  ML_DSA_SETS,
  ML_KEM,
  ML_KEM_SETS,
  PQ_LANES,
  SLH_DSA_FAST,
} from '../support/post-quantum.js'

const message = new TextEncoder().encode('what was signed')
const contexts = [new Uint8Array(0), new TextEncoder().encode('a context'), new Uint8Array(255).fill(9)]

describe('@noble/post-quantum', () => {
  it.each(ML_DSA_SETS)('signs with %s what we verify', set => {
    const scheme = ML_DSA[set]
    const { publicKey, secretKey } = scheme.keygen()
    for (const context of contexts) {
      const signature = scheme.sign(message, secretKey, { context })
      for (const lane of PQ_LANES) {
        for (const key of [publicKey, mlDsa.importKey(set, publicKey)]) {
          expect(mlDsa.verify(set, key, message, signature, { context, lane })).toBe(true)
          expect(mlDsa.verify(set, key, message, flipped(signature, 77), { context, lane })).toBe(false)
        }
      }
    }
  })

  it.each(Object.entries(SLH_DSA_FAST))('signs with %s what we verify', (name, scheme) => {
    const set = name as SlhDsaSet
    const { publicKey, secretKey } = scheme.keygen()
    const [, context] = contexts as [Uint8Array, Uint8Array]
    const signature = scheme.sign(message, secretKey, { context })
    expect(slhDsa.verify(set, publicKey, message, signature, { context })).toBe(true)
    expect(slhDsa.verify(set, publicKey, message, flipped(signature, 77), { context })).toBe(false)
  })

  it.each(ML_KEM_SETS)('decapsulates what we encapsulate with %s', set => {
    const { publicKey, secretKey } = ML_KEM[set].keygen()
    mlKem.checkPublicKey(set, publicKey)
    for (const lane of PQ_LANES) {
      const { ciphertext, sharedSecret } = mlKem.encapsulate(set, publicKey, { lane })
      expect(ML_KEM[set].decapsulate(ciphertext, secretKey)).toEqual(sharedSecret)
    }
  })
})

const node = part('openssl-3.5')

describe.skipIf(!node.available)('node:crypto', () => {
  type Answer = { publicKey: string; signature: string; privateKey: string; sharedSecret: string }
  const script = fileURLToPath(new URL('fixtures/stranger.mjs', import.meta.url))
  const ask = (requests: object[]): Answer[] =>
    JSON.parse(
      execFileSync(node.path, [script], { input: JSON.stringify(requests), maxBuffer: 2 ** 26 }).toString(),
    )
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url')
  const bytes = (encoded: string) => Uint8Array.from(Buffer.from(encoded, 'base64url'))

  it('signs with every set of ML-DSA what we verify', () => {
    const wishes = ML_DSA_SETS.flatMap(set => contexts.map(context => ({ set, context })))
    const answers = ask(
      wishes.map(({ set, context }) => ({
        ...{ op: 'sign', set, message: text(message), context: text(context) },
        publicKeyLength: ML_DSA[set].lengths.publicKey,
      })),
    )
    for (const [i, { set, context }] of wishes.entries()) {
      const [publicKey, signature] = [answers[i]?.publicKey ?? '', answers[i]?.signature ?? ''].map(
        bytes,
      ) as [Uint8Array, Uint8Array]
      for (const lane of PQ_LANES) {
        expect(mlDsa.verify(set, publicKey, message, signature, { context, lane }), set).toBe(true)
        expect(mlDsa.verify(set, publicKey, message, flipped(signature, 77), { context, lane })).toBe(false)
      }
    }
  })

  // One small set: the others take OpenSSL seconds, and test/vectors/openssl has a signature of each.
  it('signs with SLH-DSA what we verify', () => {
    const [, context] = contexts as [Uint8Array, Uint8Array]
    const sizes = ['128f', '192f', '256f'] as const
    const fast = (['sha2', 'shake'] as const).flatMap(hash =>
      sizes.map(size => `slh-dsa-${hash}-${size}` as const),
    )
    const sets = ['slh-dsa-sha2-128s', ...fast] as const
    const answers = ask(
      sets.map(set => ({
        ...{ op: 'sign', set, message: text(message), context: text(context) },
        publicKeyLength: Number(set.slice(-4, -1)) / 4,
      })),
    )
    for (const [i, set] of sets.entries()) {
      const publicKey = bytes(answers[i]?.publicKey ?? '')
      const signature = bytes(answers[i]?.signature ?? '')
      for (const lane of slhDsa.lanes()) {
        expect(slhDsa.verify(set, publicKey, message, signature, { context, lane }), set).toBe(true)
        expect(slhDsa.verify(set, publicKey, message, signature, { lane }), set).toBe(false)
      }
    }
  })

  it('decapsulates what we encapsulate to its keys', () => {
    const pairs = ask(
      ML_KEM_SETS.map(set => ({ op: 'keygen', set, publicKeyLength: ML_KEM[set].lengths.publicKey })),
    )
    const made = ML_KEM_SETS.flatMap((set, i) => {
      const { publicKey, privateKey } = pairs[i] as Answer
      mlKem.checkPublicKey(set, bytes(publicKey))
      return PQ_LANES.map(lane => ({
        set,
        privateKey,
        ...mlKem.encapsulate(set, bytes(publicKey), { lane }),
      }))
    })
    const answers = ask(
      made.map(({ privateKey, ciphertext }) => ({
        op: 'decapsulate',
        privateKey,
        ciphertext: text(ciphertext),
      })),
    )
    for (const [i, { set, sharedSecret }] of made.entries()) {
      expect(answers[i]?.sharedSecret, set).toBe(text(sharedSecret))
    }
  })
})

describe.skipIf(!node.available)('keys of the service', () => {
  const script = fileURLToPath(new URL('post-quantum.mjs', import.meta.url))

  it('sign, bind and wrap as documented: strangers agree', { timeout: 120_000 }, async () => {
    const run = promisify(execFile)(node.path, [script])
    const { stdout } = await run.catch((error: { stdout?: string }) => ({
      stdout: error.stdout || String(error),
    }))
    const lines = stdout.trimEnd().split('\n')
    expect(lines.filter(line => !line.startsWith('ok '))).toEqual([
      expect.stringMatching(/^\d{3} facts hold, 0 do not$/),
    ])
    // Of each kind something was checked.
    for (const what of [
      /node:crypto of Node \d+\S+ verifies our ml-dsa-65 \(aws-lc\)/,
      /@noble\/post-quantum verifies our ml-dsa-87 \(rustcrypto\)/,
      /verifies the ML-DSA half of our hybrid signatures/,
      /we open an envelope from outside: x-wing, aes-256-gcm/,
      /a stranger opens our envelope: ml-kem-768, chacha20-poly1305, psk/,
    ]) {
      expect(lines.some(line => line.startsWith('ok ') && what.test(line))).toBe(true)
    }
  })
})
