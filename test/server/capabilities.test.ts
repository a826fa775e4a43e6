// Who may do what over HTTP: every route with every scope, on keys that the capability covers, on others, and on none.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CapabilityVerifier, type Scope } from '../../src/capability.js'
import { Kms } from '../../src/kms.js'
import { macaroon } from '../../src/primitives.js'
import { capabilities } from '../../src/server/middleware/auth.js'
import { peerThrough } from '../../src/server/middleware/peer.js'
import { type Answer, expectProblem, HELLO_B3, type Service, start } from './support.js'

const SCOPES: readonly Scope[] = [
  'kms:read',
  'kms:sign',
  'kms:verify',
  'kms:wrap',
  'kms:unwrap',
  'kms:rotate',
  'kms:import',
  'kms:destroy',
  'kms:admin',
  'passport:issue',
  'passport:admin',
]
const NO_KEY = '0b2e7c1e-0000-4000-8000-000000000000'
const OTHER_B3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e25'

let dir: string
let kms: Kms
let verifier: CapabilityVerifier
let service: Service

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-capabilities-'))
  writeFileSync(join(dir, 'revoked'), '')
  writeFileSync(join(dir, 'root.key'), Buffer.alloc(32, 7))
  kms = await Kms.open({
    backend: 'inmem',
    audit: {
      log: 'ron-kms/test',
      dir: join(dir, 'audit'),
      anchor: join(dir, 'anchor'),
      rootKey: { kind: 'key-file', file: join(dir, 'root.key') },
    },
  })
  verifier = CapabilityVerifier.open({ revocationFile: join(dir, 'revoked'), mintPerMinute: 1000 })
  kms.mintWith(verifier)
  const authenticate = capabilities(verifier, peerThrough(['127.0.0.2']))
  service = await start({}, () => ({}), kms, authenticate)
})
afterAll(async () => {
  await service.close()
  rmSync(dir, { recursive: true })
})

const inAnHour = () => `exp = ${Math.floor(Date.now() / 1000) + 3600}`

function mint(scopes: readonly Scope[], ...more: string[]): string {
  const tenant = more.some(text => text.startsWith('tenant')) ? [] : ['tenant = core']
  return verifier.mint('test', [`scope = ${scopes.join(',')}`, ...tenant, inAnHour(), ...more]).token
}

const bearer = (token: string, headers: Record<string, string> = {}) => ({
  headers: { authorization: `Bearer ${token}`, ...headers },
  anonymous: true,
})

const post = (token: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  service.ask('POST', `/v1/kms${path}`, { ...(body !== undefined && { body }), ...bearer(token, headers) })

const get = (token: string, path: string) => service.ask('GET', `/v1/kms${path}`, bearer(token))

type Made = { kid: string; alg: 'ed25519' | 'x25519' }

const head = (kid: string) => kid.split('#')[0] ?? ''
const inPath = (kid: string) => encodeURIComponent(kid)

/** One route: what it needs, and how it is asked about a key. */
interface Route {
  readonly name: string
  readonly needs: readonly Scope[]
  /** Which keys it is for. */
  readonly alg: Made['alg']
  /** Puts a key into the state that the route needs. */
  prepare?(kid: string): Promise<unknown>
  ask(token: string, kid: string): Promise<Answer>
  /** Where the answer to an item of an array is. */
  readonly batch?: true
}

const wrapped = new Map<string, string>()

async function envelope(kid: string): Promise<string> {
  const made = await kms.wrap(kid, { size: 16 }).catch(() => undefined)
  return Buffer.from(made?.wrapped ?? new Uint8Array(100)).toString('base64')
}

const signature = (kid: string) => {
  try {
    return Buffer.from(kms.sign(head(kid), Buffer.from('x'))).toString('base64')
  } catch {
    return Buffer.alloc(64).toString('base64')
  }
}

const change = (name: string, needs: Scope): Route => ({
  name: `POST /keys/{kid}/${name}`,
  needs: [needs],
  alg: 'ed25519',
  ask: (token, kid) =>
    post(token, `/keys/${inPath(head(kid))}/${name}`, name === 'derive' ? { context: 'c' } : {}),
})

const verification = (kid: string) => ({
  kid,
  payload_b3: HELLO_B3,
  sigs: [{ alg: 'ed25519', signature_b64: signature(kid) }],
})

const ROUTES: readonly Route[] = [
  {
    name: 'GET /keys/{kid}',
    needs: ['kms:read'],
    alg: 'ed25519',
    ask: (token, kid) => get(token, `/keys/${inPath(kid)}`),
  },
  {
    name: 'GET /keys/{tenant}/{purpose}/{alg}/{uuid}',
    needs: ['kms:read'],
    alg: 'ed25519',
    ask: (token, kid) => get(token, `/keys/${head(kid)}`),
  },
  {
    name: 'GET /attest/{kid}',
    needs: ['kms:read'],
    alg: 'ed25519',
    ask: (token, kid) => get(token, `/attest/${inPath(kid)}`),
  },
  change('rotate', 'kms:rotate'),
  change('derive', 'kms:rotate'),
  change('disable', 'kms:destroy'),
  { ...change('enable', 'kms:destroy'), prepare: kid => kms.disableKey(head(kid)) },
  change('destroy', 'kms:destroy'),
  { ...change('cancel_destroy', 'kms:destroy'), prepare: kid => kms.scheduleDestroy(head(kid)) },
  {
    name: 'POST /sign',
    needs: ['kms:sign'],
    alg: 'ed25519',
    ask: (token, kid) => post(token, '/sign', { kid_or_set: { kid: head(kid) }, payload_b3: HELLO_B3 }),
  },
  {
    name: 'POST /sign of a set',
    needs: ['kms:sign'],
    alg: 'ed25519',
    ask: (token, kid) => post(token, '/sign', { kid_or_set: { kid_set: [head(kid)] }, payload_b3: HELLO_B3 }),
  },
  {
    name: 'POST /sign_batch',
    needs: ['kms:sign'],
    alg: 'ed25519',
    batch: true,
    ask: (token, kid) =>
      post(token, '/sign_batch', [{ kid_or_set: { kid: head(kid) }, payload_b3: HELLO_B3 }]),
  },
  {
    name: 'POST /verify',
    needs: ['kms:verify'],
    alg: 'ed25519',
    ask: (token, kid) => post(token, '/verify', verification(kid)),
  },
  {
    name: 'POST /verify of kids in signatures',
    needs: ['kms:verify'],
    alg: 'ed25519',
    ask: (token, kid) => {
      const { sigs, ...rest } = verification(kid)
      return post(token, '/verify', { ...rest, kid: undefined, sigs: sigs.map(sig => ({ ...sig, kid })) })
    },
  },
  {
    name: 'POST /verify_batch',
    needs: ['kms:verify'],
    alg: 'ed25519',
    batch: true,
    ask: (token, kid) => post(token, '/verify_batch', [verification(kid)]),
  },
  {
    name: 'POST /wrap',
    needs: ['kms:wrap'],
    alg: 'x25519',
    ask: (token, kid) => post(token, '/wrap', { kid: head(kid), size: 16 }),
  },
  {
    name: 'POST /unwrap',
    needs: ['kms:unwrap'],
    alg: 'x25519',
    ask: (token, kid) => post(token, '/unwrap', { kid, wrapped_b64: wrapped.get(kid) }),
  },
  {
    name: 'POST /rewrap',
    needs: ['kms:unwrap', 'kms:wrap'],
    alg: 'x25519',
    ask: (token, kid) => post(token, '/rewrap', { kid: head(kid), wrapped_b64: wrapped.get(kid) }),
  },
]

/** What an answer says, without what differs from request to request. */
function said({ status, json }: Answer, { batch }: Route): unknown {
  const error = batch && status === 200 ? json[0].error : json.error
  if (!error) return { status }
  const { code, message, field, hint } = error
  return { status: batch && status === 200 ? 'item' : status, code, message, field, hint }
}

async function keyOf(tenant: string, purpose: string, { alg, prepare }: Route): Promise<string> {
  const { kid } = await kms.createKey({ tenant, purpose, alg, signs: 'digest' })
  if (alg === 'x25519') wrapped.set(kid, await envelope(kid))
  await prepare?.(kid)
  return kid
}

function noKeyOf(tenant: string, purpose: string, { alg }: Route): string {
  const kid = `${tenant}/${purpose}/${alg}/${NO_KEY}#v1`
  wrapped.set(kid, Buffer.alloc(100).toString('base64'))
  return kid
}

describe.each(ROUTES)('$name', route => {
  it('answers 401 without a token, and with one that nobody minted', async () => {
    const kid = noKeyOf('core', 'audit', route)
    for (const token of ['', 'x', mint(route.needs).slice(0, -1)]) {
      const answer = await route.ask(token, kid)
      expectProblem(answer, 401, 'NoCapability')
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="ron-kms"')
    }
  })

  it('answers 403 for every set of scopes that does not suffice, whatever the key is', async () => {
    const lacking = SCOPES.map(scope => [scope])
      .concat([SCOPES.filter(scope => scope !== route.needs[0])])
      .filter(scopes => !route.needs.every(scope => scopes.includes(scope)))
    const kids = [
      await keyOf('core', 'audit', route),
      await keyOf('acme', 'audit', route),
      noKeyOf('core', 'audit', route),
    ]
    const answers = new Set<string>()
    for (const scopes of lacking) {
      const token = mint(scopes)
      for (const kid of kids) {
        const answer = await route.ask(token, kid)
        expectProblem(answer, 403, 'NoCapability')
        answers.add(JSON.stringify(said(answer, { ...route, batch: undefined as never })))
      }
    }
    expect([...answers]).toHaveLength(1)
  })

  it('answers for a key that the capability covers, and 404 where that is missing', async () => {
    const token = mint(route.needs, 'kid = core/audit')
    const done = said(await route.ask(token, await keyOf('core', 'audit', route)), route)
    expect(done).toEqual({ status: 200 })
    const missing = said(await route.ask(token, noKeyOf('core', 'audit', route)), route)
    expect(missing).toMatchObject({ status: route.batch ? 'item' : 404, code: 'NotFound' })
  })

  it('answers the same for every key that it does not cover, there or not', async () => {
    const token = mint(route.needs, 'kid = core/audit')
    const answers = new Set<string>()
    for (const [tenant, purpose] of [
      ['core', 'audits'],
      ['core', 'other'],
      ['acme', 'audit'],
      ['Core', 'audit'],
    ] as const) {
      for (const kid of [await keyOf(tenant, purpose, route), noKeyOf(tenant, purpose, route)]) {
        answers.add(JSON.stringify(said(await route.ask(token, kid), route)))
      }
    }
    expect(answers.size).toBe(1)
    expect(JSON.parse([...answers][0] ?? '')).toMatchObject({
      status: route.batch ? 'item' : 403,
      code: 'NoCapability',
      message: 'the capability does not cover this',
    })
  })
})

describe('POST /keys', () => {
  const wish = (tenant: string, purpose = 'audit', alg = 'ed25519') => ({ tenant, purpose, alg })

  it('needs kms:rotate, and every other scope does not suffice', async () => {
    for (const scope of SCOPES) {
      const { status } = await post(mint([scope]), '/keys', wish('core'))
      expect([scope, status]).toEqual([scope, scope === 'kms:rotate' ? 200 : 403])
    }
  })

  it('makes keys of the tenants, purposes, algorithms and kids that are named', async () => {
    const field = async (caveats: string[], ...of: Parameters<typeof wish>) => {
      const { status, json } = await post(mint(['kms:rotate'], ...caveats), '/keys', wish(...of))
      return status === 200 ? 'made' : `${json.error.code} ${json.error.field}`
    }
    expect(await field(['tenant = core,acme'], 'acme')).toBe('made')
    expect(await field([], 'acme')).toBe('NoCapability tenant')
    expect(await field(['purpose = audit'], 'core')).toBe('made')
    expect(await field(['purpose = a'], 'core')).toBe('NoCapability purpose')
    expect(await field(['alg = ed25519'], 'core')).toBe('made')
    expect(await field(['alg = ed25519'], 'core', 'audit', 'hybrid')).toBe('made')
    expect(await field(['alg = ml-dsa'], 'core')).toBe('NoCapability alg')
    expect(await field(['kid = core/audit/ed25519'], 'core')).toBe('made')
    expect(await field(['kid = core/a'], 'core')).toBe('NoCapability kid')
    expect(await field([`kid = core/audit/ed25519/${NO_KEY}`], 'core')).toBe('NoCapability kid')
    expect(await field([`payload_b3 = ${HELLO_B3}`], 'core')).toBe('NoCapability payload_b3')
  })
})

describe('POST /keys/{kid}/export', () => {
  it('is ExportForbidden for every token and every key, there or not', async () => {
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
    for (const scope of SCOPES) {
      for (const each of [kid, kid.replace('core', 'acme'), `core/audit/ed25519/${NO_KEY}`]) {
        expectProblem(await post(mint([scope]), `/keys/${inPath(each)}/export`), 403, 'ExportForbidden')
      }
    }
    expectProblem(await post('x', `/keys/${inPath(kid)}/export`), 401, 'NoCapability')
  })
})

describe('GET /audit', () => {
  it('shows the records of keys that the capability covers to kms:read, and no others', async () => {
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
    const sign = mint(['kms:sign'])
    const body = { kid_or_set: { kid: head(kid) }, message_b64: 'eA==' }
    const { index } = (await post(sign, '/sign', body)).json.audit
    const status = async (token: string) => (await get(token, `/audit/proof/${index}`)).status
    expect(await status(mint(['kms:read']))).toBe(200)
    expect(await status(mint(['kms:read'], 'tenant = *'))).toBe(200)
    expect(await status(mint(['kms:read'], `kid = ${kid}`))).toBe(200)
    expect(await status(mint(['kms:read'], 'kid = core/other'))).toBe(404)
    expect(await status(mint(['kms:read'], 'tenant = acme'))).toBe(404)
    expect(await status(mint(['kms:read'], `payload_b3 = ${HELLO_B3}`))).toBe(404)
    expect(await status(sign)).toBe(403)
    // The first record is of the service itself.
    const first = async (token: string) => (await get(token, '/audit/proof/0')).status
    expect(await first(mint(['kms:read'], 'tenant = *'))).toBe(200)
    expect(await first(mint(['kms:read']))).toBe(404)
    for (const scope of SCOPES) {
      const { status } = await get(mint([scope]), '/audit/checkpoint')
      expect([scope, status]).toEqual([scope, scope === 'kms:read' ? 200 : 403])
    }
  })
})

describe('payload_b3', () => {
  it('leaves signing and verifying those payloads, each item of a batch by itself', async () => {
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519', signs: 'digest' })
    const token = mint(['kms:sign', 'kms:verify', 'kms:read'], `payload_b3 = ${HELLO_B3}`)
    const wish = (payload_b3: string) => ({ kid_or_set: { kid: head(kid) }, payload_b3 })
    const signed = await post(token, '/sign', wish(HELLO_B3))
    expect(signed.status).toBe(200)
    expectProblem(await post(token, '/sign', wish(OTHER_B3)), 403, 'NoCapability', 'payload_b3')
    const { json } = await post(token, '/sign_batch', [wish(OTHER_B3), wish(HELLO_B3), wish(OTHER_B3)])
    expect(json.map((item: { error?: { code: string } }) => item.error?.code)).toEqual([
      'NoCapability',
      undefined,
      'NoCapability',
    ])
    const check = (payload_b3: string) => ({ kid: signed.json.kid, payload_b3, sigs: signed.json.sigs })
    const verdicts = (await post(token, '/verify_batch', [check(HELLO_B3), check(OTHER_B3)])).json
    expect(verdicts).toMatchObject([{ ok: true }, { error: { code: 'NoCapability', field: 'payload_b3' } }])
    expectProblem(await get(token, `/keys/${inPath(kid)}`), 403, 'NoCapability', 'payload_b3')
  })

  it('is of the message for keys that sign messages', async () => {
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
    const token = mint(['kms:sign'], `payload_b3 = ${HELLO_B3}`)
    const sign = (text: string) =>
      post(token, '/sign', {
        kid_or_set: { kid: head(kid) },
        message_b64: Buffer.from(text).toString('base64'),
      })
    expect((await sign('hello world')).status).toBe(200)
    expectProblem(await sign('hello worle'), 403, 'NoCapability', 'payload_b3')
  })
})

describe('a token', () => {
  it('is refused before the body is read', async () => {
    const request = (token: string) =>
      service.raw(
        `POST /v1/kms/sign HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n` +
          'Content-Type: application/json\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n',
      )
    expect(await request('x')).toMatch(/^HTTP\/1\.1 401 /)
    expect(await request(mint(['kms:read']))).toMatch(/^HTTP\/1\.1 403 /)
    const expired = verifier.mint('t', ['scope = kms:sign', 'tenant = core', inAnHour()]).token
    expect(await request(macaroon.attenuate(expired, ['exp = 1']))).toMatch(/^HTTP\/1\.1 401 /)
    expect(await request(macaroon.attenuate(expired, ['nbf = 99999999999']))).toMatch(/^HTTP\/1\.1 401 /)
    expect(await request(macaroon.attenuate(expired, ['ip = 10.0.0.1']))).toMatch(/^HTTP\/1\.1 403 /)
  })

  it('with a rate gets 429 past it, also under a narrower token', async () => {
    const token = mint(['kms:read'], 'rps = 2')
    const tokens = [token, macaroon.attenuate(token, ['rps = 500'])]
    const kid = inPath(`core/audit/ed25519/${NO_KEY}`)
    const answers: Answer[] = []
    for (let i = 0; i < 20; i += 1) answers.push(await get(tokens[i % 2] as string, `/keys/${kid}`))
    expect(answers.slice(0, 2).map(({ status }) => status)).toEqual([404, 404])
    const refused = answers.filter(({ status }) => status !== 404)
    expect(refused.length).toBeGreaterThan(0)
    for (const each of refused) {
      expectProblem(each, 429, 'Backpressure')
      expect(each.headers['retry-after']).toBe('1')
    }
  })

  it('for an address is for the end of the socket, whatever a header says', async () => {
    const here = mint(['kms:read'], 'ip = 127.0.0.0/8')
    const kid = inPath(`core/audit/ed25519/${NO_KEY}`)
    const elsewhere = {
      authorization: `Bearer ${mint(['kms:read'], 'ip = 10.0.0.1')}`,
      'x-forwarded-for': '10.0.0.1',
    }
    expect((await get(here, `/keys/${kid}`)).status).toBe(404)
    const answer = await service.ask('GET', `/v1/kms/keys/${kid}`, { headers: elsewhere, anonymous: true })
    expectProblem(answer, 403, 'NoCapability')
  })

  it('shows in no log line and in no answer', async () => {
    const token = mint(['kms:read'])
    await post(token, '/sign', {})
    await post(`${token.slice(0, -1)}A`, '/sign', {})
    const kept = JSON.stringify(service.log)
    expect(kept).not.toContain(token.slice(0, 100))
    expect(kept).not.toContain(token.slice(-40))
  })
})

describe('an op_id', () => {
  it('belongs to the capability, of which a narrower token still is one', async () => {
    const body = { tenant: 'core', purpose: 'audit', alg: 'ed25519' }
    const opId = { 'idempotency-key': '0b2e7c1e-1111-4222-8333-444455556666' }
    const token = mint(['kms:rotate'])
    const first = await post(token, '/keys', body, opId)
    const narrower = macaroon.attenuate(token, ['purpose = audit', 'rps = 1000'])
    expect((await post(narrower, '/keys', body, opId)).json.kid).toBe(first.json.kid)
    const stranger = await post(mint(['kms:rotate']), '/keys', body, opId)
    expect(stranger.status).toBe(200)
    expect(stranger.json.kid).not.toBe(first.json.kid)
    const without = macaroon.attenuate(token, ['purpose = other'])
    expectProblem(await post(without, '/keys', body, opId), 403, 'NoCapability', 'purpose')
  })
})

describe('POST /capabilities', () => {
  const admin = (...more: string[]) => mint(['kms:admin', 'kms:sign', 'kms:read'], ...more)

  it('mints within the caller’s own, and records it', async () => {
    const minter = admin('kid = core/audit')
    const wish = { caveats: ['scope = kms:sign'], ttl_s: 60, name: 'ci' }
    const { status, json, headers } = await post(minter, '/capabilities', wish)
    expect(status).toBe(200)
    expect(headers['cache-control']).toBe('no-store')
    const shown = macaroon.inspect(json.token)
    expect(shown.capability).toMatchObject({
      id: json.id,
      name: 'ci',
      minted_with: [macaroon.inspect(minter).capability?.id],
    })
    expect(shown.caveats).toEqual(json.caveats)
    expect(shown.caveats).toContain('kid = core/audit')
    expect(json.exp).toBeLessThanOrEqual(Date.now() / 1000 + 61)
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519', signs: 'digest' })
    const sign = (of: string) => post(json.token, '/sign', { kid_or_set: { kid: of }, payload_b3: HELLO_B3 })
    expect((await sign(head(kid))).status).toBe(200)
    expectProblem(await sign(head(kid).replace('audit', 'other')), 403, 'NoCapability', 'kid_or_set.kid')
    expectProblem(await get(json.token, `/keys/${inPath(kid)}`), 403, 'NoCapability')

    const proof = (await get(mint(['kms:read']), `/audit/proof/${json.audit.index}`)).json
    const record = Buffer.from(proof.record_b64, 'base64').toString('latin1')
    expect(record).toContain('mint_capability')
    expect(record).not.toContain(json.token.slice(0, 60))
  })

  it('refuses what the minter has not, what is no caveat, and an op_id', async () => {
    const ask = (body: unknown, token = admin(), headers?: Record<string, string>) =>
      post(token, '/capabilities', body, headers)
    expectProblem(await ask({ caveats: [] }, mint(['kms:sign'])), 403, 'NoCapability')
    expectProblem(await ask({ caveats: ['scope = kms:destroy'] }), 403, 'NoCapability', 'caveats[0]')
    expectProblem(await ask({ caveats: ['tenant = *'] }), 403, 'NoCapability', 'caveats[0]')
    expectProblem(await ask({ caveats: ['x = y'] }), 400, 'BadRequest', 'caveats[0]')
    expectProblem(await ask({ caveats: [], name: 'a b' }), 400, 'BadRequest', 'name')
    expectProblem(await ask({ caveats: [], ttl_s: 0 }), 400, 'BadRequest', 'ttl_s')
    expectProblem(await ask({ caveats: [], more: 1 }), 400, 'BadRequest', 'more')
    expectProblem(await ask({}), 400, 'BadRequest', 'caveats')
    const key = { 'idempotency-key': NO_KEY }
    expectProblem(await ask({ caveats: [] }, admin(), key), 400, 'Unsupported', 'op_id')
    expectProblem(await ask({ caveats: [] }, admin('rps = 5')), 403, 'NoCapability', 'caveats')
  })
})

describe('a revoked capability', () => {
  it('is refused within seconds, with what was narrowed from it, on a connection that is in use', async () => {
    const token = mint(['kms:read'])
    const narrower = macaroon.attenuate(token, ['purpose = audit'])
    const kid = inPath(`core/audit/ed25519/${NO_KEY}`)
    expect((await get(narrower, `/keys/${kid}`)).status).toBe(404)
    writeFileSync(join(dir, 'revoked'), `${macaroon.inspect(token).capability?.id}\n`)
    await expect.poll(async () => (await get(narrower, `/keys/${kid}`)).status, { timeout: 5000 }).toBe(401)
    expect((await get(token, `/keys/${kid}`)).status).toBe(401)
    expect((await get(mint(['kms:read']), `/keys/${kid}`)).status).toBe(404)
    rmSync(join(dir, 'revoked'))
    await expect
      .poll(async () => (await get(mint(['kms:read']), `/keys/${kid}`)).status, { timeout: 5000 })
      .toBe(503)
    writeFileSync(join(dir, 'revoked'), '')
    await expect.poll(async () => (await get(narrower, `/keys/${kid}`)).status, { timeout: 5000 }).toBe(404)
  })
})

describe('the address behind proxies', () => {
  const peerOf = peerThrough(['10.0.0.0/8', '2001:db8::1'])
  const seen = (socketPeer: string | undefined, forwarded?: string) =>
    peerOf({ scopes: [], socketPeer, header: name => (name === 'x-forwarded-for' ? forwarded : undefined) })

  it('is the last one that no trusted proxy has', () => {
    expect(seen('192.0.2.1', '1.1.1.1')).toBe('192.0.2.1')
    expect(seen('10.0.0.1', '1.1.1.1, 192.0.2.7')).toBe('192.0.2.7')
    expect(seen('10.0.0.1', '1.1.1.1, 192.0.2.7,10.9.9.9 , 2001:db8::1')).toBe('192.0.2.7')
    expect(seen('::ffff:10.0.0.1', '192.0.2.7')).toBe('192.0.2.7')
  })

  it('is not known where the header is missing or says anything else', () => {
    for (const forwarded of [undefined, '', 'unknown', '192.0.2.7, x', '192.0.2.7:80', '10.0.0.2']) {
      expect(seen('10.0.0.1', forwarded)).toBeUndefined()
    }
    expect(seen(undefined, '192.0.2.7')).toBeUndefined()
  })
})
