// What the service does with more than it can do: over real sockets, with a key service that is as slow as a test wants.
import { afterEach, describe, expect, it, vi } from 'vitest'
import { expectProblem, HELLO_B3, type Service, send, start } from './support.js'

let service: Service
afterEach(() => service.close())

/** Signing that ends when the test says so. */
function held() {
  const waiting: (() => void)[] = []
  const dispatch = () => null
  const dispatchAsync = () => new Promise<string>(resolve => waiting.push(() => resolve('{}')))
  return { waiting, wrap: () => ({ dispatch, dispatchAsync }) }
}

const sign = (body: object = {}) => ({ body: { payload_b3: HELLO_B3, ...body } })

describe('the queue', () => {
  it('answers 429 to what does not fit, at once, and goes on when there is room', async () => {
    const { waiting, wrap } = held()
    const settings = { 'queue.max_inflight_sign': '2', 'queue.max_inflight_verify': '1' }
    service = await start(settings, wrap)
    // What a test says is no answer of the engine: it is not held to the document.
    const ask = () => send(service.apiUrl, 'POST', '/v1/kms/keys/a%2Fb/rotate', { body: {} })
    const first = [ask(), ask()]
    await vi.waitUntil(() => waiting.length === 2)
    const refused = await ask()
    expectProblem(refused, 429, 'Backpressure')
    expect(refused.json.error.retryable).toBe(true)
    expect(refused.headers['retry-after']).toBe('1')
    expect(await service.metric('queue_depth', { queue: 'sign' })).toBe(2)
    expect(await service.metric('rejected_total', { reason: 'backpressure' })).toBe(1)
    // The queue of what only reads has room.
    const read = send(service.apiUrl, 'GET', '/v1/kms/keys/a%2Fb')
    await vi.waitUntil(() => waiting.length === 3)
    for (const end of waiting) end()
    expect((await Promise.all([...first, read])).map(answer => answer.status)).toEqual([200, 200, 200])
    expect(await service.metric('queue_depth', { queue: 'sign' })).toBe(0)
    expect(await service.metric('kms_turn_seconds_count', { queue: 'sign' })).toBe(2)
  })

  it('gives the place of a request back whatever came of it', async () => {
    service = await start({ 'queue.max_inflight_sign': '1' })
    for (let i = 0; i < 3; i += 1) {
      expect((await service.ask('POST', '/v1/kms/sign', { body: '{' })).status).toBe(400)
      expect((await service.ask('POST', '/v1/kms/sign', { body: 'x'.repeat(2_000_000) })).status).toBe(413)
      expect(
        (await service.raw('POST /v1/kms/sign HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).split(
          ' ',
        )[1],
      ).toBe('401')
    }
    expect(await service.metric('queue_depth', { queue: 'sign' })).toBe(0)
  })
})

describe('the rate of signatures', () => {
  const wish = { tenant: 'core', purpose: 'orders', alg: 'ed25519' }

  it('counts every signature, and says when there are some again', async () => {
    service = await start({ 'security.sign_rate_limit_rps': '100' })
    const { kid } = (await service.ask('POST', '/v1/kms/keys', { body: wish })).json
    const one = sign({ kid_or_set: { kid } })
    const items = Array.from({ length: 512 }, () => one.body)
    // More than a second brings: taken once, and paid for.
    const signed = (await service.ask('POST', '/v1/kms/sign_batch', { body: items })).json[0]
    const refused = await service.ask('POST', '/v1/kms/sign', one)
    expectProblem(refused, 429, 'Backpressure')
    expect(refused.json.error.retry_after_ms).toBeGreaterThan(0)
    expect(refused.json.error.retry_after_ms).toBeLessThanOrEqual(4130)
    expectProblem(await service.ask('POST', '/v1/kms/sign_batch', { body: [one.body] }), 429, 'Backpressure')
    // What only reads has no such bound.
    for (let i = 0; i < 20; i += 1) {
      const answer = await service.ask('POST', '/v1/kms/verify', {
        body: { kid, payload_b3: HELLO_B3, sigs: signed.sigs },
      })
      expect(answer.json.ok).toBe(true)
    }
  })

  it('is off in development mode unless it is set', async () => {
    service = await start()
    const { kid } = (await service.ask('POST', '/v1/kms/keys', { body: wish })).json
    const items = Array.from({ length: 512 }, () => sign({ kid_or_set: { kid } }).body)
    for (let i = 0; i < 3; i += 1) {
      expect((await service.ask('POST', '/v1/kms/sign_batch', { body: items })).status).toBe(200)
    }
  })
})
