import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { memoryOf, Pieces } from '../../src/server/middleware/pieces.js'

const LIMIT = 2 ** 20

function taken(body: Uint8Array, cuts: readonly number[], declared?: number) {
  const pieces = new Pieces(LIMIT, declared)
  let most = 0
  let from = 0
  for (const to of [...cuts, body.length]) {
    if (to <= from) continue
    expect(pieces.add(body.slice(from, to))).toBeUndefined()
    from = to
    most = Math.max(most, memoryOf(pieces.all()))
  }
  return { all: pieces.all(), most }
}

describe('a body in pieces', () => {
  const cutting = fc.tuple(
    fc.uint8Array({ minLength: 1, maxLength: 300_000 }),
    fc.array(fc.nat(300_000), { maxLength: 30 }).map(cuts => cuts.sort((a, b) => a - b)),
  )

  it('is what came, and holds no more memory than it says that it is long', () => {
    fc.assert(
      fc.property(cutting, ([body, cuts]) => {
        const own = cuts.filter(cut => cut < body.length)
        const { all, most } = taken(body, own, body.length)
        expect(Buffer.from(all).equals(body)).toBe(true)
        expect(most).toBeLessThanOrEqual(body.length)
      }),
      { numRuns: 50 },
    )
  })

  it('that does not say how long it is holds no more than the limit, nor than twice what came or 64 KiB', () => {
    fc.assert(
      fc.property(cutting, ([body, cuts]) => {
        const own = cuts.filter(cut => cut < body.length)
        const { most } = taken(body, own)
        expect(most).toBeLessThanOrEqual(Math.min(LIMIT, Math.max(2 * body.length, 64 * 1024)))
      }),
      { numRuns: 50 },
    )
    expect(taken(new Uint8Array(LIMIT), [LIMIT - 1]).most).toBe(LIMIT)
  })

  it('that announces much and sends little holds little', () => {
    expect(taken(new Uint8Array(2), [1], LIMIT).most).toBe(64 * 1024)
  })
})
