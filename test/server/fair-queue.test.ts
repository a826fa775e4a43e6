import { describe, expect, it } from 'vitest'
import { FairQueue, type FairQueueLimits, type Place } from '../../src/server/fair-queue.js'

/** A queue in a world that moves by hand. */
function world(limits: Partial<FairQueueLimits> = {}) {
  const turns: (() => void)[] = []
  const clock = { ms: 1_000 }
  const queue = new FairQueue(
    { inflight: { sign: 512, verify: 1_024 }, shareFloor: 0.05, ...limits },
    { now: () => clock.ms, nextTurn: callback => void turns.push(callback) },
  )
  /** One turn of the event loop: the queue's part of it, and then what it let go. */
  const turn = async () => {
    for (const callback of turns.splice(0)) callback()
    await new Promise(resolve => setImmediate(resolve))
  }
  return { queue, clock, turn, turns }
}

type World = ReturnType<typeof world>

/** A request of a tenant that takes `ms` on the event loop; `served` says in which order they were. */
async function request({ queue, clock }: World, tenant: string, ms: number, served: string[]): Promise<void> {
  const place = queue.enter(tenant, 'sign')
  await place.loop()
  clock.ms += ms
  place.worked(ms)
  served.push(tenant)
  place.leave()
}

function count(served: readonly string[], tenant: string): number {
  return served.filter(name => name === tenant).length
}

describe('a fair queue', () => {
  it('lets every request of a lone tenant through at once', () => {
    const { queue, turns } = world()
    const places = Array.from({ length: 100 }, () => queue.enter('a', 'sign'))
    for (const place of places) {
      expect(place.loop()).toBeUndefined()
      place.worked(1)
    }
    expect(turns).toHaveLength(0)
  })

  it('lets a lone tenant work for so long in a turn where that is bounded, and loses none of its requests', async () => {
    const w = world({ aloneMs: 10 })
    let served = 0
    const work = (place: Place) => {
      place.worked(1)
      served += 1
      place.leave()
    }
    const waiting = Array.from({ length: 100 }, () => {
      const place = w.queue.enter('a', 'sign')
      const turn = place.loop()
      return turn ? turn.then(() => work(place)) : work(place)
    })
    // What passes the bound is the last.
    expect(served).toBe(10)
    while (w.turns.length > 0) {
      const before = served
      await w.turn()
      expect(served - before).toBeLessThan(50)
    }
    await Promise.all(waiting)
    expect(served).toBe(100)
    expect(w.queue.depth('sign')).toBe(0)
  })

  it('serves a tenant with one request beside one with a thousand before these', async () => {
    const w = world({ inflight: { sign: 4_000, verify: 1 } })
    const served: string[] = []
    w.queue.enter('b', 'sign').leave()
    const all = Array.from({ length: 1_000 }, () => request(w, 'a', 0.05, served))
    all.push(request(w, 'b', 0.05, served))
    for (let i = 0; i < 3; i += 1) await w.turn()
    expect(served).toContain('b')
    expect(count(served, 'a')).toBeLessThan(50)
    while (w.turns.length > 0) await w.turn()
    await Promise.all(all)
    expect(w.queue.depth('sign')).toBe(0)
  })

  it.each([
    { name: 'of one cost', a: 0.05, b: 0.05 },
    { name: 'of which one costs ten times as much', a: 0.5, b: 0.05 },
  ])('gives two tenants with full queues $name the same time', async ({ a, b }) => {
    const w = world({ inflight: { sign: 4_000, verify: 1 } })
    const served: string[] = []
    const all = Array.from({ length: 1_000 }, () => [
      request(w, 'a', a, served),
      request(w, 'b', b, served),
    ]).flat()
    while (served.length < 300) await w.turn()
    const ratio = (count(served, 'a') * (a + 0.025)) / (count(served, 'b') * (b + 0.025))
    expect(ratio).toBeGreaterThan(0.6)
    expect(ratio).toBeLessThan(1.7)
    while (w.turns.length > 0) await w.turn()
    await Promise.all(all)
  })

  it('refuses what goes beyond a queue, and takes again what fits', () => {
    const { queue } = world({ inflight: { sign: 2, verify: 1 } })
    const first = queue.enter('a', 'sign')
    queue.enter('a', 'sign')
    expect(() => queue.enter('a', 'sign')).toThrow(expect.objectContaining({ code: 'Backpressure' }))
    expect(queue.enter('a', 'verify')).toBeDefined()
    first.leave()
    expect(queue.enter('a', 'sign')).toBeDefined()
  })

  it('keeps a part of a queue for a second tenant, and no more than the floor for each of many', () => {
    const { queue } = world({ inflight: { sign: 100, verify: 1 }, shareFloor: 0.1 })
    queue.enter('b', 'sign').leave()
    const places: Place[] = []
    for (let i = 0; i < 50; i += 1) places.push(queue.enter('a', 'sign'))
    expect(() => queue.enter('a', 'sign')).toThrow('queue is full')
    for (let i = 0; i < 18; i += 1) queue.enter(`t${i}`, 'sign').leave()
    for (let i = 0; i < 10; i += 1) queue.enter('c', 'sign')
    expect(() => queue.enter('c', 'sign')).toThrow('queue is full')
  })

  it('hands the threads to one tenant after the other, and lets a lone one have them all', async () => {
    const w = world({ threads: 1 })
    const alone = Array.from({ length: 5 }, () => w.queue.enter('a', 'sign'))
    for (const place of alone) expect(place.thread()).toBeUndefined()
    w.clock.ms += 100
    for (const place of alone) place.leave()
    const order: string[] = []
    const start = (name: string) => {
      const place = w.queue.enter(name, 'sign')
      const waits = place.thread()
      if (waits === undefined) order.push(name)
      else void waits.then(() => order.push(name))
      return place
    }
    w.queue.enter('b', 'sign').leave()
    const places = [start('a'), start('a'), start('a'), start('b')]
    expect(order).toEqual(['a'])
    w.clock.ms += 100
    places[0]?.leave()
    await w.turn()
    expect(order).toEqual(['a', 'b'])
  })

  it('says how long requests waited, and holds refusals back only where another tenant is', async () => {
    const w = world({ turnMs: 0.1 })
    expect(w.queue.holdMs()).toBe(0)
    w.queue.enter('a', 'verify').leave()
    w.queue.enter('b', 'verify').leave()
    expect(w.queue.holdMs()).toBeGreaterThanOrEqual(50)
    const places = Array.from({ length: 20 }, () => w.queue.enter('a', 'sign'))
    const turns = places.map(place => place.loop())
    w.clock.ms += 7
    while (w.turns.length > 0) await w.turn()
    await Promise.all(turns)
    expect(places.at(-1)?.waitedMs).toBe(7)
  })

  it('forgets tenants that are gone, and what they owed', async () => {
    const w = world()
    for (let i = 0; i < 1_000; i += 1) w.queue.enter(`t${i}`, 'sign').leave()
    w.clock.ms += 10_000
    w.queue.enter('a', 'sign').leave()
    w.clock.ms += 10_000
    const place = w.queue.enter('a', 'sign')
    expect(place.loop()).toBeUndefined()
    expect(w.queue.holdMs()).toBe(0)
  })
})
