// Trials 18 to 20: what attackers send over HTTP. Reasons are uniform, memory and the event loop are not held up.
import { createHmac, createPublicKey } from 'node:crypto'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { AUDIENCE, expectProblem, start } from './support.js'

const service = await start()
afterAll(() => service.close())
const token = await service.token()
const [header = '', payload = '', signature = ''] = token.split('.')
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const known = JSON.parse(Buffer.from(header, 'base64url').toString())
const [jwk] = (await service.ask('GET', '/.well-known/jwks.json')).json.keys
const raw = Buffer.from(jwk.x, 'base64url')
const verdict = async (forged: string) => (await service.verify({ token: forged, ...AUDIENCE })) as object

describe('algorithm confusion', () => {
  const spki = createPublicKey({ key: jwk, format: 'jwk' })
  const secrets = {
    'the raw bytes': raw,
    'their base64url': Buffer.from(jwk.x),
    'the PEM': Buffer.from(spki.export({ format: 'pem', type: 'spki' }) as string),
    'the DER': spki.export({ format: 'der', type: 'spki' }),
    'the JWK': Buffer.from(JSON.stringify(jwk)),
  }

  it.each(Object.entries(secrets))(
    'HS256 keyed with %s of our public key is malformed',
    async (_, secret) => {
      const signed = `${encode({ ...known, alg: 'HS256' })}.${payload}`
      const mac = createHmac('sha256', secret).update(signed).digest('base64url')
      expect(await verdict(`${signed}.${mac}`)).toEqual({ ok: false, reason: 'malformed' })
    },
  )

  it.each([
    { alg: 'none' },
    { alg: 'nOnE' },
    { alg: 'ES256' },
    { alg: undefined },
    { jwk },
    { jku: 'http://127.0.0.1:1/jwks' },
    { x5u: 'http://127.0.0.1:1/cert' },
    { x5c: ['AA=='] },
    { crit: ['b64'], b64: false },
    { b64: false },
    { crit: ['exp'] },
  ])('a header with %j is malformed, with our signature or without', async change => {
    const fetching = vi.spyOn(globalThis, 'fetch')
    const forged = encode({ ...known, ...change })
    for (const sig of [signature, '']) {
      const { json } = await service.ask('POST', '/v1/verify', {
        token: `${forged}.${payload}.${sig}`,
        ...AUDIENCE,
      })
      expect(json).toEqual({ ok: false, reason: 'malformed' })
    }
    // The two requests of this test, and none that a header asked for.
    expect(fetching).toHaveBeenCalledTimes(2)
    fetching.mockRestore()
  })
})

describe('base64url', () => {
  const last = signature.at(-1) ?? ''
  const variants = {
    padding: `${signature}==`,
    'a line feed': `${signature}\n`,
    'the alphabet of base64': `${signature.slice(0, -2)}+/`,
    'trailing bits': signature.slice(0, -1) + String.fromCharCode(last.charCodeAt(0) + 1),
    'a space': ` ${signature}`,
  }
  it.each(Object.entries(variants))('with %s is refused', async (_, spoiled) => {
    const answer = await service.ask('POST', '/v1/verify', {
      token: `${header}.${payload}.${spoiled}`,
      ...AUDIENCE,
    })
    expectProblem(answer, { status: 400, code: 'BadRequest' })
  })
})

describe('hostile JSON', () => {
  const names = Array.from({ length: 300_000 }, (_, i) => `"${i}":1`).join(',')
  const bodies = {
    'a name twice': '{"token":"a.b.c","token":"a.b.c"}',
    'a lone surrogate': '{"token":"\\ud800"}',
    'a number beyond doubles': '[1e400]',
    'invalid UTF-8': Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
    'a byte order mark': '\ufeff{}',
    __proto__: '{"__proto__":{"token":"a.b.c"}}',
    'depth 100,000': '['.repeat(100_000),
    'depth 100,000 in a field': `{"token":${'{"a":'.repeat(100_000)}`,
    'hundreds of thousands of names': `{${names}}`,
    'a million values': `[${'1,'.repeat(1_000_000)}1]`,
    'numbers halfway between two doubles': `[${'2.4703282292062327208299e-324,'.repeat(100_000)}1]`,
    'such numbers in a field': `{"x":[${'2.4703282292062327208299e-324,'.repeat(60_000)}1]}`,
    'a string of a MiB': JSON.stringify({ token: 'a'.repeat(2 ** 20) }),
  }

  it.each(Object.entries(bodies))('with %s is refused', async (_, body) => {
    for (const path of ['/v1/passport/verify', '/v1/passport/verify_batch', '/v1/passport/issue']) {
      const { status, json } = await service.ask('POST', path, body)
      expect([400, 413]).toContain(status)
      expect(['BadRequest', 'TooLarge']).toContain(json.code)
    }
  })

  it('of 64 MB is refused before it is read, and no body makes the process grow', async () => {
    const before = process.memoryUsage().rss
    expectProblem(await service.ask('POST', '/v1/verify', Buffer.alloc(64_000_000, 0x20)), {
      status: 413,
      code: 'TooLarge',
    })
    for (let round = 0; round < 5; round += 1) {
      for (const body of Object.values(bodies)) await service.ask('POST', '/v1/passport/verify_batch', body)
    }
    // The body of 64 MB itself is this process's, too.
    expect(process.memoryUsage().rss - before).toBeLessThan(400 * 2 ** 20)
  })

  it('holds the event loop up for as long as this shows', async () => {
    // In this process is the client, too; so the native calls themselves are timed, which is all that a body costs.
    const { PassportVerifier } = await import('ron-kms/passport')
    const verifier = new PassportVerifier({ keys: [] })
    const longest = Object.entries(bodies).map(([name, body]) => {
      const bytes = Buffer.from(body as string)
      const since = performance.now()
      expect(() => verifier.verifyBatchBody(bytes)).toThrow()
      return { name, ms: performance.now() - since }
    })
    longest.sort((a, b) => b.ms - a.ms)
    const [worst] = longest
    process.stdout.write(`hostile JSON: ${worst?.name} takes longest, ${worst?.ms.toFixed(1)} ms\n`)
  })
})
