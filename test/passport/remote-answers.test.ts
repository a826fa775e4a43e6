// A key service that answers something else than it was asked: no passport is made of it, and it is told.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { signer } from '../support/ed25519.js'
import { expectLogLine } from '../support/log-schema.js'
import { AUDIENCE, expectProblem, type Service, start, WISH } from './support.js'

const KEY = 'passport/issuer/ed25519/0b2e7c1e-0000-4000-8000-000000000001'
const OTHER = KEY.replace('0001', '0002')
const CAPABILITY = 'a-capability-of-this-test'
const [old, head] = [signer(), signer()]

/** Answers in the place of an honest one. */
type Spoil = (response: ServerResponse, honest: Record<string, unknown>, message: Uint8Array) => void

let spoil: { readonly on: 'sign' | 'keys'; readonly how: Spoil } | undefined
/** Requests that came to where a redirect points. */
const followed: IncomingMessage[] = []

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64')
const signed = (kid: unknown, signature: unknown) => ({
  kid,
  sigs: [{ alg: 'ed25519', signature_b64: signature }],
})
const json = (response: ServerResponse, body: unknown, status = 200) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

function described(version: number) {
  return {
    kid: `${KEY}#v${version}`,
    public: { alg: 'ed25519', pubkey_b64: base64((version === 1 ? old : head).publicKey) },
    signs: 'message',
    head: '#v2',
    versions: ['#v1', '#v2'],
    state: 'enabled',
    version_states: ['#v1', '#v2'].map(each => ({ version: each, state: 'enabled' })),
    created_ms: 1,
  }
}

const kms = createServer(async (request, response) => {
  const path = decodeURIComponent(request.url ?? '')
  if (path.startsWith('/elsewhere')) {
    followed.push(request)
    return json(response, {})
  }
  let text = ''
  for await (const chunk of request) text += chunk
  const message = text === '' ? Buffer.alloc(0) : Buffer.from(JSON.parse(text).message_b64 ?? '', 'base64')
  const isSign = path === '/v1/kms/sign'
  const honest = isSign
    ? signed(`${KEY}#v2`, base64(head.sign(message)))
    : described(path.endsWith('#v1') ? 1 : 2)
  if (spoil?.on === (isSign ? 'sign' : 'keys')) return spoil.how(response, honest, message)
  return json(response, honest)
})

const dir = mkdtempSync(join(tmpdir(), 'ron-kms-passport-'))
const capability = join(dir, 'capability')
const settings = () => ({
  'kms.url': `http://127.0.0.1:${(kms.address() as { port: number }).port}`,
  'kms.capability_file': capability,
  'kms.key': KEY,
  'kms.timeout': '300ms',
})
let service: Service

beforeAll(async () => {
  writeFileSync(capability, CAPABILITY)
  await new Promise<void>(resolve => kms.listen(0, '127.0.0.1', resolve))
  service = await start(settings())
})
afterEach(() => {
  spoil = undefined
})
afterAll(async () => {
  await service.close()
  kms.closeAllConnections()
  kms.close()
  rmSync(dir, { recursive: true })
})

/** Issuing answers 503, and issues again as soon as the answers are honest. */
async function expectNothingIssued(on: 'sign' | 'keys', how: Spoil): Promise<string> {
  spoil = { on, how }
  const answer = await service.ask('POST', '/v1/issue', WISH)
  expectProblem(answer, { status: 503, code: 'StoreUnavailable' })
  expect(answer.json.retryable).toBe(true)
  spoil = undefined
  expect(await service.verify({ ...(await service.issue()), ...AUDIENCE })).toMatchObject({ ok: true })
  return answer.text
}

const faults = (fault: string) => service.metric(`passport_kms_faults_total{fault="${fault}"}`)

describe('a signature that a remote key service gives', () => {
  const cases: Record<string, readonly [string, Spoil]> = {
    'of another key': ['another_kid', (to, { sigs }) => json(to, { kid: `${OTHER}#v2`, sigs })],
    'of another version, which is published': [
      'another_kid',
      (to, _, message) => json(to, signed(`${KEY}#v1`, base64(old.sign(message)))),
    ],
    'of a version that is not published': [
      'another_kid',
      (to, _, message) => json(to, signed(`${KEY}#v3`, base64(signer().sign(message)))),
    ],
    'of another version, under the kid that was asked for': [
      'bad_signature',
      (to, _, message) => json(to, signed(`${KEY}#v2`, base64(old.sign(message)))),
    ],
    'of another message': [
      'bad_signature',
      (to, _, message) => json(to, signed(`${KEY}#v2`, base64(head.sign(message.subarray(1))))),
    ],
    'of 63 bytes': [
      'bad_signature',
      (to, _, message) => json(to, signed(`${KEY}#v2`, base64(head.sign(message).subarray(1)))),
    ],
    'with a bit that is not its own': [
      'bad_signature',
      (to, _, message) => {
        const signature = head.sign(message)
        signature[40] = (signature[40] ?? 0) ^ 1
        json(to, signed(`${KEY}#v2`, base64(signature)))
      },
    ],
    'in base64url': [
      'bad_answer',
      (to, _, message) =>
        json(to, signed(`${KEY}#v2`, Buffer.from(head.sign(message)).toString('base64url'))),
    ],
    'that is not base64': ['bad_answer', (to, { kid }) => json(to, signed(kid, '!'.repeat(88)))],
    'that is a number': ['bad_answer', (to, { kid }) => json(to, signed(kid, 64))],
    'of another algorithm': [
      'bad_answer',
      (to, { kid }) => json(to, { kid, sigs: [{ alg: 'ml-dsa', signature_b64: '' }] }),
    ],
    'that is not there': ['bad_answer', (to, { kid }) => json(to, { kid, sigs: [] })],
    'in no object': ['bad_answer', to => json(to, null)],
  }

  it.each(Object.entries(cases))('%s becomes no passport, is counted and logged', async (_, [fault, how]) => {
    const before = await faults(fault)
    const logged = service.log.length
    const text = await expectNothingIssued('sign', how)
    expect(await faults(fault)).toBe(before + 1)
    const lines = service.log.slice(logged)
    const told = lines.filter(({ event }) => event === 'kms_fault')
    expect(told).toMatchObject([{ fault }])
    for (const line of told) expectLogLine(line)
    for (const said of [text, JSON.stringify(lines)]) {
      expect(said).not.toContain(CAPABILITY)
      expect(said).not.toContain('signature_b64')
      expect(said).not.toMatch(/[A-Za-z0-9+/_-]{80}/)
    }
  })
})

describe('an answer of a remote key service', () => {
  const never: Spoil = to => {
    to.writeHead(200, { 'content-type': 'application/json' })
    const drip = setInterval(() => to.write(' '), 20)
    to.on('close', () => clearInterval(drip))
  }
  const cases: Record<string, Spoil> = {
    'that is not JSON': to => to.end('<html>'),
    'that is cut short': (to, honest) => to.end(JSON.stringify(honest).slice(0, -1)),
    'that is too long': (to, honest) => json(to, { ...honest, more: 'x'.repeat(2 ** 20) }),
    'that never ends': never,
    'that never begins': () => {},
    'that points elsewhere': to =>
      to.writeHead(307, { location: `${settings()['kms.url']}/elsewhere` }).end('{}'),
  }

  it.each(Object.entries(cases))('%s becomes no passport', async (_, how) => {
    await expectNothingIssued('sign', how)
    expect(followed).toEqual([])
  })

  it.each([
    ['null', null],
    ['no error', {}],
    ['an error that is null', { error: null }],
    ['an error without a code', { error: { message: 'x' } }],
    ['a code that is none', { error: { code: 'constructor', message: 'x' } }],
  ])('that is a refusal with %s is 503', async (_, body) => {
    spoil = { on: 'sign', how: to => json(to, body, 500) }
    const answer = await service.ask('POST', '/v1/issue', WISH)
    expectProblem(answer, { status: 503, code: 'StoreUnavailable' })
  })

  it('that is a refusal with fields of wrong types is one with the usual ones of its code', async () => {
    const error = { code: 'Backpressure', message: 'x'.repeat(1000), retryable: 1, retry_after_ms: 'soon' }
    spoil = { on: 'sign', how: to => json(to, { error }, 429) }
    const answer = await service.ask('POST', '/v1/issue', WISH)
    expectProblem(answer, { status: 429, code: 'Backpressure' })
    expect(answer.json).toMatchObject({ retryable: true, retry_after_ms: 1000 })
    expect(answer.text).not.toContain('xxx')
  })
})

describe('a description of the key', () => {
  it.each([
    ['of another key', 'another_kid', { ...described(2), kid: `${OTHER}#v2` }],
    ['of a version that is not its head', 'another_kid', described(1)],
    ['without versions', 'bad_answer', { ...described(2), versions: undefined }],
  ])('%s stops the start, and changes nothing later', async (_, fault, body) => {
    const before = await faults(fault)
    spoil = { on: 'keys', how: to => json(to, body) }
    await expect(start(settings())).rejects.toMatchObject({ code: 'StoreUnavailable' })
    // Where the key is known already, that goes on as it was.
    const stranger = { ...(await service.issue()), kid: `${KEY}#v9`, ...AUDIENCE }
    const asked = async () => {
      expect(await service.verify(stranger)).toEqual({ ok: false, reason: 'unknown_kid' })
      return await faults(fault)
    }
    await expect.poll(asked).toBeGreaterThan(before)
    expect(await service.verify({ ...(await service.issue()), ...AUDIENCE })).toMatchObject({ ok: true })
  })
})

describe('a head that is not published', () => {
  it('signs nothing, though the key service would', async () => {
    const careful = await start({ ...settings(), 'security.distrust': `${KEY}#v2` })
    expectProblem(await careful.ask('POST', '/v1/issue', WISH), { status: 503, code: 'StoreUnavailable' })
    expect((await careful.ask('GET', '/.well-known/jwks.json')).json.keys).toMatchObject([
      { kid: `${KEY}#v1` },
    ])
    await careful.close()
  })
})
