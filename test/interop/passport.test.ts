// Strangers verify our passports by the JWK set that the service publishes, and we verify theirs.
import { execFileSync } from 'node:child_process'
import { createPublicKey, verify } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import canonicalize from 'canonicalize'
import fc from 'fast-check'
import * as jose from 'jose'
import { PassportVerifier } from 'ron-kms/passport'
import { canonicalJson } from 'ron-kms/primitives'
import { afterAll, describe, expect, it } from 'vitest'
import { AUDIENCE, start } from '../passport/support.js'
import { part } from '../support/parts.js'

const service = await start()
afterAll(() => service.close())
const jwksUrl = new URL('/.well-known/jwks.json', service.url)
const ours = await service.token({ ctx: { tenant: 't1' } })
await service.ask('POST', '/admin/rotate', {})

const now = Math.floor(Date.now() / 1000)
const kid = 'stranger/issuer/ed25519/0b2e7c1e-0000-4000-8000-000000000002#v1'
const claims = {
  ...{ iss: 'stranger', sub: 'bob', aud: ['service-a'], iat: now, exp: now + 600, kid },
  ...{ scopes: ['read:x'], jti: 'j', ctx: { note: 'grüße' } },
}

describe('jose', () => {
  it('verifies our tokens of every version from the published keys', async () => {
    const keys = jose.createRemoteJWKSet(jwksUrl)
    for (const token of [ours, await service.token()]) {
      const options = { audience: 'service-a', issuer: 'svc-passport', algorithms: ['EdDSA'] }
      const { payload, protectedHeader } = await jose.jwtVerify(token, keys, options)
      expect(payload.sub).toBe('alice')
      expect(payload.kid).toBe(protectedHeader.kid)
    }
    await expect(jose.jwtVerify(ours, keys, { audience: 'service-b' })).rejects.toThrow('aud')
  })

  it('verifies our envelopes as signatures over their bytes', async () => {
    const envelope = await service.issue()
    const set = (await service.ask('GET', jwksUrl.pathname)).json
    const jwk = set.keys.find((key: { kid: string }) => key.kid === envelope.kid)
    const key = createPublicKey({ key: await jose.exportJWK(await jose.importJWK(jwk)), format: 'jwk' })
    const [msg, sig] = [envelope.msg, envelope.sig].map(each => Buffer.from(each, 'base64url')) as [
      Buffer,
      Buffer,
    ]
    expect(verify(null, msg, key, sig)).toBe(true)
  })

  it.each(['EdDSA', 'Ed25519'])('signs with %s what we verify', async alg => {
    const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true })
    const jwk = { ...(await jose.exportJWK(publicKey)), kid, alg: 'EdDSA', use: 'sig' }
    const verifier = new PassportVerifier({ jwks: { keys: [jwk] } })
    const sign = (header: object, payload: object = claims) =>
      new jose.SignJWT({ ...payload }).setProtectedHeader({ alg, kid, ...header }).sign(privateKey)
    expect(verifier.verify(await sign({}), AUDIENCE)).toMatchObject({ ok: true, claims })
    const single = await sign({ typ: 'JWT' }, { ...claims, aud: 'service-a' })
    expect(verifier.verify(single, { ...AUDIENCE, scopes: ['read:x'] }).ok).toBe(true)
    expect(verifier.verify(await sign({}, { ...claims, kid: 'x' }), AUDIENCE).reason).toBe('verify_failed')
    const crit = new jose.CompactSign(Buffer.from(JSON.stringify(claims)))
      .setProtectedHeader({ alg, kid, crit: ['x'], x: 1 })
      .sign(privateKey, { crit: { x: true } })
    expect(verifier.verify(await crit, AUDIENCE).reason).toBe('malformed')
  })
})

describe('PyJWT and cryptography', () => {
  const python = part('python-jwt')
  it.skipIf(!python.available)('verify our passports, and sign what we verify', async () => {
    const [token, envelope] = [await service.token(), await service.issue()]
    const jwks = (await service.ask('GET', jwksUrl.pathname)).json
    const script = fileURLToPath(new URL('fixtures/passport_client.py', import.meta.url))
    const input = JSON.stringify({ jwks, token, envelope, claims, ...AUDIENCE })
    const output = JSON.parse(execFileSync(python.path, [script], { input, encoding: 'utf8' }))
    expect(output.token_claims.sub).toBe('alice')
    expect(output.envelope_claims).toEqual(JSON.parse(Buffer.from(envelope.msg, 'base64url').toString()))
    const verifier = new PassportVerifier({ jwks: { keys: [output.key] } })
    for (const passport of [output.token, output.envelope]) {
      expect(verifier.verify(passport, { ...AUDIENCE, scopes: ['read:x'] })).toMatchObject({
        ok: true,
        claims,
      })
    }
  })
})

describe('canonicalize', () => {
  it('writes any JSON as we do', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'grapheme' }), value => {
        const given = JSON.stringify(value)
        expect(Buffer.from(canonicalJson(Buffer.from(given))).toString()).toBe(
          canonicalize(JSON.parse(given)),
        )
      }),
      { numRuns: 300 },
    )
  })
})
