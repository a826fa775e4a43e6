import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectProblem, HELLO_B3, type Service, start } from './support.js'

let service: Service
beforeAll(async () => {
  service = await start()
})
afterAll(() => service.close())

const post = (path: string, body?: unknown, headers: Record<string, string> = {}) =>
  service.ask('POST', `/v1/kms${path}`, { body, headers })
const get = (path: string) => service.ask('GET', `/v1/kms${path}`)

async function newKey(signs = 'digest'): Promise<string> {
  const { status, json } = await post('/keys', { tenant: 'acme', purpose: 'audit', alg: 'ed25519', signs })
  expect(status).toBe(200)
  return json.kid
}
const keyOf = (kid: string) => kid.split('#')[0] ?? kid

async function signature(kid: string) {
  const { status, json } = await post('/sign', { kid_or_set: { kid: keyOf(kid) }, payload_b3: HELLO_B3 })
  expect(status).toBe(200)
  return json as { kid: string; sigs: { alg: string; signature_b64: string }[] }
}

describe('POST /keys', () => {
  it('answers the kid of version 1 and the public key', async () => {
    const { json } = await post('/keys', { tenant: 'acme', purpose: 'audit', alg: 'ed25519' })
    expect(json.kid).toMatch(/^acme\/audit\/ed25519\/[0-9a-f-]{36}#v1$/)
    expect(json.public.alg).toBe('ed25519')
    expect(Buffer.from(json.public.pubkey_b64, 'base64')).toHaveLength(32)
  })

  it('answers the same kid for the same Idempotency-Key, and Conflict for another body under it', async () => {
    const headers = { 'idempotency-key': randomUUID() }
    const body = { tenant: 'acme', purpose: 'once', alg: 'ed25519' }
    const first = await post('/keys', body, headers)
    const second = await post('/keys', body, headers)
    expect(second.json.kid).toBe(first.json.kid)
    expectProblem(await post('/keys', { ...body, purpose: 'twice' }, headers), 409, 'Conflict', 'op_id')
  })
})

describe('a kid in the path', () => {
  it('may be one escaped segment, four segments, with its version or without', async () => {
    const kid = await newKey()
    for (const path of [kid, keyOf(kid)].map(encodeURIComponent)) {
      expect((await get(`/keys/${path}`)).json.kid).toBe(kid)
    }
    for (const path of [`${keyOf(kid)}%23v1`, keyOf(kid)]) {
      expect((await get(`/keys/${path}`)).json.kid).toBe(kid)
    }
  })

  it('is 400 with the field kid when it is malformed', async () => {
    const paths = [
      '/keys/a%zz',
      '/keys/a%2Fb/c/ed25519/d',
      '/keys/x',
      '/keys/a/b/ed25519/c',
      '/keys/%ff',
      '/keys/a%00b',
    ]
    for (const path of paths) expectProblem(await get(path), 400, 'BadRequest', 'kid')
  })

  it('is 404 with the field kid when no such key or version is there', async () => {
    const kid = await newKey()
    expectProblem(await get(`/keys/${keyOf(kid)}%23v9`), 404, 'NotFound', 'kid')
    expectProblem(await get(`/keys/acme/audit/ed25519/${randomUUID()}`), 404, 'NotFound', 'kid')
  })
})

describe('GET', () => {
  it('/keys/{kid} describes and /attest/{kid} attests', async () => {
    const kid = await newKey()
    expect((await get(`/keys/${keyOf(kid)}`)).json).toMatchObject({ kid, alg: 'ed25519', signs: 'digest' })
    expect((await get(`/attest/${encodeURIComponent(kid)}`)).json).toMatchObject({ kid, alg: 'ed25519' })
  })

  it('has a HEAD without a body', async () => {
    const kid = await newKey()
    const answer = await service.ask('HEAD', `/v1/kms/keys/${keyOf(kid)}`)
    expect(answer).toMatchObject({ status: 200, text: '' })
  })
})

describe('POST /keys/{kid}/rotate', () => {
  it('takes no body, an empty object and both forms of the kid', async () => {
    const kid = await newKey()
    const key = keyOf(kid)
    expect((await post(`/keys/${key}/rotate`)).json).toEqual({ kid: `${key}#v2`, previous: `${key}#v1` })
    expect((await post(`/keys/${encodeURIComponent(key)}/rotate`, {})).json.kid).toBe(`${key}#v3`)
  })

  it('answers Conflict through a stale version and while another one is pending', async () => {
    const key = keyOf(await newKey())
    await post(`/keys/${key}/rotate`)
    expectProblem(await post(`/keys/${key}%23v1/rotate`), 409, 'Conflict', 'kid')
    const pending = await post(`/keys/${key}/rotate`, { activate_after_ms: 3_600_000 })
    expect(pending.json).toMatchObject({ kid: `${key}#v3`, previous: `${key}#v2` })
    expectProblem(await post(`/keys/${key}/rotate`), 409, 'Conflict', 'kid')
  })
})

describe('POST /keys/{kid}/export', () => {
  it('is always 403, whatever the body is', async () => {
    const key = keyOf(await newKey())
    for (const body of [undefined, {}, '{', 'x'.repeat(2000)]) {
      expectProblem(await post(`/keys/${key}/export`, body), 403, 'ExportForbidden')
    }
    expectProblem(await post(`/keys/${encodeURIComponent(key)}/export`), 403, 'ExportForbidden')
  })
})

describe('POST /sign and /verify', () => {
  it('sign with the head and verify every version', async () => {
    const kid = await newKey()
    const old = await signature(kid)
    await post(`/keys/${keyOf(kid)}/rotate`)
    const now = await signature(kid)
    expect([old.kid, now.kid]).toEqual([kid, `${keyOf(kid)}#v2`])
    for (const { kid: signer, sigs } of [old, now]) {
      const { json } = await post('/verify', { kid: signer, payload_b3: HELLO_B3, sigs })
      expect(json).toMatchObject({ ok: true, details: { checked: ['ed25519'] } })
    }
  })

  it('refuse a flipped bit in the signature, the payload and the kid', async () => {
    const { kid, sigs } = await signature(await newKey())
    const other = await newKey()
    const bytes = Buffer.from(sigs[0]?.signature_b64 ?? '', 'base64')
    for (let bit = 0; bit < 512; bit += 1) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const forged = [{ alg: 'ed25519', signature_b64: flipped.toString('base64') }]
      const { json } = await post('/verify', { kid, payload_b3: HELLO_B3, sigs: forged })
      expect(json.ok).toBe(false)
    }
    const payload = `c${HELLO_B3.slice(1)}`
    expect((await post('/verify', { kid, payload_b3: payload, sigs })).json.ok).toBe(false)
    expect((await post('/verify', { kid: other, payload_b3: HELLO_B3, sigs })).json.ok).toBe(false)
    await post(`/keys/${keyOf(kid)}/rotate`)
    const next = kid.replace('#v1', '#v2')
    expect((await post('/verify', { kid: next, payload_b3: HELLO_B3, sigs })).json.ok).toBe(false)
  })

  it('take the bytes themselves for a message key', async () => {
    const kid = await newKey('message')
    const message_b64 = Buffer.from('hello world').toString('base64')
    const { json } = await post('/sign', { kid_or_set: { kid }, message_b64 })
    expect((await post('/verify', { kid, message_b64, sigs: json.sigs })).json.ok).toBe(true)
    expectProblem(
      await post('/sign', { kid_or_set: { kid }, payload_b3: HELLO_B3 }),
      400,
      'Unsupported',
      'payload_b3',
    )
  })

  it('answer Conflict when an old version signs', async () => {
    const kid = await newKey()
    await post(`/keys/${keyOf(kid)}/rotate`)
    const answer = await post('/sign', { kid_or_set: { kid }, payload_b3: HELLO_B3 })
    expectProblem(answer, 409, 'Conflict', 'kid_or_set.kid')
  })
})

describe('POST /sign_batch and /verify_batch', () => {
  it('answer every item in order, with its reference, errors among them', async () => {
    const kid = await newKey()
    const item = { kid_or_set: { kid }, payload_b3: HELLO_B3 }
    const signed = await post('/sign_batch', [
      { ...item, reference: 'a' },
      { ...item, payload_b3: 'no', reference: 'b' },
      { ...item, reference: 'c' },
    ])
    expect(signed.status).toBe(200)
    expect(signed.json.map((each: { reference: string }) => each.reference)).toEqual(['a', 'b', 'c'])
    expect(signed.json[1].error.code).toBe('BadRequest')
    const { sigs } = signed.json[2]
    const verified = await post('/verify_batch', [
      { kid, payload_b3: HELLO_B3, sigs },
      { kid, payload_b3: `c${HELLO_B3.slice(1)}`, sigs },
      { kid: 'nonsense', payload_b3: HELLO_B3, sigs },
    ])
    expect(verified.json.map((each: { ok?: boolean }) => each.ok)).toEqual([true, false, undefined])
    expect(verified.json[2].error.code).toBe('BadRequest')
  })

  it('take 512 items and refuse 513', async () => {
    const kid = await newKey()
    const items = (n: number) =>
      Array.from({ length: n }, () => ({ kid_or_set: { kid }, payload_b3: HELLO_B3 }))
    expect((await post('/sign_batch', items(512))).json).toHaveLength(512)
    expectProblem(await post('/sign_batch', items(513)), 413, 'TooLarge', '(body)')
  })
})

describe('a long body', () => {
  it('is worked on off the event loop on every route', async () => {
    const threaded: string[] = []
    const own = await start({}, kms => ({
      dispatchAsync: (...call) => {
        threaded.push(call[0])
        return kms.dispatchAsync(...call)
      },
    }))
    const ask = (path: string, body: unknown) => own.ask('POST', `/v1/kms${path}`, { body })
    const wish = { tenant: 'acme', purpose: 'audit', alg: 'ed25519', signs: 'message' }
    const { kid } = (await ask('/keys', wish)).json
    const message = (length: number) => ({ message_b64: Buffer.alloc(length).toString('base64') })
    expect((await ask('/sign', { kid_or_set: { kid }, ...message(100) })).status).toBe(200)
    expect(threaded).toEqual([])
    const { sigs } = (await ask('/sign', { kid_or_set: { kid }, ...message(65_536) })).json
    expect((await ask('/verify', { kid, sigs, ...message(65_536) })).json.ok).toBe(true)
    expect(threaded).toEqual(['sign', 'verify'])
    const item = { kid_or_set: { kid }, ...message(100) }
    const few = await ask('/sign_batch', [item, item])
    const many = await ask('/sign_batch', Array(64).fill(item))
    expect(threaded).toEqual(['sign', 'verify', 'sign_batch'])
    expect(new Set([...few.json, ...many.json].map(({ sigs: [sig] }) => sig.signature_b64)).size).toBe(1)
    await own.close()
  })
})

describe('requests to verify that come together', () => {
  it('are verified side by side, each with its own answer', async () => {
    const own = await start()
    const ask = (path: string, body: unknown, headers = {}) =>
      own.ask('POST', `/v1/kms${path}`, { body, headers })
    const { kid } = (await ask('/keys', { tenant: 'acme', purpose: 'audit', alg: 'ed25519' })).json
    const { sigs } = (await ask('/sign', { kid_or_set: { kid }, payload_b3: HELLO_B3 })).json
    const good = { kid, sigs, payload_b3: HELLO_B3 }
    const forged = { ...good, payload_b3: HELLO_B3.replace('d', 'e') }
    const unknown = { ...good, kid: kid.replace('#v1', '#v9') }
    const round = () =>
      Promise.all([
        ask('/verify', good),
        ask('/verify', forged),
        ask('/verify', unknown),
        ask('/verify', { ...good, extra: 1 }),
        ask('/verify', good, { 'idempotency-key': 'x' }),
        ask('/verify', good),
      ])
    for (let i = 0; i < 20; i++) {
      const [yes, no, missing, extra, badHeader, again] = await round()
      expect([yes.json.ok, no.json.ok, again.json.ok]).toEqual([true, false, true])
      expectProblem(missing, 404, 'NotFound', 'kid')
      expectProblem(extra, 400, 'BadRequest', 'extra')
      expectProblem(badHeader, 400, 'BadRequest', 'op_id')
    }
    const count = (result: string) => own.metric('kms_ops_total', { op: 'verify', result })
    expect([await count('ok'), await count('invalid')]).toEqual([40, 20])
    const failed = (kind: string) => own.metric('kms_failures_total', { op: 'verify', kind })
    expect([await failed('NotFound'), await failed('BadRequest')]).toEqual([20, 40])
    await own.close()
  })
})

describe('ids', () => {
  it('echo a correlation id that is a UUID and replace any other', async () => {
    const corr = randomUUID()
    const kid = keyOf(await newKey())
    const ask = (value: string) =>
      service.ask('GET', `/v1/kms/keys/${kid}`, { headers: { 'x-corr-id': value } })
    expect((await ask(corr)).headers['x-corr-id']).toBe(corr)
    for (const bad of ['x', `${corr}x`, '00000000-0000-0000-0000-000000000000', `${corr}, ${corr}`]) {
      const echoed = (await ask(bad)).headers['x-corr-id']
      expect(echoed).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/)
      expect(echoed).not.toBe(bad)
    }
  })

  it('give every request its own request id', async () => {
    const kid = keyOf(await newKey())
    const answers = await Promise.all(Array.from({ length: 20 }, () => get(`/keys/${kid}`)))
    expect(new Set(answers.map(({ headers }) => headers['x-request-id'])).size).toBe(20)
    expect(new Set(answers.map(({ headers }) => headers['x-corr-id'])).size).toBe(20)
  })
})
