// `ron-kms/passport`: issuing, verifying, guarding a route.
import { Hono } from 'hono'
import { Kms } from 'ron-kms'
import {
  type Envelope,
  PassportIssuer,
  type PassportVariables,
  PassportVerifier,
  type PassportVerifierOptions,
  passportAuth,
} from 'ron-kms/passport'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { TokenCache } from '../../src/passport/token-cache.js'
import { refusal } from '../support/refusal.js'

const kms = await Kms.open({ backend: 'inmem' })
afterAll(() => kms.close())
const created = await kms.createKey({ tenant: 'passport', purpose: 'issuer', alg: 'ed25519' })
const key = created.kid.replace('#v1', '')
const issuer = new PassportIssuer({ kms, key, issuer: 'issuer.example' })
const wish = { sub: 'alice', aud: ['service-a', 'service-b'], scopes: ['read:x', 'write:y'] }
const jwks = await issuer.jwks()
const verifier = new PassportVerifier({ jwks })
const audience = 'service-a'
const verifierWith = (options: PassportVerifierOptions) => new PassportVerifier({ jwks, ...options })

describe('PassportIssuer', () => {
  it('issues an envelope of canonical claims under the head', async () => {
    const envelope = await issuer.issue({ ...wish, ctx: { z: 1, a: { b: 2.5 } }, nonce: 'n', ttl_s: 60 })
    const text = Buffer.from(envelope.msg, 'base64url').toString()
    const claims = JSON.parse(text)
    expect(claims).toEqual({
      ...{
        iss: 'issuer.example',
        sub: 'alice',
        aud: wish.aud,
        scopes: wish.scopes,
        nonce: 'n',
        kid: created.kid,
      },
      ...{
        ctx: { a: { b: 2.5 }, z: 1 },
        iat: expect.any(Number),
        exp: claims.iat + 60,
        jti: expect.any(String),
      },
    })
    expect(text).toContain('"ctx":{"a":{"b":2.5},"z":1}')
    expect([envelope.alg, envelope.kid]).toEqual(['Ed25519', created.kid])
  })

  it('takes one audience as an array of one, and has a default lifetime', async () => {
    const { msg } = await issuer.issue({ ...wish, aud: 'one' })
    const { aud, iat, exp } = JSON.parse(Buffer.from(msg, 'base64url').toString())
    expect([aud, exp - iat]).toEqual([['one'], 3600])
  })

  it.each([
    ['sub', { sub: undefined }],
    ['sub', { sub: '' }],
    ['aud', { aud: [] }],
    ['aud', { aud: [1] }],
    ['aud', { aud: ['a', 'a'] }],
    ['scopes', { scopes: 'read:x' }],
    ['ctx', { ctx: [] }],
    ['ctx', { ctx: { n: 2 ** 60 } }],
    ['ttl_s', { ttl_s: 0 }],
    ['ttl_s', { ttl_s: 86_401 }],
    ['ttl_s', { ttl_s: 1.5 }],
    ['nbf', { nbf: 2 ** 40 }],
    ['format', { format: 'xml' }],
    ['body', { extra: 1 }],
  ])('refuses a wish whose %s is %j', async (field, change) => {
    expect(await refusal(() => issuer.issue({ ...wish, ...change } as never))).toBe(`BadRequest ${field}`)
  })

  it('refuses a payload over the limit', async () => {
    const long = { ...wish, ctx: { text: 'x'.repeat(4096) } }
    expect(await refusal(() => issuer.issue(long))).toBe('TooLarge body')
  })
})

describe('PassportVerifier', () => {
  it('takes what the issuer made, in both forms', async () => {
    for (const format of ['envelope', 'jwt'] as const) {
      const passport = await issuer.issue({ ...wish, format })
      const verdict = verifier.verify(passport, { audience, scopes: ['read:x'] })
      expect(verdict).toMatchObject({ ok: true, claims: { sub: 'alice', kid: created.kid } })
    }
  })

  it('answers why it takes one not', async () => {
    const passport = await issuer.issue(wish)
    const other = await issuer.issue(wish)
    const verdicts = verifier.verifyBatch(
      [passport, { ...passport, sig: other.sig }, { ...passport, kid: 'x' }, 'a.b', {} as Envelope],
      { audience },
    )
    expect(verdicts.map(({ ok, reason }) => reason ?? ok)).toEqual([
      true,
      'verify_failed',
      'unknown_kid',
      'malformed',
      'malformed',
    ])
    expect(verifier.verify(passport)).toEqual({ ok: false, reason: 'bad_aud' })
    expect(verifier.verify(passport, { audience, scopes: ['admin'] })).toEqual({
      ok: false,
      reason: 'scope_denied',
    })
  })

  it('lets no item spoil the others of its batch', async () => {
    const good = await issuer.issue(wish)
    const deep = JSON.parse('['.repeat(50) + ']'.repeat(50))
    const odd = ['\ud800', { ...good, kid: '\ud800' }, { ...good, deep }, { ...good, n: 1n }, null, 7]
    const verdicts = verifier.verifyBatch([good, ...(odd as string[]), good], { audience })
    expect(verdicts.map(({ ok }) => ok)).toEqual([true, ...odd.map(() => false), true])
  })

  it('goes by the time that it is given', async () => {
    const passport = await issuer.issue({ ...wish, ttl_s: 100 })
    const { iat } = JSON.parse(Buffer.from(passport.msg, 'base64url').toString())
    const at = (now: number) => verifierWith({ now: () => now }).verify(passport, { audience }).reason ?? true
    expect([iat - 121, iat - 120, iat + 219, iat + 220].map(at)).toEqual(['nbf', true, true, 'expired'])
  })

  it('takes each passport once with a replay window, which verifiers of one name share', async () => {
    const replay = { name: 'library.test', maxItems: 3 }
    const [one, two] = [verifierWith({ replay }), verifierWith({ replay })]
    const passports = await Promise.all([1, 2, 3, 4].map(() => issuer.issue(wish)))
    const [first, second, third, fourth] = passports as [Envelope, Envelope, Envelope, Envelope]
    expect(
      one.verifyBatch([first, first, second], { audience }).map(({ ok, reason }) => reason ?? ok),
    ).toEqual([true, 'replayed', true])
    expect(two.verify(first, { audience })).toEqual({ ok: false, reason: 'replayed' })
    expect(two.verify(third, { audience }).ok).toBe(true)
    expect(two.verify(fourth, { audience })).toEqual({ ok: false, reason: 'internal' })
  })

  it('remembers tokens that held until they expire, for what they were asked for', async () => {
    let now = Math.floor(Date.now() / 1000)
    const remembering = verifierWith({ cache: { maxItems: 2 }, now: () => now })
    const token = await issuer.issue({ ...wish, ttl_s: 60, format: 'jwt' })
    const first = remembering.verify(token, { audience })
    expect(remembering.verify(token, { audience })).toEqual(first)
    expect(remembering.verify(token, { audience: 'service-c' })).toEqual({ ok: false, reason: 'bad_aud' })
    expect(remembering.verify(token, { audience, scopes: ['admin'] }).reason).toBe('scope_denied')
    now += 60 + 120
    expect(remembering.verify(token, { audience })).toEqual({ ok: false, reason: 'expired' })
  })

  it('remembers no token beyond its time, though the clock of the machine is set back', () => {
    const cache = new TokenCache(2)
    const at = performance.now()
    cache.put('token', { claims: '{}', expiresAt: 1000, until: at + 5000 })
    expect(cache.get('token', 995)).toMatchObject({ claims: '{}' })
    const clock = vi.spyOn(performance, 'now').mockReturnValue(at + 5000)
    // An hour earlier by that clock.
    expect(cache.get('token', 995 - 3600)).toBeUndefined()
    clock.mockRestore()
  })

  it('verifies batches on other threads as on this one', async () => {
    const body = Buffer.from(
      JSON.stringify([{ ...(await issuer.issue(wish)), audience }, { token: 'a.b.c' }, 7]),
    )
    const here = Buffer.from(verifier.verifyBatchBody(body)).toString()
    expect(Buffer.from(await verifier.verifyBatchBodyAsync(body)).toString()).toBe(here)
    await expect(verifier.verifyBatchBodyAsync(Buffer.from('{'))).rejects.toMatchObject({
      code: 'BadRequest',
    })
  })

  it('forgets remembered tokens with the key that signed them', async () => {
    const remembering = verifierWith({ cache: { maxItems: 2 } })
    const token = await issuer.issue({ ...wish, format: 'jwt' })
    expect(remembering.verify(token, { audience }).ok).toBe(true)
    expect(remembering.distrust(created.kid)).toBe(true)
    expect(remembering.verify(token, { audience })).toEqual({ ok: false, reason: 'unknown_kid' })
  })

  it('refuses options that contradict each other, and keys that are none', () => {
    const open = (options: object) => () => new PassportVerifier(options)
    expect(open({ cache: { maxItems: 1 }, replay: { name: 'x', maxItems: 1 } })).toThrow('replay')
    expect(open({ clockSkew: 601 })).toThrow('from 0 to 600')
    expect(open({ jwks: {} })).toThrow('JWK set')
    expect(open({ jwks: { keys: [{ kty: 'OKP', crv: 'Ed25519', kid: 'x', x: 'AA==' }] } })).toThrow(
      '32 bytes',
    )
    expect(open({ keys: [{ kid: 'x', publicKey: new Uint8Array(32) }] })).toThrow('canonical')
    expect(open({ cache: { maxItems: 0 } })).toThrow('whole number')
    expect(
      open({
        jwks: {
          keys: [
            { kty: 'RSA', kid: 'y' },
            { kty: 'OKP', crv: 'Ed25519', kid: 'z', alg: 'HS256' },
          ],
        },
      }),
    ).not.toThrow()
  })
})

describe('passportAuth', () => {
  const app = new Hono<{ Variables: PassportVariables }>()
  app.use('/reports/*', passportAuth({ verifier, audience, scopes: ['read:x'] }))
  app.get('/reports/today', c => c.json({ hello: c.get('passport').sub }))
  const get = (authorization?: string) =>
    app.request('/reports/today', authorization === undefined ? {} : { headers: { authorization } })

  it('lets a request through that bears a passport', async () => {
    const response = await get(`Bearer ${await issuer.issue({ ...wish, format: 'jwt' })}`)
    expect([response.status, await response.json()]).toEqual([200, { hello: 'alice' }])
  })

  it('answers 401 without one, or with one that does not hold', async () => {
    const elsewhere = await issuer.issue({ ...wish, aud: 'service-b', format: 'jwt' })
    for (const authorization of [undefined, 'Basic eA==', 'Bearer x', `Bearer ${elsewhere}`]) {
      const response = await get(authorization)
      expect(response.status).toBe(401)
      expect(response.headers.get('www-authenticate')).toMatch(/^Bearer/)
      expect(await response.json()).toMatchObject({ code: 'NoCapability', retryable: false })
    }
  })

  it('answers 403 for a scope that is missing', async () => {
    const response = await get(`Bearer ${await issuer.issue({ ...wish, scopes: [], format: 'jwt' })}`)
    expect(response.status).toBe(403)
    expect(response.headers.get('www-authenticate')).toContain('insufficient_scope')
  })
})
