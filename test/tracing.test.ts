import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Tracer } from '../src/tracing/tracer.js'
import { HELLO_B3, type Service, start } from './server/support.js'

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
const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'

// biome-ignore lint/suspicious/noExplicitAny: OTLP
const spansOf = (body: string): any[] => JSON.parse(body).resourceSpans[0].scopeSpans[0].spans

function collecting(status = 200, options: { readonly attributes?: Record<string, string> } = {}) {
  const bodies: { url: string; body: string }[] = []
  const fetching = (async (url: string, { body }: RequestInit) => {
    bodies.push({ url, body: String(body) })
    return new Response('{}', { status })
  }) as typeof fetch
  const tracer = new Tracer({
    endpoint: 'http://collector.test:4318/',
    version: '1',
    attributes: options.attributes ?? {},
    fetch: fetching,
  })
  return { tracer, bodies, spans: () => bodies.flatMap(({ body }) => spansOf(body)) }
}

describe('the tracer', () => {
  it('makes a span of the request and one of the operation below it', async () => {
    const { tracer, bodies, spans } = collecting(200, { attributes: { backend: 'inmem' } })
    tracer.request(REQUEST, performance.now() - 1, undefined)
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
      attributes: {},
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
  const bodies: string[] = []
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
  let service: Service
  beforeAll(async () => {
    await new Promise<void>(resolve => collector.listen(0, '127.0.0.1', resolve))
    const { port } = collector.address() as AddressInfo
    service = await start({ 'otel.endpoint': `http://127.0.0.1:${port}` })
  })
  afterAll(() => {
    collector.close()
  })

  it('sends spans of what it answered, with ids and no kid, and the rest when it ends', async () => {
    const key = await service.ask('POST', '/v1/kms/keys', {
      body: { tenant: 'core', purpose: 'p', alg: 'ed25519' },
    })
    const { kid } = key.json
    const body = { kid_or_set: { kid }, payload_b3: HELLO_B3 }
    const headers = { traceparent: `00-${TRACE}-${PARENT}-01` }
    const signed = await service.ask('POST', '/v1/kms/sign', { body, headers })
    await service.ask('POST', '/v1/kms/sign', { body, anonymous: true })
    await service.close()
    const spans = bodies.flatMap(spansOf)
    expect(spans.map(({ name }) => name)).toEqual([
      'svc.kms.http',
      'svc.kms.create',
      'svc.kms.http',
      'svc.kms.sign',
      'svc.kms.http',
    ])
    const traced = spans.filter(({ traceId }) => traceId === TRACE)
    expect(traced).toHaveLength(2)
    const corr = { key: 'corr_id', value: { stringValue: signed.headers['x-corr-id'] } }
    for (const { attributes } of traced) expect(attributes).toContainEqual(corr)
    expect(bodies.join('')).not.toContain(kid)
    expect(spans.at(-1).status).toEqual({ code: 2, message: 'NoCapability' })
  })
})
