import { setImmediate } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { FairGate } from '../../src/passport/service/fair-gate.js'

describe('FairGate', () => {
  it('lets requests through at once while a turn has room', () => {
    const gate = new FairGate({ perTurn: 4, perClient: 2 })
    expect([gate.enter('a'), gate.enter('a'), gate.enter('b')]).toEqual([undefined, undefined, undefined])
    expect(gate.queued).toBe(0)
  })

  it('takes from the queues of clients in rotation', async () => {
    const gate = new FairGate({ perTurn: 4, perClient: 2 })
    const order: string[] = []
    const enter = async (client: string) => {
      await gate.enter(client)
      order.push(client)
    }
    const many = Array.from({ length: 20 }, () => enter('greedy'))
    const few = [enter('modest'), enter('modest')]
    await Promise.all(few)
    expect(order.filter(client => client === 'greedy').length).toBeLessThan(8)
    await Promise.all(many)
    expect(order).toHaveLength(22)
    expect(gate.queued).toBe(0)
  })

  it('keeps the order of one client', async () => {
    const gate = new FairGate({ perTurn: 2, perClient: 1 })
    const order: number[] = []
    const all = Array.from({ length: 6 }, async (_, i) => {
      await gate.enter('a')
      order.push(i)
    })
    await Promise.all(all)
    expect(order).toEqual([0, 1, 2, 3, 4, 5])
  })

  it('starts anew with every turn', async () => {
    const gate = new FairGate({ perTurn: 1, perClient: 1 })
    for (let i = 0; i < 3; i += 1) {
      expect(gate.enter('a')).toBeUndefined()
      await setImmediate()
      await setImmediate()
    }
  })
})
