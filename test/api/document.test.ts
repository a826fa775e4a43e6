import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openApiDocument } from '../../src/api/document.js'
import { OPERATIONS } from '../../src/api/operations.js'
import { referencePage } from '../../src/api/reference.js'
import { documentEndpoints } from '../../src/server/routes/documents.js'
import { type Service, start } from '../server/support.js'
import { document, faultsOf } from '../support/contract.js'

let service: Service
beforeAll(async () => {
  service = await start()
})
afterAll(() => service.close())

const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  // biome-ignore lint/suspicious/noExplicitAny: an operation of OpenAPI
  Object.entries(methods as any).flatMap(([method, operation]: any) =>
    method.startsWith('x-') ? [] : [{ path, method, ...operation }],
  ),
)

describe('the OpenAPI document', () => {
  it('is the committed one', () => {
    const committed = readFileSync(new URL('../../docs/openapi/ron-kms.json', import.meta.url), 'utf8')
    // The version of the package moves at a release only, and with it the file.
    expect(JSON.parse(committed)).toEqual(JSON.parse(JSON.stringify(document)))
  })

  it('has every operation once, by a name of its own', () => {
    const ids = operations.map(({ operationId }) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { id } of Object.values(OPERATIONS)) expect(ids).toContain(id)
  })

  it('refers to nothing that is not there, and has nothing that nobody refers to', () => {
    const text = JSON.stringify(document)
    const used = new Set(
      [...text.matchAll(/"#\/components\/(\w+)\/(\w+)"/g)].map(([, kind, name]) => `${kind}/${name}`),
    )
    const there = ['schemas', 'responses', 'headers', 'parameters'].flatMap(kind =>
      Object.keys(document.components[kind]).map(name => `${kind}/${name}`),
    )
    expect([...used].sort()).toEqual(there.sort())
  })

  it('is what the routes are: each is served, and says so to whoever has no token', async () => {
    for (const { path, method, security } of operations) {
      const real = path
        .replace('{tenant}/{purpose}/{alg}/{uuid}', 'core/audit/ed25519/0b2e7c1e-2f4b-4c8e-9a51-6f3d2a7b8c90')
        .replace('{seq}', '0')
      const answer = await service.ask(method.toUpperCase(), real, { anonymous: true })
      expect(answer.status, `${method} ${path}`).toBe(security ? 200 : 401)
    }
  })

  it('knows requests from what is none', () => {
    const fits = (name: string, value: unknown) =>
      faultsOf({ $ref: `#/components/schemas/${name}` }, value).length === 0
    const kid = 'core/audit/ed25519/0b2e7c1e-2f4b-4c8e-9a51-6f3d2a7b8c90#v1'
    const payload_b3 = 'a'.repeat(64)
    expect(fits('SignRequest', { kid_or_set: { kid }, payload_b3 })).toBe(true)
    expect(fits('SignRequest', { kid_or_set: { kid }, payload_b3, message_b64: '' })).toBe(false)
    expect(fits('SignRequest', { kid_or_set: { kid } })).toBe(false)
    expect(fits('SignRequest', { kid_or_set: {}, payload_b3 })).toBe(false)
    expect(fits('CreateKeyRequest', { tenant: 'Ron-KMS', purpose: 'p', alg: 'ed25519' })).toBe(false)
    expect(fits('CreateKeyRequest', { tenant: 'core', purpose: 'p', alg: 'ed25519', more: 1 })).toBe(false)
    for (const [text, good] of [
      ['', true],
      ['AA==', true],
      ['AB==', false],
      ['AAA=', true],
      ['AAB=', false],
      ['AAAA\n', false],
      ['AA', false],
      ['A-_=', false],
    ] as const) {
      expect(fits('Signature', { alg: 'ed25519', signature_b64: text }), text).toBe(good)
    }
  })

  it('names only the algorithms that a service makes keys of', () => {
    const { components } = openApiDocument([], {
      version: '0',
      families: ['ed25519', 'ml-kem'],
    }) as never as {
      components: { schemas: { NewAlgorithm: { enum: string[] } } }
    }
    expect(components.schemas.NewAlgorithm.enum).toEqual(['ed25519', 'ml-kem', 'ml-kem-512', 'ml-kem-1024'])
  })

  it('says how long a capability may live: as the setting of the service has it, 30 days otherwise', async () => {
    const longest = ({ components }: typeof document) =>
      components.schemas.MintCapabilityRequest.properties.ttl_s.maximum
    expect(longest(document)).toBe(30 * 86_400)
    const { json } = await service.ask('GET', '/openapi.json', { anonymous: true })
    expect(longest(json)).toBe(86_400)
  })
})

describe('the reference page', () => {
  it('needs nothing but itself, and no script', async () => {
    const { status, text, headers } = await service.ask('GET', '/reference', { anonymous: true })
    expect(status).toBe(200)
    expect(headers['content-security-policy']).toMatch(/^default-src 'none'; style-src 'sha256-/)
    expect(text).not.toMatch(/<script|src=|https?:\/\/|@import|url\(/)
    for (const { operationId } of operations) expect(text).toContain(`id="${operationId}"`)
    for (const name of Object.keys(document.components.schemas)) expect(text).toContain(`id="schema-${name}"`)
  })

  it('links only to what is on it', () => {
    const page = documentEndpoints().find(({ path }) => path === '/reference')?.text ?? ''
    const targets = [...page.matchAll(/href="#([^"]+)"/g)].map(([, target]) => target)
    for (const target of new Set(targets)) expect(page).toContain(`id="${target}"`)
  })

  it('shows markup of the document as text', () => {
    const info = { title: '<b>&"', version: '0', description: '`<i>`' }
    const page = referencePage({ info, paths: {}, components: { schemas: {} }, tags: [] })
    expect(page).toContain('&lt;b>&amp;&quot;')
    expect(page).toContain('<code>&lt;i></code>')
  })
})
