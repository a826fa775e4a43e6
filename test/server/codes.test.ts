// Every error code of the API over the wire: its status, its headers, its envelope. Each answer is also held to the OpenAPI
// document, as all answers in these tests are.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { KmsError, type KmsErrorCode } from '../../src/errors.js'
import { STATUS } from '../../src/server/problem.js'
import { type Ask, expectProblem, HELLO_B3, parseRaw, type Service, start } from './support.js'

const KEY = { tenant: 'acme', purpose: 'audit', alg: 'ed25519' }
const MISSING = 'acme/audit/ed25519/0b2e7c1e-2f4b-4c8e-9a51-6f3d2a7b8c90'

describe('a refusal of what was asked', () => {
  let service: Service
  let kid = ''
  beforeAll(async () => {
    service = await start({ read_timeout: '200ms' })
    kid = (await service.ask('POST', '/v1/kms/keys', { body: KEY })).json.kid
    await service.ask('POST', `/v1/kms/keys/${kid.split('#')[0]}/rotate`)
  })
  afterAll(() => service.close())

  const sign = (of: string, more: object = {}) => ({
    body: { kid_or_set: { kid: of }, payload_b3: HELLO_B3, ...more },
  })
  const seed = Buffer.alloc(32, 1).toString('base64')

  const cases: [string, number, KmsErrorCode, () => [string, string, Ask?], string?][] = [
    ['malformed', 400, 'BadRequest', () => ['POST', '/sign', { body: '{' }], '(body)'],
    [
      'that does not fit the key',
      400,
      'Unsupported',
      () => ['POST', '/sign', { body: { kid_or_set: { kid: kid.split('#')[0] }, message_b64: 'AA==' } }],
      'message_b64',
    ],
    ['without a token', 401, 'NoCapability', () => ['POST', '/sign', { ...sign(kid), anonymous: true }]],
    [
      'that no setting allows',
      403,
      'NoCapability',
      () => ['POST', '/keys/import', { body: { ...KEY, private_key_b64: seed, public_key_b64: seed } }],
    ],
    ['an export', 403, 'ExportForbidden', () => ['POST', `/keys/${kid.split('#')[0]}/export`]],
    ['of nothing', 404, 'NotFound', () => ['POST', '/sign', sign(MISSING)], 'kid_or_set.kid'],
    ['at no route', 404, 'NotFound', () => ['GET', '/nothing']],
    ['by a wrong method', 405, 'Unsupported', () => ['DELETE', '/sign']],
    ['of a stale version', 409, 'Conflict', () => ['POST', '/sign', sign(kid)], 'kid_or_set.kid'],
    ['over the cap', 413, 'TooLarge', () => ['POST', '/sign', { body: ' '.repeat(1_048_577) }]],
    [
      'of another type',
      415,
      'Unsupported',
      () => ['POST', '/sign', { body: 'a=b', headers: { 'content-type': 'text/plain' } }],
    ],
  ]
  it.each(cases)('%s is %i %s', async (_name, status, code, request, field) => {
    const [method, path, ask] = request()
    const answer = await service.ask(method, `/v1/kms${path}`, ask)
    expectProblem(answer, status, code, field)
    expect(answer.json.error.retryable).toBe(false)
  })

  it('that comes too slowly is 408 Timeout, and may be sent again', async () => {
    const head = 'POST /v1/kms/sign HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a-token-for-tests\r\n'
    const text = await service.raw(`${head}content-type: application/json\r\ncontent-length: 300\r\n\r\n{`)
    const answer = parseRaw(text)
    expectProblem(answer, 408, 'Timeout')
    expect(answer.json.error.retryable).toBe(true)
  })

  it('with an op_id that had another body is 409 Conflict, by either name', async () => {
    const opId = '0b2e7c1e-2f4b-4c8e-9a51-6f3d2a7b8c90'
    const headers = { 'idempotency-key': opId }
    const first = await service.ask('POST', '/v1/kms/keys', { body: { ...KEY, op_id: opId } })
    const again = await service.ask('POST', '/v1/kms/keys', { body: KEY, headers })
    expect(again.json).toEqual(first.json)
    const other = await service.ask('POST', '/v1/kms/keys', { body: { ...KEY, purpose: 'mail' }, headers })
    expectProblem(other, 409, 'Conflict', 'op_id')
    const two = { body: { ...KEY, op_id: opId.replace('0b', '1b') }, headers }
    expectProblem(await service.ask('POST', '/v1/kms/keys', two), 400, 'BadRequest', 'op_id')
  })
})

describe('a refusal by the state of the service', () => {
  let service: Service
  let error = new Error('not set')
  beforeAll(async () => {
    service = await start({}, () => ({
      dispatch: () => {
        throw error
      },
    }))
  })
  afterAll(() => service.close())
  const ask = () => service.ask('GET', `/v1/kms/keys/${encodeURIComponent(MISSING)}`)

  it.each([
    ['AttestationMissing', 403, undefined],
    ['Backpressure', 429, '1'],
    ['Internal', 500, undefined],
    ['StoreUnavailable', 503, '1'],
    ['Timeout', 504, undefined],
  ] as const)('%s is %i', async (code, status, retryAfter) => {
    error = new KmsError(code, 'a fixed text')
    const answer = await ask()
    expectProblem(answer, status, code)
    expect(answer.headers['retry-after']).toBe(retryAfter)
  })

  it('says when to try again, in the header rounded up to seconds', async () => {
    error = new KmsError('Backpressure', 'a fixed text', { retryAfterMs: 1200 })
    const answer = await ask()
    expect([answer.headers['retry-after'], answer.json.error.retry_after_ms]).toEqual(['2', 1200])
  })

  it('is 500 Internal for whatever nobody foresaw, and says nothing of it', async () => {
    error = new TypeError('canary')
    const answer = await ask()
    expectProblem(answer, 500, 'Internal')
    expect(answer.text).not.toContain('canary')
  })
})

it('every code has a status', () => {
  expect(Object.keys(STATUS)).toHaveLength(12)
})
