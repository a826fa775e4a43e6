// The known answers for other languages, through the library and through node:crypto.
import { createPublicKey, verify } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { PassportVerifier } from 'ron-kms/passport'
import { describe, expect, it } from 'vitest'

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../vectors/passport/${name}`, import.meta.url), 'utf8'))

describe('issued.json', () => {
  const { public_key: x, kid, now, cases } = read('issued.json')
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
  const verifier = new PassportVerifier({
    keys: [{ kid, publicKey: Buffer.from(x, 'base64url') }],
    requireAud: false,
    now: () => now + 20,
  })

  it.each(cases as { wish: string; signed: string; passport: never }[])('$wish', ({ signed, passport }) => {
    const parts = typeof passport === 'string' ? (passport as string).split('.') : undefined
    const sig = parts ? parts[2] : (passport as { sig: string }).sig
    expect(verify(null, Buffer.from(signed), key, Buffer.from(sig ?? '', 'base64url'))).toBe(true)
    expect(verifier.verify(passport)).toMatchObject({ ok: true, claims: { kid } })
  })
})

describe('verdicts.json', () => {
  const { keys, now, clock_skew_s: clockSkew, cases } = read('verdicts.json')
  const verifier = new PassportVerifier({ jwks: { keys }, clockSkew, now: () => now })

  it.each(cases as { name: string; request: string; verdict: string }[])('$name', ({ request, verdict }) => {
    const [answer] = JSON.parse(Buffer.from(verifier.verifyBatchBody(Buffer.from(`[${request}]`))).toString())
    const expected = verdict === 'BadRequest' ? 'malformed' : verdict
    expect(answer.ok ? 'ok' : answer.reason).toBe(expected)
  })
})
