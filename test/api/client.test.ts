import { Hono } from 'hono'
import { Kms, type KmsError } from 'ron-kms'
import { KmsClient, KmsClientError, type RequestOf, type ResponseOf } from 'ron-kms/client'
import { createKmsApp, unauthenticated } from 'ron-kms/http'
import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from 'vitest'
import { document } from '../support/contract.js'

const HELLO_B3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24'

let kms: Kms
let app: Hono
let client: KmsClient

/** A client whose requests go to the app without a socket. */
const clientOf = (token: string, fetching?: typeof fetch) =>
  new KmsClient({
    baseUrl: 'http://kms.test/keys-of-mine/',
    token,
    fetch: fetching ?? ((async (url: string, init: RequestInit) => app.request(url, init)) as typeof fetch),
  })

beforeAll(async () => {
  kms = await Kms.open({ backend: 'inmem' })
  app = new Hono()
  app.get('/mine', c => c.text('mine'))
  const own = createKmsApp({
    kms,
    authenticate: ({ header }) => {
      if (header('authorization') !== 'Bearer good') throw unauthenticated()
      return { actor: 'me', tenant: 'core' }
    },
  })
  app.mount('/keys-of-mine', own.fetch)
  client = clientOf('good')
})
afterAll(() => kms.close())

describe('the app in an app of somebody else', () => {
  it('answers below its path, and leaves the rest alone', async () => {
    expect(await (await app.request('/mine')).text()).toBe('mine')
    const served = await app.request('/keys-of-mine/openapi.json')
    expect(Object.keys(((await served.json()) as { paths: object }).paths)).toEqual(
      Object.keys(document.paths),
    )
    expect((await app.request('/v1/kms/keys', { method: 'POST' })).status).toBe(404)
  })

  it('keeps its own errors there', async () => {
    const missing = await app.request('/keys-of-mine/v1/kms/nope')
    expect(missing.status).toBe(404)
    expect(((await missing.json()) as { error: { code: string } }).error.code).toBe('NotFound')
    const wrong = await app.request('/keys-of-mine/v1/kms/sign')
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST'])
    const stranger = await app.request('/keys-of-mine/v1/kms/sign', { method: 'POST' })
    expect([stranger.status, stranger.headers.get('www-authenticate')]).toEqual([
      401,
      'Bearer realm="ron-kms"',
    ])
  })
})

describe('the client', () => {
  it('does what the API does', async () => {
    const { kid } = await client.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
    const signed = await client.sign({ kid_or_set: { kid }, payload_b3: HELLO_B3 })
    const verdict = await client.verify({ kid, payload_b3: HELLO_B3, sigs: signed.sigs })
    expect(verdict).toEqual({ ok: true, details: { checked: ['ed25519'], satisfied_mode: 'and' } })
    const rotated = await client.rotateKey(kid)
    expect(rotated.previous).toBe(kid)
    expect((await client.describeKey(rotated.kid)).versions).toEqual(['#v1', '#v2'])
    expect((await client.attestKey(kid)).class).toBe('software-memory')
    expect((await client.deriveKey(kid.split('#')[0] ?? '', { context: 'mail' })).public.alg).toBe('ed25519')
    expect((await client.disableKey(kid)).state).toBe('disabled')
    expect((await client.enableKey(kid)).state).toBe('enabled')
    expect((await client.destroyKey(kid)).state).toBe('destroy_scheduled')
    expect((await client.cancelDestroy(kid)).state).toBe('disabled')
    const batch = await client.signBatch([
      { kid_or_set: { kid: rotated.kid }, payload_b3: HELLO_B3, reference: 'a' },
      { kid_or_set: { kid }, payload_b3: HELLO_B3, reference: 'b' },
    ])
    expect(batch.map(item => [item.reference, item.error?.code])).toEqual([
      ['a', undefined],
      ['b', 'Conflict'],
    ])
    const sigs = batch[0]?.sigs ?? []
    const verdicts = await client.verifyBatch([{ kid: rotated.kid, payload_b3: HELLO_B3, sigs }])
    expect(verdicts.map(item => item.ok)).toEqual([true])
  })

  it('wraps and unwraps', async () => {
    const { kid } = await client.createKey({ tenant: 'core', purpose: 'kem', alg: 'hybrid' })
    const wrapped = await client.wrap({ kid, size: 32, return_plaintext: true })
    const again = await client.rewrap({ kid, wrapped_b64: wrapped.wrapped_b64 })
    const opened = await client.unwrap({ kid, wrapped_b64: again.wrapped_b64 })
    expect(opened.plaintext_key_b64).toBe(wrapped.plaintext_key_b64)
  })

  it('rejects with what the service answered', async () => {
    const kid = 'core/audit/ed25519/0b2e7c1e-2f4b-4c8e-9a51-6f3d2a7b8c90#v1'
    const error = await client.describeKey(kid).catch(caught => caught)
    expect(error).toBeInstanceOf(KmsClientError)
    expect(error).toMatchObject({ code: 'NotFound', status: 404, retryable: false, field: 'kid' })
    expect(error.requestId).toMatch(/^r-/)
    const stranger = await clientOf('bad')
      .describeKey(kid)
      .catch(caught => caught)
    expect(stranger).toMatchObject({ code: 'NoCapability', status: 401 })
    await expect(client.auditCheckpoint()).rejects.toMatchObject({ code: 'NotFound' })
  })

  it('tells a service that is not there from one that is slow, and from one that is another', async () => {
    const gone = clientOf('good', () => Promise.reject(new TypeError('fetch failed')))
    await expect(gone.auditCheckpoint()).rejects.toMatchObject({ code: 'StoreUnavailable', retryable: true })
    const slow = new KmsClient({
      baseUrl: 'http://kms.test',
      token: async () => 'good',
      timeoutMs: 10,
      fetch: ((_url: string, { signal }: RequestInit) =>
        new Promise((_, reject) =>
          signal?.addEventListener('abort', () => reject(signal.reason)),
        )) as typeof fetch,
    })
    await expect(slow.auditCheckpoint()).rejects.toMatchObject({ code: 'Timeout', retryable: true })
    const proxy = clientOf('good', async () => new Response('<html>', { status: 502 }))
    await expect(proxy.auditCheckpoint()).rejects.toMatchObject({
      code: 'Internal',
      status: 502,
      retryable: true,
    })
    const odd = clientOf('good', async () => new Response('<html>', { status: 200 }))
    await expect(odd.auditProof(0)).rejects.toMatchObject({ code: 'Internal' })
  })

  it('ends with its caller’s signal', async () => {
    const signal = AbortSignal.abort(new Error('enough'))
    const waiting = clientOf('good', async (_url, init) => {
      init?.signal?.throwIfAborted()
      return new Response('')
    })
    await expect(waiting.auditCheckpoint({ signal })).rejects.toThrow('enough')
  })

  it('has the types of the document', () => {
    expectTypeOf<ResponseOf<'sign'>['sigs'][number]['signature_b64']>().toEqualTypeOf<string>()
    expectTypeOf<ResponseOf<'verify'>['ok']>().toEqualTypeOf<boolean>()
    expectTypeOf<RequestOf<'create'>['signs']>().toEqualTypeOf<'digest' | 'message' | undefined>()
    expectTypeOf<RequestOf<'destroy'>['delay_ms']>().toEqualTypeOf<number | undefined>()
    expectTypeOf<KmsClientError>().toExtend<KmsError>()
    // @ts-expect-error the tenant is missing
    const missing: RequestOf<'create'> = { purpose: 'audit', alg: 'ed25519' }
    // @ts-expect-error there is no such algorithm
    const wrong: RequestOf<'create'> = { tenant: 'core', purpose: 'audit', alg: 'rsa' }
    expect([missing, wrong]).toHaveLength(2)
  })
})
