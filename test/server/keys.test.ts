import { createPrivateKey, createPublicKey } from 'node:crypto'
import { Kms } from 'ron-kms'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectProblem, HELLO_B3, type Service, start } from './support.js'

const KEY = { tenant: 'acme', purpose: 'audit', alg: 'ed25519' }
const create = async (service: Service, more: object = {}): Promise<string> =>
  (await service.ask('POST', '/v1/kms/keys', { body: { ...KEY, ...more } })).json.kid

describe('GET /keys', () => {
  let service: Service
  const made: string[] = []
  beforeAll(async () => {
    service = await start()
    for (let i = 0; i < 7; i += 1) made.push(await create(service))
    await create(service, { tenant: 'other' })
  })
  afterAll(() => service.close())
  const list = (query: string) => service.ask('GET', `/v1/kms/keys${query}`)

  it('lists every key of the tenant once, page by page', async () => {
    const found: string[] = []
    let pages = 1
    for (let after = ''; ; pages += 1) {
      const { json } = await list(`?tenant=acme&limit=3${after && `&after=${encodeURIComponent(after)}`}`)
      for (const { kid } of json.keys) found.push(kid)
      if (json.next === undefined) break
      after = json.next
    }
    expect(pages).toBe(3)
    expect(found.sort()).toEqual([...made].sort())
  })

  it('shows head and state, and no key material', async () => {
    const { json } = await list('?tenant=other')
    expect(json.keys).toEqual([
      {
        kid: expect.stringMatching(/^other\/audit\/ed25519\/[0-9a-f-]{36}#v1$/),
        alg: 'ed25519',
        signs: 'digest',
        head: '#v1',
        newest: '#v1',
        state: 'enabled',
        created_ms: expect.any(Number),
      },
    ])
  })

  it.each([
    ['', 'tenant'],
    ['?tenant=', 'tenant'],
    ['?tenant=a%20b', 'tenant'],
    ['?tenant=acme&tenant=other', 'tenant'],
    ['?tenant=acme&limit=0', 'limit'],
    ['?tenant=acme&limit=513', 'limit'],
    ['?tenant=acme&limit=-1', 'limit'],
    ['?tenant=acme&limit=1e2', 'limit'],
    ['?tenant=acme&after=nothing', 'after'],
    ['?tenant=acme&before=x', '(query)'],
  ])('%j is 400, field %s', async (query, field) => {
    expectProblem(await list(query), 400, 'BadRequest', field)
  })

  it('answers a tenant without keys with none', async () => {
    expect((await list('?tenant=nobody')).json).toEqual({ keys: [] })
  })
})

describe('POST /keys/import', () => {
  // RFC 8032, section 7.1, test 1.
  const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex')
  const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' })
  const publicKey = Buffer.from(jwk.x ?? '', 'base64url')
  const body = {
    ...KEY,
    private_key_b64: seed.toString('base64'),
    public_key_b64: publicKey.toString('base64'),
  }
  let service: Service
  beforeAll(async () => {
    const kms = await Kms.open({ backend: 'inmem', allowImport: true, audit: { log: 'ron-kms/test' } })
    service = await start({}, undefined, kms)
  })
  afterAll(() => service.close())
  const ask = (more: object = {}) =>
    service.ask('POST', '/v1/kms/keys/import', { body: { ...body, ...more } })

  it('makes a key that signs as it did elsewhere, and records that', async () => {
    const { json } = await ask()
    expect(json.public).toEqual({ alg: 'ed25519', pubkey_b64: body.public_key_b64 })
    expect(json.audit.log).toBe('ron-kms/test')
    const signed = await service.ask('POST', '/v1/kms/sign', {
      body: { kid_or_set: { kid: json.kid }, payload_b3: HELLO_B3 },
    })
    const verdict = await service.ask('POST', '/v1/kms/verify', {
      body: { kid: json.kid, payload_b3: HELLO_B3, sigs: signed.json.sigs },
    })
    expect(verdict.json.ok).toBe(true)
  })

  it('refuses a public key that is not the private key’s own, and makes nothing', async () => {
    const before = (await service.ask('GET', '/v1/kms/keys?tenant=acme')).json.keys.length
    const other = Buffer.from(publicKey)
    other[0] = (other[0] ?? 0) ^ 1
    for (const bytes of [other, Buffer.alloc(0), seed]) {
      const answer = await ask({ public_key_b64: bytes.toString('base64') })
      expectProblem(answer, 400, 'BadRequest', 'public_key_b64')
    }
    expect((await service.ask('GET', '/v1/kms/keys?tenant=acme')).json.keys).toHaveLength(before)
  })

  it('refuses a private key that does not fit, and says nothing of it', async () => {
    const answer = await ask({ private_key_b64: Buffer.alloc(31, 7).toString('base64') })
    expectProblem(answer, 400, 'BadRequest', 'private_key_b64')
    expect(answer.text).not.toContain('Bwc')
  })

  it('gives one op_id one key', async () => {
    const op_id = '0b2e7c1e-2f4b-4c8e-9a51-6f3d2a7b8c90'
    const [first, again] = [await ask({ op_id }), await ask({ op_id })]
    expect(again.json).toEqual(first.json)
  })

  it('is 403 unless the setting allows it', async () => {
    const closed = await start()
    expectProblem(await closed.ask('POST', '/v1/kms/keys/import', { body }), 403, 'NoCapability')
    await closed.close()
  })

  it('is there in process, too', async () => {
    const kms = await Kms.open({ backend: 'inmem', allowImport: true })
    const made = await kms.importKey({ ...KEY, alg: 'ed25519', privateKey: seed, publicKey })
    const signature = Buffer.from(kms.sign(made.kid, new Uint8Array(0))).toString('hex')
    expect(signature.slice(0, 16)).toBe('e5564300c360ac72')
    const { keys, next } = await kms.listKeys({ tenant: 'acme' })
    expect([keys.map(({ kid }) => kid), next]).toEqual([[made.kid], undefined])
    kms.close()
  })
})

describe('rotate_days', () => {
  it('must be a number of days', async () => {
    const service = await start()
    const ask = (days: unknown) =>
      service.ask('POST', '/v1/kms/keys', { body: { ...KEY, policy_hints: { rotate_days: days } } })
    for (const days of [0, 3651, 'often', true])
      expectProblem(await ask(days), 400, 'BadRequest', 'policy_hints.rotate_days')
    expect((await ask(30)).status).toBe(200)
    await service.close()
  })
})

describe('whole numbers', () => {
  it('may be written as JSON allows', async () => {
    const service = await start()
    const kid = (await create(service)).split('#')[0]
    const rotate = (text: string) =>
      service.ask('POST', `/v1/kms/keys/${kid}/rotate`, { body: `{"activate_after_ms":${text}}` })
    expect((await rotate('0.0')).status).toBe(200)
    expect((await rotate('0e5')).status).toBe(200)
    for (const text of ['0.5', '-1', '1e17', '"0"', 'null'])
      expectProblem(await rotate(text), 400, 'BadRequest', 'activate_after_ms')
    await service.close()
  })
})
