import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Ask, expectProblem, HELLO_B3, type Service, start, TOKEN } from './support.js'

let service: Service
beforeAll(async () => {
  service = await start()
})
afterAll(() => service.close())

const KID = 'acme/audit/ed25519/0b2e7c1e-2f4b-4c8e-9a51-6f3d2a7b8c90'
const KEY = { tenant: 'acme', purpose: 'audit', alg: 'ed25519' }
const SIGN = { kid_or_set: { kid: KID }, payload_b3: HELLO_B3 }

const sign = (ask: Ask) => service.ask('POST', '/v1/kms/sign', ask)

describe('authentication', () => {
  it.each([
    ['no header', undefined],
    ['another token', 'Bearer nope'],
    ['another scheme', `Basic ${TOKEN}`],
    ['no token', 'Bearer '],
    ['a bare token', TOKEN],
    ['a token and more', `Bearer ${TOKEN} more`],
    ['a prefix of the token', `Bearer ${TOKEN.slice(0, -1)}`],
    ['two tokens', `Bearer ${TOKEN}, Bearer ${TOKEN}`],
  ])('is 401 for %s', async (_name, authorization) => {
    const headers = authorization === undefined ? {} : { authorization }
    const answer = await sign({ anonymous: true, headers, body: SIGN })
    expectProblem(answer, 401, 'NoCapability')
    expect(answer.headers['www-authenticate']).toMatch(/^Bearer/)
    expect(answer.text).not.toContain(TOKEN)
  })

  it('takes the scheme in any case', async () => {
    const answer = await sign({ anonymous: true, headers: { authorization: `bearer ${TOKEN}` }, body: SIGN })
    expectProblem(answer, 404, 'NotFound', 'kid_or_set.kid')
  })

  it('is asked for on every route', async () => {
    const routes: [string, string][] = [
      ['POST', '/keys'],
      ['GET', `/keys/${KID}`],
      ['GET', `/keys/${encodeURIComponent(KID)}`],
      ['GET', `/attest/${KID}`],
      ['POST', `/keys/${KID}/rotate`],
      ['POST', `/keys/${KID}/export`],
      ['POST', '/sign'],
      ['POST', '/sign_batch'],
      ['POST', '/verify'],
      ['POST', '/verify_batch'],
    ]
    for (const [method, path] of routes) {
      expectProblem(await service.ask(method, `/v1/kms${path}`, { anonymous: true }), 401, 'NoCapability')
    }
  })

  it('comes before the checks of the body', async () => {
    const bodies: Ask[] = [
      { body: '{', headers: { 'content-type': 'text/plain' } },
      { body: 'x'.repeat(2_000_000) },
      { body: '{}', headers: { 'content-encoding': 'gzip' } },
    ]
    for (const ask of bodies) expectProblem(await sign({ ...ask, anonymous: true }), 401, 'NoCapability')
  })
})

describe('routes and methods', () => {
  it.each([
    '/',
    '/v1/kms',
    '/v1/kms/',
    '/v1/kms/nope',
    '/v1/kms/keys/',
    '/v1/kms/sign/',
    '/V1/kms/sign',
    '/metrics',
  ])('%s is 404, token or not', async path => {
    expectProblem(await service.ask('GET', path), 404, 'NotFound')
    expectProblem(await service.ask('POST', path, { anonymous: true }), 404, 'NotFound')
  })

  it.each([
    ['GET', '/v1/kms/sign', 'POST'],
    ['PUT', '/v1/kms/keys', 'POST, GET, HEAD'],
    ['GET', '/v1/kms/keys/import', 'POST'],
    ['OPTIONS', '/v1/kms/keys/import', 'POST'],
    ['PUT', `/v1/kms/keys/${KID}`, 'GET, HEAD'],
    ['DELETE', `/v1/kms/keys/${encodeURIComponent(KID)}`, 'GET, HEAD'],
    ['GET', `/v1/kms/keys/${KID}/rotate`, 'POST'],
    ['POST', `/v1/kms/attest/${KID}`, 'GET, HEAD'],
    ['OPTIONS', '/v1/kms/verify', 'POST'],
    ['PROPFIND', '/v1/kms/verify_batch', 'POST'],
  ])('%s %s is 405 with Allow: %s', async (method, path, allow) => {
    const answer = await service.ask(method, path, { anonymous: true })
    expectProblem(answer, 405, 'Unsupported')
    expect(answer.headers.allow).toBe(allow)
  })
})

describe('the headers of a body', () => {
  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/jsonx',
    'application/json; charset=latin1',
    '',
  ])('are 415 with the media type %j', async type => {
    expectProblem(await sign({ body: '{}', headers: { 'content-type': type } }), 415, 'Unsupported')
  })

  it.each(['application/json; charset=utf-8', 'Application/JSON', 'application/json;charset="UTF-8"; x=y'])(
    'may be %j',
    async type => {
      const answer = await sign({ body: SIGN, headers: { 'content-type': type } })
      expectProblem(answer, 404, 'NotFound', 'kid_or_set.kid')
    },
  )

  it.each(['zstd', 'compress', 'identity, gzip', 'gzip, gzip', '*'])(
    'are 415 with the coding %s',
    async coding => {
      const answer = await sign({ body: '{}', headers: { 'content-encoding': coding } })
      expectProblem(answer, 415, 'Unsupported')
      expect(answer.headers['accept-encoding']).toBe('gzip, deflate, br')
    },
  )

  it('may say that the coding is identity', async () => {
    expectProblem(
      await sign({ body: SIGN, headers: { 'content-encoding': 'identity' } }),
      404,
      'NotFound',
      'kid_or_set.kid',
    )
  })
})

describe('bodies', () => {
  it.each<[string, string, unknown, number, string, string]>([
    ['no body', '/sign', undefined, 400, 'BadRequest', '(body)'],
    ['malformed JSON', '/sign', '{', 400, 'BadRequest', '(body)'],
    [
      'bytes that are not UTF-8',
      '/sign',
      Buffer.from([0x7b, 0xff]).toString('latin1'),
      400,
      'BadRequest',
      '(body)',
    ],
    ['an array', '/sign', [], 400, 'BadRequest', '(body)'],
    ['an object for a batch', '/sign_batch', {}, 400, 'BadRequest', '(body)'],
    ['an unknown field', '/keys', { ...KEY, colour: 'red' }, 400, 'BadRequest', 'colour'],
    ['a name twice', '/keys', '{"tenant":"a","tenant":"b"}', 400, 'BadRequest', 'tenant'],
    ['a reserved tenant', '/keys', { ...KEY, tenant: 'Ron-KMS' }, 400, 'BadRequest', 'tenant'],
    ['a bad tenant', '/keys', { ...KEY, tenant: '-acme' }, 400, 'BadRequest', 'tenant'],
    ['an unknown algorithm', '/keys', { ...KEY, alg: 'rsa' }, 400, 'Unsupported', 'alg'],
    ['a bad kid', '/sign', { ...SIGN, kid_or_set: { kid: 'x' } }, 400, 'BadRequest', 'kid_or_set.kid'],
    ['bad hex', '/sign', { ...SIGN, payload_b3: HELLO_B3.toUpperCase() }, 400, 'BadRequest', 'payload_b3'],
    ['short hex', '/sign', { ...SIGN, payload_b3: '00' }, 400, 'BadRequest', 'payload_b3'],
    ['an unknown key', '/sign', SIGN, 404, 'NotFound', 'kid_or_set.kid'],
    ['a bad op_id', '/keys', { ...KEY, op_id: 'again' }, 400, 'BadRequest', 'op_id'],
  ])('with %s on %s are refused', async (_name, path, body, status, code, field) => {
    expectProblem(await service.ask('POST', `/v1/kms${path}`, { body }), status, code, field)
  })

  it('are refused with an Idempotency-Key that is no UUID', async () => {
    for (const key of ['again', '']) {
      const answer = await service.ask('POST', '/v1/kms/keys', {
        body: KEY,
        headers: { 'idempotency-key': key },
      })
      expectProblem(answer, 400, 'BadRequest', 'op_id')
    }
  })

  it('never come back in an answer', async () => {
    const canary = 'canary-5f2b'
    for (const body of [
      { [canary]: canary },
      `{"${canary}`,
      { ...KEY, alg: canary },
      { ...KEY, tenant: `${canary} ` },
    ]) {
      const { json } = await service.ask('POST', '/v1/kms/keys', { body })
      expect(json.error.message).not.toContain(canary)
    }
  })
})

describe('metrics', () => {
  it('move with every kind of refusal', async () => {
    const cases: [() => Promise<unknown>, string, Record<string, string>][] = [
      [() => sign({ anonymous: true }), 'kms_failures_total', { op: 'sign', kind: 'NoCapability' }],
      [() => sign({ anonymous: true }), 'rejected_total', { reason: 'unauth' }],
      [() => sign({ body: '{' }), 'kms_failures_total', { op: 'sign', kind: 'BadRequest' }],
      [() => sign({ body: SIGN }), 'kms_failures_total', { op: 'sign', kind: 'NotFound' }],
      [() => service.ask('GET', '/nope'), 'kms_failures_total', { op: 'http', kind: 'NotFound' }],
      [() => service.ask('GET', '/nope'), 'http_requests_total', { route: 'other', status: '404' }],
      [() => service.ask('PUT', '/v1/kms/sign'), 'kms_failures_total', { op: 'sign', kind: 'Unsupported' }],
      [() => sign({ body: 'x'.repeat(2_000_000) }), 'kms_failures_total', { op: 'sign', kind: 'TooLarge' }],
      [() => service.raw('nonsense\r\n\r\n'), 'kms_failures_total', { op: 'http', kind: 'BadRequest' }],
    ]
    for (const [act, name, labels] of cases) {
      const before = await service.metric(name, labels)
      await act()
      expect({ labels, grew: (await service.metric(name, labels)) - before }).toEqual({ labels, grew: 1 })
    }
  })
})

describe('the log', () => {
  it('says nothing at info and above about requests that the peer got wrong', async () => {
    await sign({ body: '{' })
    const failed = service.log.filter(({ event }) => event === 'request_failed')
    expect(failed.length).toBeGreaterThan(0)
    expect(new Set(failed.map(({ level }) => level))).toEqual(new Set(['DEBUG']))
  })

  it('has the required fields on every failed request', async () => {
    const { headers } = await service.ask('GET', `/v1/kms/keys/${KID}`)
    const line = service.log.find(({ request_id }) => request_id === headers['x-request-id'])
    expect(line).toMatchObject({
      level: 'DEBUG',
      service: 'ron-kms',
      event: 'request_failed',
      corr_id: headers['x-corr-id'],
      peer_addr: '127.0.0.1',
      route: '/v1/kms/keys/{kid}',
      method: 'GET',
      op: 'describe',
      status: 404,
      code: 'NotFound',
      result: 'err',
    })
    expect(line?.kid_hash).toMatch(/^[0-9a-f]{8}$/)
    expect(new Date(String(line?.ts)).toISOString()).toBe(line?.ts)
  })

  it('holds no token, kid, payload or path', async () => {
    await sign({ body: { ...SIGN, payload_b3: 'canary' } })
    await service.ask('GET', '/canary?canary')
    await service.ask('GET', `/v1/kms/keys/${KID}`)
    const text = JSON.stringify(service.log)
    for (const secret of [TOKEN, KID, 'canary', HELLO_B3]) expect(text).not.toContain(secret)
  })
})
