// Batch equals single, and any strict lane equals any other.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ed25519, type VerifyItem } from '../../src/primitives.js'
import { mixedOrder, STRICT_LANES, signer, TORSION } from '../support/ed25519.js'

const signers = [signer(), signer(), signer()]

type Spoil = 'nothing' | 'signature' | 'message' | 'key' | 'length' | 'torsion R' | 'torsion A' | 'S + L'
const spoils: Spoil[] = [
  'nothing',
  'signature',
  'message',
  'key',
  'length',
  'torsion R',
  'torsion A',
  'S + L',
]

const recipe = fc.record({
  who: fc.nat(2),
  message: fc.uint8Array({ maxLength: 100 }),
  spoil: fc.constantFrom(...spoils),
  at: fc.nat(511),
})

function item({ who, message, spoil, at }: { who: number; message: Uint8Array; spoil: Spoil; at: number }) {
  const key = signers[who] as (typeof signers)[number]
  const made = { publicKey: key.publicKey.slice(), message, signature: key.sign(message) }
  const torsion = TORSION[at % 8] as Uint8Array
  if (spoil === 'signature') flip(made.signature, at)
  if (spoil === 'message') made.message = Uint8Array.from([...message, 1])
  if (spoil === 'key') flip(made.publicKey, at % 256)
  if (spoil === 'length') made.signature = made.signature.slice(0, at % 64)
  if (spoil === 'torsion R') made.signature.set(torsion)
  if (spoil === 'torsion A') made.publicKey.set(torsion)
  if (spoil === 'S + L') made.signature.set(plusOrder(made.signature.subarray(32)), 32)
  return made
}

function flip(bytes: Uint8Array, bit: number): void {
  const at = (bit >> 3) % bytes.length
  bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7))
}

function plusOrder(s: Uint8Array): Uint8Array {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  const sum = BigInt(`0x${Buffer.from(s).reverse().toString('hex')}`) + order
  return Buffer.from(sum.toString(16).padStart(64, '0'), 'hex').reverse()
}

describe('a batch', () => {
  it('gives each item the verdict that it gets alone, in every lane', () => {
    fc.assert(
      fc.property(fc.array(recipe, { maxLength: 24 }), recipes => {
        const items = recipes.map(item)
        const single = items.map(({ publicKey, message, signature }) =>
          ed25519.verify(publicKey, message, signature, { lane: 'dalek' }) ? 1 : 0,
        )
        for (const lane of ['auto', 'simd', 'dalek', 'dalek-batch', 'ring'] as const) {
          expect([...ed25519.verifyBatch(items, { lane })], lane).toEqual(single)
        }
      }),
      { numRuns: 60 },
    )
  })

  it('gets the same verdicts in pure JavaScript', () => {
    fc.assert(
      fc.property(fc.array(recipe, { maxLength: 6 }), recipes => {
        const items = recipes.map(item)
        const native = ed25519.verifyBatch(items, { lane: 'dalek' })
        expect(ed25519.verifyBatch(items, { lane: 'noble' })).toEqual(native)
      }),
      { numRuns: 30 },
    )
  })

  it('keeps the order of its items on all cores', async () => {
    const items = Array.from({ length: 700 }, (_, at) =>
      item({
        who: at % 3,
        message: Uint8Array.of(at & 255),
        spoil: at % 7 === 3 ? 'message' : 'nothing',
        at,
      }),
    )
    const expected = items.map((_, at) => (at % 7 === 3 ? 0 : 1))
    for (const lane of ['auto', 'dalek-batch'] as const) {
      for (const threads of [0, 1, 2, 64]) {
        const verdicts = await ed25519.verifyBatchAsync(items, { lane, threads })
        expect([...verdicts], `${lane} ${threads}`).toEqual(expected)
      }
    }
  })

  it('takes packed buffers and writes where it is told', () => {
    const items = [0, 1, 2].map(at => item({ who: at, message: Uint8Array.of(at), spoil: 'nothing', at }))
    const packed = {
      publicKeys: Buffer.concat(items.map(({ publicKey }) => publicKey)),
      signatures: Buffer.concat(items.map(({ signature }) => signature)),
      messages: Buffer.concat(items.map(({ message }) => message)),
      offsets: Uint32Array.of(0, 1, 2, 3),
    }
    const out = new Uint8Array(5).subarray(1, 4)
    for (const lane of ['auto', 'noble'] as const) {
      out.fill(9)
      expect(ed25519.verifyBatch({ ...packed, out }, { lane })).toBe(out)
      expect([...new Uint8Array(out.buffer)]).toEqual([0, 1, 1, 1, 0])
    }
  })

  it('may write its verdicts over its own input', () => {
    const { publicKey, message, signature } = item({
      who: 0,
      message: Uint8Array.of(5),
      spoil: 'nothing',
      at: 0,
    })
    const shared = Uint8Array.from([...publicKey, ...signature, ...message])
    const verdicts = ed25519.verifyBatch({
      publicKeys: shared.subarray(0, 32),
      signatures: shared.subarray(32, 96),
      messages: shared.subarray(96),
      offsets: Uint32Array.of(0, 1),
      out: shared.subarray(0, 1),
    })
    expect([...verdicts]).toEqual([1])
  })

  it('of nothing is nothing', async () => {
    expect(ed25519.verifyBatch([])).toEqual(new Uint8Array(0))
    expect(ed25519.verifyBatch([], { lane: 'noble' })).toEqual(new Uint8Array(0))
    expect(await ed25519.verifyBatchAsync([])).toEqual(new Uint8Array(0))
  })
})

describe('points with torsion', () => {
  const message = new TextEncoder().encode('mixed order')
  const cases = (['R', 'A'] as const).flatMap(where =>
    [...Array(8).keys()].map(index => ({ where, index, ...mixedOrder(where, index, message) })),
  )
  const good = item({ who: 0, message, spoil: 'nothing', at: 0 })

  it.each(STRICT_LANES)(
    'get the cofactorless verdict in lane %s, alone and at every place of a batch',
    lane => {
      for (const { where, index, valid, ...forged } of cases) {
        const name = `T[${index}] on ${where}`
        expect(ed25519.verify(forged.publicKey, message, forged.signature, { lane }), name).toBe(valid)
        const company = lane === 'noble' ? 1 : 7
        for (const place of [0, company >> 1, company]) {
          const items: VerifyItem[] = Array(company).fill(good)
          items.splice(place, 0, forged)
          const expected = items.map(each => (each === good || valid ? 1 : 0))
          expect([...ed25519.verifyBatch(items, { lane })], `${name} at ${place}`).toEqual(expected)
        }
      }
    },
  )

  it('are in part let through by dalek-batch, as documented', () => {
    const accepted = [...Array(64).keys()].filter(i => {
      const forged = mixedOrder('R', 4, Uint8Array.of(i))
      return ed25519.verifyBatch([forged], { lane: 'dalek-batch' })[0] === 1
    })
    expect(accepted.length).toBeGreaterThan(8)
    expect(accepted.length).toBeLessThan(56)
  })
})
