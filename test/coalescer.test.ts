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

describe('a coalescer', () => {
  it('joins what comes in one turn, and answers each by itself', async () => {
    const { batches, coalescer } = doubling()
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

  it('does not keep one that comes alone waiting for the next turn', async () => {
    const { batches, coalescer } = doubling()
    const answer = coalescer.submit(1)
    await turn()
    expect(batches).toEqual([[1]])
    expect(await answer).toBe(2)
    await coalescer.submit(2)
    expect(batches).toEqual([[1], [2]])
  })

  it('works on a full batch at once, and never on more', async () => {
    const { batches, coalescer } = doubling({ targetBatch: 3, maxBatch: 2 })
    const answers = [1, 2, 4].map(item => coalescer.submit(item))
    expect(batches).toEqual([[1, 2]])
    expect(await Promise.all(answers)).toEqual([2, 4, 8])
    expect(batches).toEqual([[1, 2], [4]])
  })

  it('does not wait for the end of a long turn', async () => {
    const { batches, coalescer } = doubling({ maxWaitMs: 1 })
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

  it('takes items that an answer brings', async () => {
    const { batches, coalescer } = doubling()
    const chained = coalescer.submit(1).then(answer => coalescer.submit(answer))
    expect(await chained).toBe(4)
    expect(batches).toEqual([[1], [2]])
  })
})
