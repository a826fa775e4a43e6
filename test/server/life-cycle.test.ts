// Disable, enable, destroy over HTTP.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, expectProblem, HELLO_B3, type Service, start } from './support.js'

let service: Service
/** Destroys at once. */
let hasty: Service
beforeAll(async () => {
  service = await start()
  hasty = await start({ 'destroy.min_delay': '0ms' })
})
afterAll(() => Promise.all([service.close(), hasty.close()]))

const DAY_MS = 24 * 3_600_000
const ACTIONS = ['disable', 'enable', 'destroy', 'cancel_destroy'] as const
const keyOf = (kid: string) => kid.split('#')[0] ?? kid
const path = (kid: string) => `/keys/${encodeURIComponent(kid)}`

function api(to: Service) {
  const post = (where: string, body?: unknown, headers: Record<string, string> = {}) =>
    to.ask('POST', `/v1/kms${where}`, { body, headers })
  const get = (where: string) => to.ask('GET', `/v1/kms${where}`)
  const make = async (more: object = {}): Promise<string> =>
    (await post('/keys', { tenant: 'acme', purpose: 'audit', alg: 'ed25519', ...more })).json.kid
  return { post, get, make }
}

/** Every use of a key that signs. */
async function uses(to: Service, kid: string): Promise<Answer[]> {
  const { post } = api(to)
  const sign = { kid_or_set: { kid }, payload_b3: HELLO_B3 }
  const verify = {
    ...{ kid, payload_b3: HELLO_B3 },
    sigs: [{ alg: 'ed25519', signature_b64: Buffer.alloc(64).toString('base64') }],
  }
  const batches = [await post('/sign_batch', [sign, sign]), await post('/verify_batch', [verify, verify])]
  for (const { json } of batches) {
    for (const item of json) expect(item.error).toMatchObject({ code: 'Conflict', retryable: false })
  }
  return [
    await post('/sign', sign),
    await post('/sign', { ...sign, kid_or_set: { kid_set: [kid] } }),
    await post('/verify', verify),
    ...(await Promise.all([verify, verify, verify].map(each => post('/verify', each)))),
    await post(`${path(keyOf(kid))}/rotate`),
    await post(`${path(kid)}/derive`, { context: 'x' }),
  ]
}

describe('POST /keys/{kid}/disable and /enable', () => {
  it('take a key out of use and into it, in both notations of the kid', async () => {
    const { post, get, make } = api(service)
    const kid = await make()
    const key = keyOf(kid)
    const disabled = await post(`${path(key)}/disable`)
    expect(disabled).toMatchObject({ status: 200, json: { kid: key, state: 'disabled' } })
    for (const answer of await uses(service, kid)) {
      expect([answer.status, answer.json.error.code]).toEqual([409, 'Conflict'])
      expectProblem(answer, 409, 'Conflict', answer.json.error.field)
      expect(answer.json.error).toMatchObject({ retryable: false, field: expect.stringMatching(/kid/) })
    }
    expect((await get(`/keys/${key}`)).json).toMatchObject({ kid, state: 'disabled' })
    const enabled = await post(`/keys/${key}/enable`, {})
    expect(enabled).toMatchObject({ status: 200, json: { kid: key, state: 'enabled' } })
    expect((await post('/sign', { kid_or_set: { kid }, payload_b3: HELLO_B3 })).status).toBe(200)
  })

  it('take one version where the kid names it', async () => {
    const { post, get, make } = api(service)
    const kid = await make()
    await post(`/keys/${keyOf(kid)}/rotate`)
    expect((await post(`/keys/${keyOf(kid)}%23v1/disable`)).json).toEqual({ kid, state: 'disabled' })
    expect((await get(`/keys/${keyOf(kid)}`)).json).toMatchObject({
      state: 'enabled',
      head: '#v2',
      versions: ['#v1', '#v2'],
      version_states: [
        { version: '#v1', state: 'disabled' },
        { version: '#v2', state: 'enabled' },
      ],
    })
    expect((await post(`${path(kid)}/enable`)).json).toEqual({ kid, state: 'enabled' })
  })

  it('stop data keys', async () => {
    const { post, make } = api(service)
    const kid = await make({ purpose: 'kem', alg: 'hybrid' })
    const { wrapped_b64 } = (await post('/wrap', { kid, size: 32 })).json
    await post(`${path(keyOf(kid))}/disable`)
    expectProblem(await post('/wrap', { kid, size: 32 }), 409, 'Conflict', 'kid')
    expectProblem(await post('/unwrap', { kid, wrapped_b64 }), 409, 'Conflict', 'kid')
    expectProblem(await post('/rewrap', { kid, wrapped_b64 }), 409, 'Conflict', 'kid')
  })
})

describe('POST /keys/{kid}/destroy and /cancel_destroy', () => {
  it('schedule, show the time and call it off', async () => {
    const { post, get, make } = api(service)
    const kid = await make()
    const key = keyOf(kid)
    const { json, status } = await post(`${path(key)}/destroy`, { delay_ms: 2 * DAY_MS })
    expect(status).toBe(200)
    expect(json).toEqual({ kid: key, state: 'destroy_scheduled', destroy_at: expect.any(String) })
    const wait = Date.parse(json.destroy_at) - Date.now()
    expect(Math.abs(wait - 2 * DAY_MS)).toBeLessThan(60_000)
    const { state, destroy_at } = json
    expect((await get(path(key))).json).toMatchObject({
      ...{ state, destroy_at },
      version_states: [{ version: '#v1', state, destroy_at }],
    })
    for (const answer of await uses(service, kid)) expect(answer.status).toBe(409)
    for (const action of ['disable', 'enable', 'destroy']) {
      expectProblem(await post(`${path(key)}/${action}`), 409, 'Conflict', 'kid')
    }
    expect((await post(`${path(key)}/cancel_destroy`)).json).toEqual({ kid: key, state: 'disabled' })
    expectProblem(await post(`${path(key)}/cancel_destroy`), 409, 'Conflict', 'kid')
  })

  it('destroy for good what is due', async () => {
    const { post, get, make } = api(hasty)
    const kid = await make()
    const key = keyOf(kid)
    expect((await post(`${path(key)}/destroy`)).json.state).toBe('destroy_scheduled')
    expect((await get(path(key))).json).toMatchObject({ kid, state: 'destroyed', public: { alg: 'ed25519' } })
    for (const answer of await uses(hasty, kid)) expect(answer.status).toBe(409)
    for (const target of [kid, key]) {
      for (const action of ACTIONS) {
        expectProblem(await post(`${path(target)}/${action}`), 409, 'Conflict', 'kid')
      }
    }
    expectProblem(await post(`${path(key)}/export`), 403, 'ExportForbidden')
  })

  it('refuse a delay below the one of the service', async () => {
    const { post, make } = api(service)
    const kid = await make()
    for (const delay_ms of [0, DAY_MS - 1, -1, 1.5, null, '1', 2 ** 53]) {
      expectProblem(await post(`${path(kid)}/destroy`, { delay_ms }), 400, 'BadRequest', 'delay_ms')
    }
  })
})

describe('all four', () => {
  it('answer again under one Idempotency-Key, and Conflict for another body under it', async () => {
    const { post, make } = api(service)
    const kid = await make()
    const headers = { 'idempotency-key': randomUUID() }
    for (const action of ACTIONS) {
      const first = await post(`${path(kid)}/${action}`, undefined, headers)
      expect(first.status).toBe(200)
      const second = await post(`${path(kid)}/${action}`, {}, headers)
      expect(second.json).toEqual(first.json)
      const third = await post(`${path(kid)}/${action}`, { op_id: headers['idempotency-key'] })
      expect(third.json).toEqual(first.json)
      expectProblem(await post(`${path(keyOf(kid))}/${action}`, {}, headers), 409, 'Conflict', 'op_id')
    }
  })

  it('replay no signature of a key that is out of use', async () => {
    const { post, make } = api(service)
    const kid = await make()
    const sign = { kid_or_set: { kid }, payload_b3: HELLO_B3, op_id: randomUUID() }
    const first = await post('/sign', sign)
    expect((await post('/sign', sign)).json).toEqual(first.json)
    await post(`${path(kid)}/disable`)
    expectProblem(await post('/sign', sign), 409, 'Conflict', 'kid')
    await post(`${path(kid)}/enable`)
    expect((await post('/sign', sign)).json).toEqual(first.json)
  })

  it('are read strictly', async () => {
    const { post, get, make } = api(service)
    const kid = await make()
    for (const action of ACTIONS) {
      const to = `${path(kid)}/${action}`
      for (const [body, field] of [
        ['{', '(body)'],
        ['[]', '(body)'],
        ['{"x":1}', 'x'],
        ['{"op_id":"x"}', 'op_id'],
        ['{"op_id":null}', 'op_id'],
      ] as const) {
        expectProblem(await post(to, body), 400, 'BadRequest', field)
      }
      expectProblem(await post(`/keys/x/${action}`), 400, 'BadRequest', 'kid')
      expectProblem(await post(`/keys/acme/audit/ed25519/${randomUUID()}/${action}`), 404, 'NotFound', 'kid')
      expectProblem(await post(`${path(`${keyOf(kid)}#v2`)}/${action}`), 404, 'NotFound', 'kid')
      expectProblem(await get(`${path(kid)}/${action}`), 405, 'Unsupported')
      const anonymous = await service.ask('POST', `/v1/kms${to}`, { anonymous: true })
      expectProblem(anonymous, 401, 'NoCapability')
    }
    const delay = await post(`${path(kid)}/disable`, { delay_ms: DAY_MS })
    expectProblem(delay, 400, 'BadRequest', 'delay_ms')
    expect((await get(path(kid))).json.state).toBe('enabled')
  })

  it('are counted', async () => {
    const { post, make } = api(service)
    const kid = await make()
    for (const action of ACTIONS) {
      const labels = { op: action, alg: 'ed25519', result: 'ok' }
      const before = await service.metric('kms_ops_total', labels)
      await post(`${path(kid)}/${action}`)
      expect(await service.metric('kms_ops_total', labels)).toBe(before + 1)
    }
    const route = '/v1/kms/keys/{kid}/cancel_destroy'
    expect(
      await service.metric('http_requests_total', { route, method: 'POST', status: '200' }),
    ).toBeGreaterThan(0)
  })
})
