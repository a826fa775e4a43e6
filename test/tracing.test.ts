import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Kms } from '../src/kms.js'
import { Tracer } from '../src/tracing/tracer.js'
import type { Custody } from '../src/tracing/work-spans.js'
import { HELLO_B3, type Service, start, TOKEN } from './server/support.js'
import { part } from './support/parts.js'
import { softToken, useToken } from './support/softhsm.js'

const softhsm = part('softhsm')

const REQUEST = {
  requestId: 'r-1',
  corrId: '0b2e7c1e-2f4b-4c8e-9a51-6f3d2a7b8c90',
  tenant: 'core',
  route: '/v1/kms/sign',
  method: 'POST',
  op: 'sign',
  kidHash: undefined,
  latencyMs: 2,
  traceparent: undefined,
}
const WISH = { tenant: 'core', purpose: 'p', alg: 'ed25519' }
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'

// biome-ignore lint/suspicious/noExplicitAny: OTLP
type AnySpan = any
const tookMs = (span: AnySpan) => Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6
const attributeOf = ({ attributes }: AnySpan, wanted: string) =>
  attributes.find(({ key }: { key: string }) => key === wanted)?.value
// biome-ignore lint/suspicious/noExplicitAny: OTLP
const spansOf = (body: string): any[] => JSON.parse(body).resourceSpans[0].scopeSpans[0].spans

function collecting(status = 200, custody: Custody = { backend: 'inmem' }) {
  const bodies: { url: string; body: string }[] = []
  const fetching = (async (url: string, { body }: RequestInit) => {
    bodies.push({ url, body: String(body) })
    return new Response('{}', { status })
  }) as typeof fetch
  const tracer = new Tracer({
    endpoint: 'http://collector.test:4318/',
    version: '1',
    ...custody,
    fetch: fetching,
  })
  return { tracer, bodies, spans: () => bodies.flatMap(({ body }) => spansOf(body)) }
}

describe('the tracer', () => {
  it('makes a span of the request and one of the operation below it', async () => {
    const { tracer, bodies, spans } = collecting()
    tracer.request(REQUEST, { dispatched: performance.now() - 1 }, undefined)
    await tracer.stop()
    expect(bodies[0]?.url).toBe('http://collector.test:4318/v1/traces')
    const [root, below] = spans()
    expect([root.name, root.kind, below.name, below.kind]).toEqual(['svc.kms.http', 2, 'svc.kms.sign', 1])
    expect(root.parentSpanId).toBeUndefined()
    expect([below.traceId, below.parentSpanId]).toEqual([root.traceId, root.spanId])
    expect(root.traceId).toMatch(/^[0-9a-f]{32}$/)
    expect(BigInt(root.startTimeUnixNano)).toBeLessThanOrEqual(BigInt(below.startTimeUnixNano))
    expect(BigInt(below.startTimeUnixNano)).toBeLessThanOrEqual(BigInt(root.endTimeUnixNano))
    const keys = root.attributes.map(({ key }: { key: string }) => key)
    expect(keys).toEqual([
      'backend',
      'corr_id',
      'request_id',
      'route',
      'http.request.method',
      'tenant',
      'result',
    ])
    expect(tracer.status()).toEqual({ sent: 2, dropped: 0, failed: 0 })
  })

  it('has the backend below the operation from the moment that it began to work, and says how long that waited', async () => {
    const { tracer, spans } = collecting(200, { backend: 'file', waits: true })
    const now = performance.now()
    const times = { dispatched: now - 8, began: now - 5, ended: now - 3, settled: now - 1 }
    tracer.request({ ...REQUEST, latencyMs: 9 }, times, undefined)
    await tracer.stop()
    const [http, sign, backend, append] = spans()
    expect([sign, backend, append].map(({ name }) => name)).toEqual([
      'svc.kms.sign',
      'backend.file.sign',
      'svc.kms.audit.append',
    ])
    expect([sign, backend, append].map(({ parentSpanId }) => parentSpanId)).toEqual([
      http.spanId,
      sign.spanId,
      sign.spanId,
    ])
    expect([backend, append].map(tookMs)).toEqual([2, 2].map(ms => expect.closeTo(ms, 2)))
    expect(attributeOf(sign, 'queue_ms')).toEqual({ doubleValue: expect.closeTo(3, 5) })
    expect(attributeOf(backend, 'corr_id')).toEqual({ stringValue: REQUEST.corrId })
  })

  it('has the time of a token apart from the work around it, and names the store where no token was asked', async () => {
    const { tracer, spans } = collecting(200, { backend: 'pkcs11' })
    const now = performance.now()
    const asked = { dispatched: now - 8, asked: now - 7, made: now - 3, began: now - 2, ended: now - 1 }
    const request = { ...REQUEST, latencyMs: 9 }
    tracer.request(request, asked, undefined)
    tracer.request(request, { dispatched: now - 8, began: now - 2, ended: now - 1 }, undefined)
    tracer.request({ ...request, op: 'rotate' }, { dispatched: now - 8, began: now - 2 }, 'StoreUnavailable')
    await tracer.stop()
    const backends = spans().filter(({ name }) => name.startsWith('backend.'))
    expect(backends.map(({ name }) => name)).toEqual([
      'backend.pkcs11.sign',
      'backend.file.sign',
      'backend.pkcs11.rotate',
    ])
    expect(backends.map(span => attributeOf(span, 'backend')?.stringValue)).toEqual([
      'pkcs11',
      'file',
      'pkcs11',
    ])
    expect(backends.map(({ kind }) => kind)).toEqual([3, 1, 1])
    expect(tookMs(backends[0])).toBeCloseTo(4, 2)
    expect(backends[2].status).toEqual({ code: 2, message: 'StoreUnavailable' })
  })

  it('has no backend below what only reads public halves, nor below work that did not begin', async () => {
    const { tracer, spans } = collecting()
    const now = performance.now()
    tracer.request({ ...REQUEST, op: 'verify' }, { dispatched: now, began: now, ended: now }, undefined)
    tracer.request(REQUEST, { dispatched: now }, 'Timeout')
    await tracer.stop()
    expect(spans().filter(({ name }) => name.startsWith('backend.'))).toEqual([])
  })

  it('joins the trace that a request is of, and keeps out of one that is not kept', async () => {
    const { tracer, spans } = collecting()
    tracer.request({ ...REQUEST, traceparent: `00-${TRACE}-${PARENT}-01` }, undefined, undefined)
    tracer.request({ ...REQUEST, traceparent: `00-${TRACE}-${PARENT}-00` }, undefined, undefined)
    tracer.request({ ...REQUEST, traceparent: `00-${'0'.repeat(32)}-${PARENT}-01` }, undefined, undefined)
    tracer.request({ ...REQUEST, traceparent: 'nonsense' }, undefined, 'NotFound')
    await tracer.stop()
    const [known, zero, nonsense, ...more] = spans()
    expect([known.traceId, known.parentSpanId]).toEqual([TRACE, PARENT])
    expect([zero.parentSpanId, nonsense.parentSpanId, more.length]).toEqual([undefined, undefined, 0])
    expect(nonsense.status).toEqual({ code: 2, message: 'NotFound' })
  })

  it('drops what it has no room for, and loses no more than a list to a receiver that is gone', async () => {
    const { tracer, bodies } = collecting(503)
    for (let i = 0; i < 5000; i += 1) tracer.request(REQUEST, undefined, undefined)
    expect(tracer.status().dropped).toBe(5000 - 4096)
    await tracer.stop()
    expect(bodies).toHaveLength(1)
    expect(tracer.status()).toEqual({ sent: 0, dropped: 904, failed: 512 })
  })

  it('is not held up by a receiver that does not answer', async () => {
    const tracer = new Tracer({
      endpoint: 'http://collector.test',
      version: '1',
      backend: 'inmem',
      fetch: ((_url: string, { signal }: RequestInit) =>
        new Promise((_, reject) =>
          signal?.addEventListener('abort', () => reject(signal.reason)),
        )) as typeof fetch,
    })
    tracer.request(REQUEST, undefined, undefined)
    await tracer.stop()
    expect(tracer.status().failed).toBe(1)
  })
})

describe('a service with otel.endpoint', () => {
  let bodies: string[]
  let endpoint: string
  const collector = createServer((incoming, outgoing) => {
    let body = ''
    incoming.on('data', chunk => {
      body += chunk
    })
    incoming.on('end', () => {
      bodies.push(body)
      outgoing.end('{}')
    })
  })
  const dir = mkdtempSync(join(tmpdir(), 'ron-kms-traced-'))
  beforeAll(async () => {
    await new Promise<void>(resolve => collector.listen(0, '127.0.0.1', resolve))
    endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`
  })
  beforeEach(() => {
    bodies = []
  })
  afterAll(() => {
    collector.close()
    rmSync(dir, { recursive: true })
  })
  const spans = () => bodies.flatMap(spansOf)

  it('sends spans of what it answered, with ids and no kid, and the rest when it ends', async () => {
    const service = await start({ 'otel.endpoint': endpoint })
    const key = await service.ask('POST', '/v1/kms/keys', { body: WISH })
    const { kid } = key.json
    const body = { kid_or_set: { kid }, payload_b3: HELLO_B3 }
    const headers = { traceparent: `00-${TRACE}-${PARENT}-01` }
    const signed = await service.ask('POST', '/v1/kms/sign', { body, headers })
    await service.ask('POST', '/v1/kms/sign', { body, anonymous: true })
    await service.close()
    expect(spans().map(({ name }) => name)).toEqual([
      'svc.kms.http',
      'svc.kms.create',
      'backend.inmem.create',
      'svc.kms.http',
      'svc.kms.sign',
      'backend.inmem.sign',
      'svc.kms.http',
    ])
    const traced = spans().filter(({ traceId }) => traceId === TRACE)
    expect(traced).toHaveLength(3)
    expect(traced[2].parentSpanId).toBe(traced[1].spanId)
    for (const span of traced)
      expect(attributeOf(span, 'corr_id')).toEqual({ stringValue: signed.headers['x-corr-id'] })
    expect(bodies.join('')).not.toContain(kid)
    expect(bodies.join('')).not.toContain(TOKEN)
    expect(spans().at(-1).status).toEqual({ code: 2, message: 'NoCapability' })
  })

  it.skipIf(process.platform === 'win32')(
    'shows the wait for the disk behind the work of a thread, where the audit log is waited for',
    async () => {
      const own = await Kms.open({
        backend: 'file',
        store: { dir: join(dir, 'store'), anchor: join(dir, 'anchor'), rootKey: rootKey(), create: true },
        audit: {
          log: 'ron-kms/test',
          dir: join(dir, 'audit'),
          durability: 'fsync',
        },
      })
      const settings = { 'audit.durability': 'fsync', 'root_key.file': rootKey().file } as const
      const named = { ...settings, 'service.backend': 'file', 'otel.endpoint': endpoint }
      const service = await start(named, undefined, own)
      await signOnce(service)
      await service.close()
      expectTree(spans().slice(-4), ['backend.file.sign', 'svc.kms.audit.append'])
    },
  )

  it.skipIf(!softhsm.available)('shows how long a token took', async () => {
    const token = softToken(dir)
    useToken(token)
    const store = { dir: join(dir, 'token-store'), create: true }
    const own = await Kms.open({ backend: 'pkcs11', pkcs11: token.options, store })
    const { modulePath, slotLabel, pinEnv } = token.options
    const settings = {
      'service.backend': 'pkcs11',
      'backends.pkcs11.module_path': modulePath,
      'backends.pkcs11.slot_label': slotLabel,
      'backends.pkcs11.pin_env': pinEnv,
      'otel.endpoint': endpoint,
    }
    const service = await start(settings, undefined, own)
    await signOnce(service)
    await service.close()
    expectTree(spans().slice(-3), ['backend.pkcs11.sign'])
    expect(spans().at(-1).kind).toBe(3)
  })

  function rootKey() {
    const file = join(dir, 'root.key')
    writeFileSync(file, new Uint8Array(32))
    return { kind: 'key-file', file } as const
  }
})

async function signOnce(service: Service) {
  const key = await service.ask('POST', '/v1/kms/keys', { body: WISH })
  const body = { kid_or_set: { kid: key.json.kid }, payload_b3: HELLO_B3 }
  expect((await service.ask('POST', '/v1/kms/sign', { body })).status).toBe(200)
}

/** A request, its signing, and below that spans of these names, one after the other and inside of it. */
function expectTree([http, sign, ...below]: AnySpan[], names: string[]) {
  expect([http.name, sign.name, sign.parentSpanId]).toEqual(['svc.kms.http', 'svc.kms.sign', http.spanId])
  expect(below.map(({ name }) => name)).toEqual(names)
  expect(attributeOf(sign, 'queue_ms').doubleValue).toBeGreaterThanOrEqual(0)
  let after = BigInt(sign.startTimeUnixNano)
  for (const { parentSpanId, startTimeUnixNano, endTimeUnixNano } of below) {
    expect(parentSpanId).toBe(sign.spanId)
    expect(BigInt(startTimeUnixNano)).toBeGreaterThanOrEqual(after)
    after = BigInt(endTimeUnixNano)
    expect(after).toBeGreaterThan(BigInt(startTimeUnixNano))
  }
  expect(BigInt(sign.endTimeUnixNano)).toBeGreaterThanOrEqual(after)
}
