// Disable, enable, destroy in the library: what is out of use does nothing, in any call.
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type CreateKeyOptions, Kms } from '../src/index.js'
import { Sweeper } from '../src/sweeper.js'
import { refusal } from './support/refusal.js'

const message = new TextEncoder().encode('a message')
const wish: CreateKeyOptions = { tenant: 'core', purpose: 'audit', alg: 'ed25519' }
const DAY_MS = 24 * 3_600_000
const CALLS = ['disableKey', 'enableKey', 'scheduleDestroy', 'cancelDestroy'] as const
const keyOf = (kid: string) => kid.split('#')[0] ?? kid
let kms: Kms

beforeEach(async () => {
  kms = await Kms.open({ backend: 'inmem' })
})
afterEach(() => kms.close())

/** A service that destroys at once, as soon as the timer runs. */
async function hasty(): Promise<Kms> {
  kms.close()
  kms = await Kms.open({ backend: 'inmem', minDestroyDelayMs: 0 })
  return kms
}

async function stateOf(kid: string) {
  const { state, versionStates } = await kms.describeKey(keyOf(kid))
  return [state, ...versionStates.map(each => each.state)]
}

/** Each call that uses a key to sign or verify, and what it says. */
async function uses(kid: string, signature: Uint8Array): Promise<string[]> {
  const items = Array.from({ length: 100 }, () => ({ kid, message, signature }))
  const signed = [kms.signBatch(items), await kms.signBatchAsync(items)]
  const verified = [kms.verifyBatch(items), await kms.verifyBatchAsync(items)]
  return [
    await refusal(() => kms.sign(kid, message)),
    await refusal(() => kms.signAsync(kid, message)),
    await refusal(() => kms.signBundle(kid, message)),
    await refusal(() => kms.signBundleAsync(kid, message)),
    await refusal(() => kms.verify(kid, message, signature)),
    await refusal(() => kms.verifyBundle(kid, message, [{ alg: 'ed25519', signature }])),
    ...signed.map(batch =>
      batch.every((each, i) => each === null && batch.errors.get(i)?.code === 'Conflict')
        ? 'Conflict kid'
        : 'signed',
    ),
    ...verified.map(batch =>
      batch.every((each, i) => each === 2 && batch.errors.get(i)?.code === 'Conflict')
        ? 'Conflict kid'
        : 'verified',
    ),
  ]
}

describe('a disabled key', () => {
  it('is refused by every call, also under a kid that was used before, until it is enabled', async () => {
    const { kid } = await kms.createKey(wish)
    const signature = kms.sign(kid, message)
    expect(await kms.disableKey(keyOf(kid))).toEqual({ kid: keyOf(kid), state: 'disabled' })
    expect(new Set(await uses(kid, signature))).toEqual(new Set(['Conflict kid']))
    expect(await refusal(() => kms.rotateKey(keyOf(kid)))).toBe('Conflict kid')
    expect(await refusal(() => kms.deriveKey(kid, 'x'))).toBe('Conflict kid')
    expect(await refusal(() => kms.disableKey(keyOf(kid)))).toBe('Conflict kid')
    expect((await kms.describeKey(kid)).publicKey).toHaveLength(32)

    expect(await kms.enableKey(keyOf(kid))).toEqual({ kid: keyOf(kid), state: 'enabled' })
    expect(await refusal(() => kms.enableKey(keyOf(kid)))).toBe('Conflict kid')
    expect(new Set(await uses(kid, signature))).not.toContain('Conflict kid')
  })

  it('wraps and unwraps nothing', async () => {
    const { kid } = await kms.createKey({ ...wish, purpose: 'kem', alg: 'hybrid' })
    const { wrapped } = await kms.wrap(kid, { size: 32 })
    await kms.disableKey(keyOf(kid))
    expect(await refusal(() => kms.wrap(kid, { size: 32 }))).toBe('Conflict kid')
    for (const options of [{}, { kid }, { kid: keyOf(kid) }]) {
      expect(await refusal(() => kms.unwrap(wrapped, options))).toBe('Conflict kid')
      expect(await refusal(() => kms.rewrap(wrapped, options))).toBe('Conflict kid')
    }
    await kms.enableKey(keyOf(kid))
    expect((await kms.unwrap(wrapped)).dataKey).toHaveLength(32)
  })
})

describe('a version', () => {
  it('is out of use alone, and no older one stands in for the head', async () => {
    const { kid: v1 } = await kms.createKey(wish)
    const old = kms.sign(v1, message)
    const { kid: v2 } = await kms.rotateKey(v1)
    expect(await kms.disableKey(v2)).toEqual({ kid: v2, state: 'disabled' })
    for (const kid of [keyOf(v1), v1, v2]) {
      expect(await refusal(() => kms.sign(kid, message))).toBe('Conflict kid')
    }
    expect(kms.verify(v1, message, old)).toBe(true)
    expect(await stateOf(v1)).toEqual(['enabled', 'enabled', 'disabled'])
    const { kid: v3 } = await kms.rotateKey(v2)
    expect(kms.sign(v3, message)).toHaveLength(64)
  })

  it('that is pending and is taken out of use never becomes the head', async () => {
    const { kid: v1 } = await kms.createKey(wish)
    const { kid: v2 } = await kms.rotateKey(v1, { activateAfterMs: 3_600_000 })
    const { destroyAt } = await kms.scheduleDestroy(v2)
    expect(destroyAt?.getTime()).toBeGreaterThan(Date.now() + DAY_MS - 60_000)
    const shown = await kms.describeKey(v1)
    expect(shown.pending).toBeUndefined()
    expect(shown.versionStates).toEqual([
      { version: 1, state: 'enabled' },
      { version: 2, state: 'destroy_scheduled', destroyAt },
    ])
    expect((await kms.rotateKey(v1)).kid).toBe(v1.replace('#v1', '#v3'))
  })
})

describe('destruction', () => {
  it('takes two steps, and can be called off between them', async () => {
    const { kid } = await kms.createKey(wish)
    const signature = kms.sign(kid, message)
    const scheduled = await kms.scheduleDestroy(keyOf(kid), { delayMs: 2 * DAY_MS })
    expect(scheduled).toEqual({ kid: keyOf(kid), state: 'destroy_scheduled', destroyAt: expect.any(Date) })
    expect((await kms.describeKey(kid)).destroyAt).toEqual(scheduled.destroyAt)
    expect(new Set(await uses(kid, signature))).toEqual(new Set(['Conflict kid']))
    for (const name of ['disableKey', 'enableKey', 'scheduleDestroy', 'rotateKey'] as const) {
      expect(await refusal(() => kms[name](keyOf(kid)))).toBe('Conflict kid')
    }
    expect(await kms.cancelDestroy(keyOf(kid))).toEqual({ kid: keyOf(kid), state: 'disabled' })
    expect(await refusal(() => kms.cancelDestroy(keyOf(kid)))).toBe('Conflict kid')
    await kms.enableKey(keyOf(kid))
    expect(kms.verify(kid, message, signature)).toBe(true)
  })

  it('is for good: nothing follows it, and what is public stays', async () => {
    await hasty()
    const { kid, publicKey } = await kms.createKey(wish)
    const signature = kms.sign(kid, message)
    await kms.scheduleDestroy(keyOf(kid))
    expect(await stateOf(kid)).toEqual(['destroyed', 'destroyed'])
    expect(new Set(await uses(kid, signature))).toEqual(new Set(['Conflict kid']))
    for (const target of [kid, keyOf(kid)]) {
      for (const name of CALLS) expect(await refusal(() => kms[name](target))).toBe('Conflict kid')
    }
    expect((await kms.describeKey(kid)).publicKey).toEqual(publicKey)
    expect(await kms.attest(kid)).toMatchObject({ kid, versions: [1] })
    expect(await refusal(() => kms.exportKey(kid))).toBe('ExportForbidden undefined')
  })

  it('takes one version and leaves the others', async () => {
    await hasty()
    const { kid: v1 } = await kms.createKey(wish)
    const { kid: v2 } = await kms.rotateKey(v1)
    const signature = kms.sign(v2, message)
    await kms.scheduleDestroy(v1)
    expect(await stateOf(v1)).toEqual(['enabled', 'destroyed', 'enabled'])
    expect(kms.verify(v2, message, signature)).toBe(true)
  })

  it('does not wait less than the service says', async () => {
    const { kid } = await kms.createKey(wish)
    for (const delayMs of [0, 1, DAY_MS - 1, -1, 1.5, Number.NaN, 2 ** 53, 11 * 366 * DAY_MS]) {
      expect(await refusal(() => kms.scheduleDestroy(kid, { delayMs }))).toBe('BadRequest delay_ms')
    }
    expect(await stateOf(kid)).toEqual(['enabled', 'enabled'])
    for (const minDestroyDelayMs of [-1, 0.5, Number.NaN, 11 * 366 * DAY_MS, '1' as unknown as number]) {
      const open = () => Kms.open({ backend: 'inmem', minDestroyDelayMs })
      expect(await refusal(open)).toBe('BadRequest minDestroyDelayMs')
    }
  })

  it('fails what is under way on another thread', async () => {
    const { kid } = await kms.createKey({ ...wish, alg: 'slh-dsa' })
    const signing = refusal(() => kms.signAsync(kid, message))
    await kms.scheduleDestroy(keyOf(kid))
    expect(await signing).toBe('Conflict kid')
  })
})

describe('under one opId', () => {
  it('a change is made once, and answered again while it holds', async () => {
    const { kid } = await kms.createKey(wish)
    const key = keyOf(kid)
    const [first, second] = [{ opId: randomUUID() }, { opId: randomUUID() }]
    const answer = await kms.disableKey(key, first)
    expect(await kms.disableKey(key, first)).toEqual(answer)
    expect(await refusal(() => kms.disableKey(kid, first))).toBe('Conflict op_id')
    await kms.enableKey(key, first)
    expect(await refusal(() => kms.disableKey(key, first))).toBe('Conflict kid')
    const scheduled = await kms.scheduleDestroy(key, second)
    expect(await kms.scheduleDestroy(key, second)).toEqual(scheduled)
    expect(await refusal(() => kms.scheduleDestroy(key, { ...second, delayMs: 2 * DAY_MS }))).toBe(
      'Conflict op_id',
    )
    await kms.cancelDestroy(key, second)
    expect(await refusal(() => kms.scheduleDestroy(key, second))).toBe('Conflict kid')
  })
})

describe('what is malformed', () => {
  it('is refused by name', async () => {
    const { kid } = await kms.createKey(wish)
    for (const name of CALLS) {
      const call = (...args: unknown[]) => refusal(() => kms[name](...(args as [string])))
      expect(await call('x')).toBe('BadRequest kid')
      expect(await call(7)).toBe('BadRequest kid')
      expect(await call(kid, null)).toBe('BadRequest options')
      expect(await call(kid, { opId: 'x' })).toBe('BadRequest op_id')
      expect(await call(`${keyOf(kid)}#v2`)).toBe('NotFound kid')
      expect(await call(kid.replace('core/', 'other/'))).toBe('NotFound kid')
      if (name !== 'scheduleDestroy') {
        expect(await call(kid, { delayMs: DAY_MS })).toBe('BadRequest delay_ms')
      }
    }
    expect(await stateOf(kid)).toEqual(['enabled', 'enabled'])
    kms.close()
    for (const name of CALLS) expect(await refusal(() => kms[name](kid))).toBe('StoreUnavailable undefined')
  })
})

describe('the timer', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it('sweeps when something is due, and sleeps no longer than a timer can', () => {
    vi.useFakeTimers()
    const answers = [5, 1e10, 7]
    const sweep = vi.fn(() => answers.shift() ?? null)
    new Sweeper({ sweep }).sweep()
    for (const [wait, sweeps] of [
      [4, 1],
      [1, 2],
      [3_599_999, 2],
      [1, 3],
      [7, 4],
      [1e9, 4],
    ] as const) {
      vi.advanceTimersByTime(wait)
      expect(sweep).toHaveBeenCalledTimes(sweeps)
    }
  })

  it('comes again after a sweep that failed, and not after it was stopped', () => {
    vi.useFakeTimers()
    const sweep = vi.fn((): number => {
      throw new Error('a fault')
    })
    const sweeper = new Sweeper({ sweep })
    sweeper.sweep()
    vi.advanceTimersByTime(60_000)
    expect(sweep).toHaveBeenCalledTimes(2)
    sweeper.stop()
    vi.advanceTimersByTime(600_000)
    expect(sweep).toHaveBeenCalledTimes(2)
  })

  it('is set by a wish to destroy, and by nothing else', async () => {
    const { kid } = await kms.createKey(wish)
    vi.useFakeTimers()
    await kms.disableKey(kid)
    await kms.enableKey(kid)
    expect(vi.getTimerCount()).toBe(0)
    await kms.scheduleDestroy(kid)
    expect(vi.getTimerCount()).toBe(1)
    kms.close()
    expect(vi.getTimerCount()).toBe(0)
  })
})
