import { describe, expect, it } from 'vitest'
import { Coalescer, type Outcome } from '../src/coalescer.js'

/** Doubles its items; 3 fails. Remembers its batches. */
function doubling(limits?: ConstructorParameters<typeof Coalescer>[1]) {
  const batches: number[][] = []
  const run = (items: readonly number[]): Outcome<number>[] => {
    batches.push([...items])
    return items.map(item => (item === 3 ? { error: new Error('three') } : { answer: item * 2 }))
  }
  return { batches, coalescer: new Coalescer(run, limits) }
}

const turn = () => new Promise(resolve => setImmediate(resolve))

/** After this several have come in one turn. */
async function crowd(coalescer: Coalescer<number, number>, batches: unknown[]): Promise<void> {
  await Promise.all([coalescer.submit(0), coalescer.submit(0)])
  batches.length = 0
}

describe('a coalescer', () => {
  it('joins what comes in one turn, and answers each by itself', async () => {
    const { batches, coalescer } = doubling()
    await crowd(coalescer, batches)
    const answers = [1, 2, 3, 4].map(item => coalescer.submit(item))
    expect(batches).toEqual([])
    expect(await Promise.allSettled(answers)).toMatchObject([
      { value: 2 },
      { value: 4 },
      { reason: new Error('three') },
      { value: 8 },
    ])
    expect(batches).toEqual([[1, 2, 3, 4]])
  })

  it('works at once on what comes one by one, and joins again once several come', async () => {
    const { batches, coalescer } = doubling()
    for (const item of [1, 2]) {
      const answer = coalescer.submit(item)
      expect(batches).toHaveLength(item)
      expect(await answer).toBe(item * 2)
      await turn()
    }
    await Promise.all([4, 5, 6].map(item => coalescer.submit(item)))
    await Promise.all([7, 8].map(item => coalescer.submit(item)))
    expect(batches).toEqual([[1], [2], [4], [5, 6], [7, 8]])
    const last = coalescer.submit(9)
    expect(batches).toHaveLength(5)
    expect(await last).toBe(18)
    await turn()
    coalescer.submit(10)
    expect(batches).toHaveLength(7)
  })

  it('works on a full batch at once, and never on more', async () => {
    const { batches, coalescer } = doubling({ targetBatch: 3, maxBatch: 2 })
    await crowd(coalescer, batches)
    const answers = [1, 2, 4].map(item => coalescer.submit(item))
    expect(batches).toEqual([[1, 2]])
    expect(await Promise.all(answers)).toEqual([2, 4, 8])
    expect(batches).toEqual([[1, 2], [4]])
  })

  it('does not wait for the end of a long turn', async () => {
    const { batches, coalescer } = doubling({ maxWaitMs: 1 })
    await crowd(coalescer, batches)
    const first = coalescer.submit(1)
    const until = performance.now() + 2
    while (performance.now() < until);
    const second = coalescer.submit(2)
    expect(batches).toEqual([[1, 2]])
    expect(await Promise.all([first, second])).toEqual([2, 4])
  })

  it('fails every item of a batch whose work throws, and goes on', async () => {
    let fails = true
    const coalescer = new Coalescer<number, number>(items => {
      if (fails) throw new Error('broken')
      return items.map(answer => ({ answer }))
    })
    const lost = await Promise.allSettled([coalescer.submit(1), coalescer.submit(2)])
    expect(lost).toMatchObject([{ reason: new Error('broken') }, { reason: new Error('broken') }])
    fails = false
    expect(await coalescer.submit(3)).toBe(3)
  })

  it('fails an item that was given no outcome instead of leaving it', async () => {
    const coalescer = new Coalescer<number, number>(() => [])
    await expect(coalescer.submit(1)).rejects.toThrow('no outcome')
  })
})
