// svc-passport over HTTP: every route, its aliases, its answers and its errors.
import { afterAll, describe, expect, it } from 'vitest'
import { AUDIENCE, expectProblem, type Service, start, TOKEN, WISH } from './support.js'

const service: Service = await start({ 'passport.max_ttl_s': '7200', 'limits.max_batch': '8' })
afterAll(() => service.close())

describe('issue', () => {
  it.each(['/v1/passport/issue', '/v1/issue'])('answers an envelope at %s', async path => {
    const { status, json, headers } = await service.ask('POST', path, { ...WISH, ttl_s: 7200 })
    expect(status).toBe(200)
    expect(Object.keys(json)).toEqual(['alg', 'kid', 'msg', 'sig'])
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('x-corr-id')).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('answers a token for format jwt', async () => {
    const [header] = (await service.token()).split('.')
    const { kid, ...rest } = JSON.parse(Buffer.from(header ?? '', 'base64url').toString())
    expect(rest).toEqual({ alg: 'EdDSA', typ: 'JWT' })
    expect(kid).toMatch(/#v1$/)
  })

  it('asks for a capability', async () => {
    for (const authorization of ['', 'Bearer wrong', `Basic ${TOKEN}`]) {
      const answer = await service.ask('POST', '/v1/passport/issue', WISH, { authorization })
      expectProblem(answer, { status: 401, code: 'NoCapability' })
    }
  })

  it.each([
    ['no JSON', '{"sub":'],
    ['an array', []],
    ['a name twice', '{"sub":"a","sub":"b","aud":["x"],"scopes":[]}'],
    ['an unknown field', { ...WISH, admin: true }],
    ['__proto__', '{"__proto__":{},"sub":"a","aud":["x"],"scopes":[]}'],
    ['__proto__ in ctx', '{"ctx":{"__proto__":{}},"sub":"a","aud":["x"],"scopes":[]}'],
    ['a number beyond doubles', '{"ctx":{"a":1e400},"sub":"a","aud":["x"],"scopes":[]}'],
    ['a lone surrogate', '{"sub":"\\ud800","aud":["x"],"scopes":[]}'],
    ['a lifetime over the longest', { ...WISH, ttl_s: 7201 }],
  ])('refuses %s', async (_, body) => {
    expectProblem(await service.ask('POST', '/v1/passport/issue', body), { status: 400, code: 'BadRequest' })
  })

  it('refuses a payload over the limit with 413', async () => {
    const answer = await service.ask('POST', '/v1/passport/issue', { ...WISH, ctx: { x: 'y'.repeat(5000) } })
    expectProblem(answer, { status: 413, code: 'TooLarge' })
  })
})

describe('verify', () => {
  it.each(['/v1/passport/verify', '/v1/verify'])('answers claims at %s, without a capability', async path => {
    const envelope = await service.issue()
    const { status, json } = await service.ask(
      'POST',
      path,
      { ...envelope, ...AUDIENCE },
      { authorization: '' },
    )
    expect(status).toBe(200)
    expect(json).toMatchObject({ ok: true, claims: { iss: 'svc-passport', sub: 'alice', kid: envelope.kid } })
  })

  it('answers each reason with 200', async () => {
    const envelope = await service.issue()
    const token = await service.token()
    const other = await service.issue()
    const late = await service.issue({ nbf: Math.floor(Date.now() / 1000) + 1000 })
    const stranger = envelope.kid.replace('#v1', '#v99')
    const cases = [
      [{ ...envelope }, 'bad_aud'],
      [{ ...envelope, audience: 'service-b' }, 'bad_aud'],
      [{ token, ...AUDIENCE, scopes: ['write:x'] }, 'scope_denied'],
      [{ ...envelope, sig: other.sig, ...AUDIENCE }, 'verify_failed'],
      [{ ...envelope, alg: 'HS256', ...AUDIENCE }, 'malformed'],
      [{ ...envelope, msg: Buffer.from('{}').toString('base64url'), ...AUDIENCE }, 'malformed'],
      [{ ...envelope, kid: 'no/such/key/x#v1', ...AUDIENCE }, 'unknown_kid'],
      [{ ...envelope, kid: stranger, ...AUDIENCE }, 'unknown_kid'],
      [{ ...late, ...AUDIENCE }, 'nbf'],
    ] as const
    for (const [body, reason] of cases) expect(await service.verify(body)).toEqual({ ok: false, reason })
  })

  it('answers 400 for what does not decode', async () => {
    const envelope = await service.issue()
    const token = await service.token()
    const bodies = [
      ...['', 'null', '[]', '{}', '{"token":1}', '{"alg":"Ed25519"}', '{"token":"a.b"}'],
      { ...envelope, token },
      { ...envelope, sig: `${envelope.sig}=` },
      { ...envelope, msg: `${envelope.msg}\n` },
      { ...envelope, extra: 1 },
      { token: `${token}=` },
    ]
    for (const body of bodies) {
      expectProblem(await service.ask('POST', '/v1/passport/verify', body), {
        status: 400,
        code: 'BadRequest',
      })
    }
  })

  it('answers 413 for a payload over the limit, and for a body over the cap', async () => {
    const envelope = await service.issue()
    const long = { ...envelope, msg: 'A'.repeat(5464) }
    expectProblem(await service.ask('POST', '/v1/verify', long), { status: 413, code: 'TooLarge' })
    const huge = Buffer.alloc(5 * 2 ** 20, 0x20)
    expectProblem(await service.ask('POST', '/v1/verify', huge), { status: 413, code: 'TooLarge' })
  })

  it('gives requests that come at the same time the verdicts that they get alone', async () => {
    const [envelope, other] = [await service.issue(), await service.issue()]
    const kinds = [
      { ...envelope, ...AUDIENCE },
      { ...envelope, sig: other.sig, ...AUDIENCE },
      { ...envelope, audience: 'x' },
      { ...envelope, sig: 'not base64url!' },
      { token: await service.token(), ...AUDIENCE },
    ]
    const alone = []
    for (const body of kinds) alone.push((await service.ask('POST', '/v1/verify', body)).json)
    // Twice: the second time the connections are there, and requests come in the same turns.
    for (let round = 0; round < 2; round += 1) {
      const many = Array.from({ length: 200 }, (_, i) =>
        service.ask('POST', '/v1/verify', kinds[i % kinds.length]),
      )
      for (const [i, { json }] of (await Promise.all(many)).entries()) {
        expect(json).toEqual(alone[i % kinds.length])
      }
    }
    expect(await service.metric('passport_verify_path_total{path="batch"}')).toBeGreaterThan(0)
  })
})

describe('verify_batch', () => {
  it.each(['/v1/passport/verify_batch', '/v1/verify_batch'])('answers in order at %s', async path => {
    const envelope = { ...(await service.issue()), ...AUDIENCE }
    const batch = [envelope, 1, { ...envelope, audience: 'x' }, { token: 'x' }, envelope]
    const { status, json } = await service.ask('POST', path, batch)
    expect(status).toBe(200)
    expect(json.map((each: { ok: boolean; reason?: string }) => each.reason ?? each.ok)).toEqual([
      ...[true, 'malformed', 'bad_aud', 'malformed', true],
    ])
  })

  it('answers an empty array with one', async () => {
    expect((await service.ask('POST', '/v1/verify_batch', [])).json).toEqual([])
  })

  it('answers 413 for more items than it takes, and 400 for what is no array', async () => {
    const many = await service.ask('POST', '/v1/verify_batch', Array(9).fill({}))
    expectProblem(many, { status: 413, code: 'TooLarge' })
    for (const body of ['{}', '[1,', '[1]x']) {
      expectProblem(await service.ask('POST', '/v1/verify_batch', body), { status: 400, code: 'BadRequest' })
    }
  })
})

describe('keys', () => {
  it('are a JWK set with an ETag', async () => {
    const { json, headers } = await service.ask('GET', '/.well-known/jwks.json', undefined, {
      authorization: '',
    })
    const x = expect.stringMatching(/^[\w-]{43}$/)
    expect(json.keys).toEqual([
      { kty: 'OKP', crv: 'Ed25519', x, kid: `${service.key}#v1`, use: 'sig', alg: 'EdDSA' },
    ])
    expect(headers.get('cache-control')).toBe('public, max-age=60')
    const etag = headers.get('etag') ?? ''
    for (const match of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
      const again = await service.ask('GET', '/.well-known/jwks.json', undefined, { 'if-none-match': match })
      expect([again.status, again.text]).toEqual([304, ''])
    }
  })

  it('say which one signs, and come in pages', async () => {
    const { json } = await service.ask('GET', '/v1/keys')
    expect(json).toMatchObject({ alg: 'Ed25519', current: `${service.key}#v1`, keys: [{ kty: 'OKP' }] })
    expect((await service.ask('GET', '/v1/keys?after=0')).json.keys).toHaveLength(1)
    expect(
      (await service.ask('GET', `/v1/keys?after=${encodeURIComponent(json.current)}`)).json.keys,
    ).toEqual([])
    expectProblem(await service.ask('GET', '/v1/keys?after=x'), { status: 400, code: 'BadRequest' })
  })
})

describe('administration', () => {
  it.each([
    ['POST', '/admin/rotate'],
    ['POST', '/v1/rotate'],
    ['GET', '/admin/attest'],
    ['GET', '/v1/attest'],
    ['POST', '/admin/distrust'],
  ])('asks for a capability at %s %s', async (method, path) => {
    const body = method === 'POST' ? {} : undefined
    expectProblem(await service.ask(method, path, body, { authorization: '' }), {
      status: 401,
      code: 'NoCapability',
    })
  })

  it.each(['/admin/attest', '/v1/attest'])('says where the key is held at %s', async path => {
    expect((await service.ask('GET', path)).json).toMatchObject({ alg: 'Ed25519', class: 'software-memory' })
  })

  it.each([
    ['/admin/rotate', '{"publish_ahead_s":-1}'],
    ['/admin/rotate', '{"publish_ahead_s":0,"publish_ahead_s":1}'],
    ['/admin/rotate', '{"x":1}'],
    ['/admin/rotate', '[]'],
    ['/admin/distrust', '{}'],
    ['/admin/distrust', '{"kid":"other/key/ed25519/x#v1"}'],
  ])('refuses at %s the body %s', async (path, body) => {
    expectProblem(await service.ask('POST', path, body), { status: 400, code: 'BadRequest' })
  })
})

describe('the rest', () => {
  it('answers 404 and 405 with the envelope', async () => {
    expectProblem(await service.ask('GET', '/v2/keys'), { status: 404, code: 'NotFound' })
    const wrong = await service.ask('GET', '/v1/passport/issue')
    expectProblem(wrong, { status: 405, code: 'Unsupported' })
    expect(wrong.headers.get('allow')).toBe('POST')
  })

  it('answers 415 for another media type and for a coding', async () => {
    const text = await service.ask('POST', '/v1/verify', '{}', { 'content-type': 'text/plain' })
    expectProblem(text, { status: 415, code: 'Unsupported' })
    const coded = await service.ask('POST', '/v1/verify', '{}', { 'content-encoding': 'compress' })
    expectProblem(coded, { status: 415, code: 'Unsupported' })
  })

  it('has health, readiness and version without a capability', async () => {
    const get = async (path: string) =>
      (await service.ask('GET', path, undefined, { authorization: '' })).json
    expect(await get('/healthz')).toEqual({ status: 'ok' })
    expect(await get('/readyz')).toMatchObject({ ready: true, missing: [], degraded: [] })
    expect(await get('/version')).toMatchObject({ name: 'svc-passport' })
  })

  it('counts', async () => {
    const envelope = { ...(await service.issue()), ...AUDIENCE }
    const before = await service.metric('passport_ops_total{op="verify",result="ok",alg="ed25519"}')
    const failures = await service.metric('passport_failures_total{reason="bad_aud"}')
    await service.ask('POST', '/v1/verify_batch', [envelope, envelope, { ...envelope, audience: 'x' }])
    expect(await service.metric('passport_ops_total{op="verify",result="ok",alg="ed25519"}')).toBe(before + 2)
    expect(await service.metric('passport_failures_total{reason="bad_aud"}')).toBe(failures + 1)
    expect(await service.metric('passport_cache_items{kind="vk"}')).toBe(1)
    const { text } = await service.ask('GET', '/metrics')
    for (const name of [
      ...['ops_total', 'failures_total', 'op_latency_seconds', 'batch_len', 'requests_total', 'cache_items'],
      ...['keys_rotations_total', 'queue_seconds', 'clock_skew_total', 'kms_up'],
    ]) {
      expect(text).toContain(`# TYPE passport_${name} `)
    }
    expect(text).not.toContain(envelope.kid)
  })

  it('says nothing of passports in its log', async () => {
    const envelope = await service.issue()
    await service.ask('POST', '/v1/verify', { ...envelope, sig: 'x' })
    const text = JSON.stringify(service.log)
    expect(text).toContain('request_failed')
    for (const secret of [TOKEN, envelope.msg, envelope.sig, 'alice']) expect(text).not.toContain(secret)
  })
})
