// Any lane of a post-quantum algorithm gives the verdict of any other, on what was signed and on what was spoilt.
// What is spoilt is what each rule looks at: hints, z, the challenge, the key, lengths, contexts.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as nobleEd25519 from '../../src/lanes/noble.js'
import * as noble from '../../src/lanes/noble-post-quantum.js'
import { mlDsa, mlKem, slhDsa, x25519 } from '../../src/primitives.js'
import {
  flipped,
  ML_DSA_SETS,
  ML_KEM,
  ML_KEM_SETS,
  mlDsaSigner,
  muOf,
  PQ_LANES,
  prefix,
  refusal,
  SLH_DSA_FAST,
} from '../support/post-quantum.js'

const context = new TextEncoder().encode('a context')
const message = new TextEncoder().encode('a message')

describe.each(ML_DSA_SETS)('%s', set => {
  // Made once: signing takes JavaScript tens of milliseconds.
  const signers = [1, 2].map(number => {
    const signer = mlDsaSigner(set, number)
    return { ...signer, signature: signer.sign(message, context) }
  })
  const [hints, challenge] = (
    { 'ml-dsa-44': [84, 32], 'ml-dsa-65': [61, 48], 'ml-dsa-87': [83, 64] } as const
  )[set]

  const spoilt = fc.record({
    who: fc.nat(1),
    spoil: fc.constantFrom('nothing', 'bit', 'hint', 'extreme z', 'key', 'length', 'message', 'context'),
    at: fc.nat(100_000),
    byte: fc.nat(255),
  })

  it('has one verdict in every lane, of bytes, of an imported key and of μ', () => {
    fc.assert(
      fc.property(fc.array(spoilt, { minLength: 1, maxLength: 8 }), recipes => {
        for (const { who, spoil, at, byte } of recipes) {
          const signer = signers[who] as (typeof signers)[number]
          let { publicKey, signature } = signer
          let text: Uint8Array = message
          let under: Uint8Array = context
          if (spoil === 'bit') signature = flipped(signature, at)
          if (spoil === 'hint') {
            signature = signature.slice()
            signature[signature.length - 1 - (at % hints)] = byte
          }
          if (spoil === 'extreme z') {
            signature = signature.slice()
            const start = challenge + (at % (signature.length - challenge - hints - 5))
            signature.fill([0, 0x80, 0xff][byte % 3] as number, start, start + 5)
          }
          if (spoil === 'key') publicKey = flipped(publicKey, at)
          if (spoil === 'length') signature = signature.slice(0, at % signature.length)
          if (spoil === 'message') text = flipped(message, at)
          if (spoil === 'context') under = flipped(context, at)
          const imported = mlDsa.importKey(set, publicKey)
          const mu = muOf(publicKey, prefix(under), text)
          const verdicts = PQ_LANES.flatMap(lane => [
            mlDsa.verify(set, publicKey, text, signature, { context: under, lane }),
            mlDsa.verify(set, imported, text, signature, { context: under, lane }),
            mlDsa.verifyMu(set, publicKey, mu, signature, { lane }),
            mlDsa.verifyMu(set, imported, mu, signature, { lane }),
          ])
          expect(new Set(verdicts).size, `${spoil} at ${at}: ${verdicts}`).toBe(1)
          if (spoil === 'nothing') expect(verdicts[0]).toBe(true)
        }
      }),
      { numRuns: 12 },
    )
  })

  it('is what noble says itself', () => {
    const { publicKey, signature } = signers[0] as (typeof signers)[number]
    for (let bit = 0; bit < 8 * signature.length; bit += 997) {
      const forged = flipped(signature, bit)
      const expected = noble.mlDsaVerify(set, publicKey, message, context, forged)
      for (const lane of ['aws-lc', 'rustcrypto'] as const) {
        expect(mlDsa.verify(set, publicKey, message, forged, { context, lane }), `bit ${bit}`).toBe(expected)
      }
    }
  })
})

describe.each(Object.entries(SLH_DSA_FAST))('%s', (name, scheme) => {
  const set = name as keyof typeof SLH_DSA_FAST
  const { publicKey, secretKey } = scheme.keygen(new Uint8Array(48).fill(1))
  const signature = scheme.sign(message, secretKey, { context })

  it('has one verdict in every lane', () => {
    const bits = Array.from({ length: 40 }, (_, i) => i * 3433)
    for (const [i, forged] of [signature, ...bits.map(bit => flipped(signature, bit))].entries()) {
      const verdicts = slhDsa
        .lanes()
        .map(lane => slhDsa.verify(set, publicKey, message, forged, { context, lane }))
      expect(verdicts).toEqual([i === 0, i === 0, i === 0])
    }
  })
})

describe.each(ML_KEM_SETS)('%s', set => {
  const { publicKey, secretKey } = ML_KEM[set].keygen(new Uint8Array(64).fill(1))

  it('takes or refuses a key in every lane alike', () => {
    fc.assert(
      fc.property(fc.nat(publicKey.length - 1), fc.nat(255), (at, byte) => {
        const key = publicKey.slice()
        key[at] = byte
        const verdict = refusal(() => mlKem.checkPublicKey(set, key))
        expect(refusal(() => noble.mlKemCheckPublicKey(key))).toBe(verdict)
        for (const lane of PQ_LANES)
          expect(refusal(() => mlKem.encapsulate(set, key, { lane }))).toBe(verdict)
      }),
      { numRuns: 60 },
    )
  })

  it.each(PQ_LANES)('encapsulates in lane %s what its owner decapsulates, anew each time', lane => {
    const made = Array.from({ length: 5 }, () => mlKem.encapsulate(set, publicKey, { lane }))
    for (const { ciphertext, sharedSecret } of made) {
      expect(sharedSecret).toHaveLength(32)
      expect(ML_KEM[set].decapsulate(ciphertext, secretKey)).toEqual(sharedSecret)
    }
    const distinct = new Set(made.map(({ sharedSecret }) => Buffer.from(sharedSecret).toString('hex')))
    expect(distinct.size).toBe(made.length)
  })
})

describe('x25519', () => {
  it('refuses the points of small order, native and in JavaScript alike', () => {
    const p = 2n ** 255n - 19n
    const littleEndian = (value: bigint) => Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse()
    let refused = 0
    // All values near the edges, with the ignored bit clear and set.
    const values = [...Array(24).keys()].flatMap(i => [BigInt(i), p - 3n + BigInt(i)])
    for (const value of values.filter(each => each < 2n ** 255n)) {
      for (const top of [0n, 1n << 255n]) {
        const key = littleEndian(value | top)
        const small = [0n, 1n, p - 1n].includes(value % p)
        const expected = small ? 'BadRequest publicKey' : 'not refused'
        expect(
          refusal(() => x25519.checkPublicKey(key)),
          `${value}`,
        ).toBe(expected)
        expect(
          refusal(() => nobleEd25519.x25519CheckPublicKey(key)),
          `${value}`,
        ).toBe(expected)
        refused += small ? 1 : 0
      }
    }
    expect(refused).toBe(10)
  })
})
