// What strangers can make the service do by naming versions that do not exist.
import { describe, expect, it, vi } from 'vitest'
import type { KeyDescription } from '../../src/key-types.js'
import type { Custody } from '../../src/passport/service/custody.js'
import { KeyRing } from '../../src/passport/service/key-ring.js'
import type { Opened } from '../../src/passport/service/open-custody.js'
import { AUDIENCE, start } from './support.js'

/** Counts how often the key service is asked. */
function counted() {
  let asked = 0
  const wrap = (opened: Opened): Opened => {
    const { custody } = opened
    const describe = vi.spyOn(custody, 'describe')
    describe.mockImplementation(version => {
      asked += 1
      return Object.getPrototypeOf(custody).describe.call(custody, version)
    })
    return opened
  }
  return { wrap, asked: () => asked }
}

describe('passports under versions that are not known', () => {
  it('have the key service asked a few times a second, however many there are', async () => {
    const { wrap, asked } = counted()
    const service = await start({}, wrap)
    const envelope = await service.issue()
    const before = asked()
    const since = performance.now()
    const bodies = Array.from({ length: 400 }, (_, i) => ({
      ...envelope,
      ...AUDIENCE,
      kid: `${service.key}#v${i + 2}`,
    }))
    const verdicts = await Promise.all(bodies.map(body => service.verify(body)))
    for (const verdict of verdicts) expect(verdict).toEqual({ ok: false, reason: 'unknown_kid' })
    const seconds = (performance.now() - since) / 1000
    expect(asked() - before).toBeLessThanOrEqual(1 + Math.ceil(seconds * 4))
    await service.close()
  })

  it.each(['#v0', '#v01', '#v', '#v1 ', '#vx', '#v12345678901', '#v2#v2', '', '#V1'])(
    'have nobody asked where the version is "%s"',
    async suffix => {
      const { wrap, asked } = counted()
      const service = await start({}, wrap)
      const envelope = await service.issue()
      const before = asked()
      const body = { ...envelope, ...AUDIENCE, kid: service.key + suffix }
      expect(await service.verify(body)).toEqual({ ok: false, reason: 'unknown_kid' })
      expect(asked()).toBe(before)
      await service.close()
    },
  )

  it('wait for a key service that does not answer, but not many at once', async () => {
    const key = 'a/b/ed25519/0b2e7c1e-0000-4000-8000-000000000001'
    const described = {
      ...{ kid: `${key}#v1`, alg: 'ed25519', signs: 'message', publicKey: new Uint8Array(32), head: 1 },
      ...{ versions: [1], versionStates: [{ version: 1, state: 'enabled' }] },
    } as unknown as KeyDescription
    let answer: (() => void) | undefined
    const custody = { key, describe: vi.fn(async () => described) } as unknown as Custody
    const native = { trust: () => {}, distrust: () => true }
    const ring = new KeyRing({
      custody,
      native,
      ttlMs: 1e6,
      afterlifeMs: 1e6,
      distrusted: [],
      now: () => now,
    })
    let now = 0
    await ring.open()
    now = 10_000
    vi.mocked(custody.describe).mockImplementation(
      () =>
        new Promise(resolve => {
          answer = () => resolve(described)
        }),
    )
    let answered = 0
    const all = Array.from({ length: 1000 }, () => ring.find().then(() => (answered += 1)))
    await new Promise(resolve => setImmediate(resolve))
    expect(answered).toBe(1000 - 64)
    answer?.()
    await Promise.all(all)
    ring.close()
  })
})
