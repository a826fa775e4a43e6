// Where the work of a verification is done, and that its place in the queue is given back whatever becomes of it.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { Verifying, type VerifyingParts } from '../../src/passport/service/verifying.js'
import { FairQueue } from '../../src/server/fair-queue.js'
import { AUDIENCE, expectProblem, start } from './support.js'

const SMALL = Buffer.from('{}')
const LARGE = Buffer.alloc(8 * 1024 + 1)

function verifying(native: Partial<VerifyingParts['native']>, most = 8) {
  const queue = new FairQueue({ inflight: { sign: most, verify: most }, shareFloor: 0.05 })
  const find = vi.fn(async () => {})
  const parts = { native: native as VerifyingParts['native'], ring: { find }, queue, onQueued: () => {} }
  return { queue, find, on: new Verifying({ ...parts, coalesce: {} }), off: new Verifying(parts) }
}

describe.each(['on', 'off'] as const)('with coalescing %s', how => {
  it('a body of one passport is worked on here, a larger one on a thread', async () => {
    const native = { verify: vi.fn(() => 'here'), verifyAsync: vi.fn(async () => 'there') }
    const { queue, ...both } = verifying(native)
    expect(await both[how].one('a', SMALL)).toBe('here')
    expect(await both[how].one('a', LARGE)).toBe('there')
    expect([native.verify.mock.calls.length, native.verifyAsync.mock.calls.length]).toEqual([1, 1])
    expect(queue.depth('verify')).toBe(0)
  })

  it.each([SMALL, LARGE])('versions that are not known are looked for once', async body => {
    const answer = (_: Uint8Array, ask: boolean) => (ask ? ['k#v2'] : 'unknown')
    const later = async (given: Uint8Array, ask: boolean) => answer(given, ask)
    const { queue, find, ...both } = verifying({ verify: answer, verifyAsync: later })
    expect(await both[how].one('a', body)).toBe('unknown')
    expect(find).toHaveBeenCalledTimes(1)
    expect(queue.depth('verify')).toBe(0)
  })

  it('a place is given back after an error, and one more than there are is refused', async () => {
    let fail = () => {}
    const native = {
      verify: () => {
        throw new Error('broken')
      },
      verifyAsync: () =>
        new Promise<string>((_, reject) => {
          fail = () => reject(new Error('broken'))
        }),
    }
    const { queue, ...both } = verifying(native, 1)
    await expect(both[how].one('a', SMALL)).rejects.toMatchObject({ code: 'Internal' })
    const waiting = both[how].one('a', LARGE)
    await expect(both[how].one('a', SMALL)).rejects.toMatchObject({ code: 'Backpressure', retryable: true })
    fail()
    await expect(waiting).rejects.toMatchObject({ code: 'Internal' })
    expect([queue.depth('verify'), both[how].queued]).toEqual([0, 0])
  })
})

describe('work that is joined', () => {
  it('is paid for by each by the length of its body', async () => {
    const native = {
      verify: () => 'alone',
      verifyEach: (_: Uint8Array, offsets: Uint32Array) =>
        Array.from({ length: offsets.length - 1 }, () => ({ answer: 'joined' })),
    }
    const { queue, on } = verifying(native)
    const worked = vi.spyOn(queue, 'worked')
    const bodies = [SMALL, SMALL, Buffer.alloc(998)]
    expect(await Promise.all(bodies.map(body => on.one('a', body)))).toEqual(['alone', 'joined', 'joined'])
    const [, short, long] = worked.mock.calls.map(([, ms]) => ms)
    expect(short).toBeGreaterThan(0)
    expect(long).toBeCloseTo((short ?? 0) * 333, 6)
  })
})

describe('over HTTP', () => {
  it('bodies under way are bounded together: what goes beyond is 429, and there is room again later', async () => {
    const service = await start({ 'limits.max_body_bytes': '4096' })
    const port = Number(new URL(service.url).port)
    const head =
      'POST /v1/verify_batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n['
    const slow = Array.from({ length: 16 }, () =>
      connect(port, '127.0.0.1', function (this: Socket) {
        this.write(head)
      }),
    )
    await Promise.all(slow.map(socket => once(socket, 'connect')))
    const ask = () => service.ask('POST', '/v1/verify_batch', '[]')
    await expect.poll(async () => (await ask()).status).toBe(429)
    expectProblem(await ask(), { status: 429, code: 'Backpressure' })
    for (const socket of slow) socket.destroy()
    await expect.poll(async () => (await ask()).status).toBe(200)
    await service.close()
  })

  it('many bodies of one client, each at the bound of what is done on the event loop, are all answered', async () => {
    const service = await start()
    const passport = { ...(await service.issue()), ...AUDIENCE }
    const names = Array.from({ length: 700 }, (_, i) => [`${i}`, 1])
    const hostile = { x: Object.fromEntries(names) }
    const bodies = Array.from({ length: 300 }, (_, i) => (i % 3 === 0 ? passport : hostile))
    const answers = await Promise.all(bodies.map(body => service.ask('POST', '/v1/verify', body)))
    expect(answers.map(({ status }) => status)).toEqual(bodies.map(body => (body === passport ? 200 : 400)))
    expect(await service.metric('passport_queued')).toBe(0)
    await service.close()
  })

  it('a large body is answered as a small one', async () => {
    const service = await start()
    const scopes = Array.from({ length: 64 }, (_, i) => `${i}`.padStart(400, 'x'))
    const [envelope, token] = [await service.issue(), await service.token()]
    for (const form of [envelope, { token }]) {
      const large = { ...form, ...AUDIENCE, scopes }
      expect(await service.verify(large)).toEqual({ ok: false, reason: 'scope_denied' })
      expect(await service.verify({ ...large, audience: 'b' })).toEqual({ ok: false, reason: 'bad_aud' })
    }
    const stranger = { ...envelope, kid: `${service.key}#v9`, ...AUDIENCE, scopes }
    expect(await service.verify(stranger)).toEqual({ ok: false, reason: 'unknown_kid' })
    expectProblem(await service.ask('POST', '/v1/verify', { x: 'y'.repeat(20_000) }), {
      status: 400,
      code: 'BadRequest',
    })
    expectProblem(await service.ask('POST', '/v1/verify', { x: 'y'.repeat(80_000) }), {
      status: 413,
      code: 'TooLarge',
    })
    await service.close()
  })
})
