import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { KmsError } from '../../src/errors.js'
import type { AuditStatus } from '../../src/kms.js'
import { createLog } from '../../src/logging/log.js'
import { CATALOG, REJECT_REASONS } from '../../src/metrics/catalog.js'
import { HttpMetrics } from '../../src/metrics/http.js'
import { createRegistry, type MetricSources } from '../../src/metrics/registry.js'
import { requireNative } from '../../src/native.js'
import { FairQueue, QUEUE_LIMITS } from '../../src/server/fair-queue.js'
import { createOpsApp } from '../../src/server/ops.js'
import { createReadiness, type ReadyKey } from '../../src/server/ready.js'
import { part } from '../support/parts.js'
import { expectProblem, HELLO_B3, type Service, start } from './support.js'

const SERVING: MetricSources['serving'] = {
  http: new HttpMetrics(),
  queue: new FairQueue(QUEUE_LIMITS),
  spans: () => ({ sent: 3, dropped: 2, failed: 1 }),
  threads: () => ({ serving: 1, failed: 0 }),
  measure: async () => [],
}

let service: Service
beforeAll(async () => {
  service = await start()
})
afterAll(() => service.close())

describe('/healthz, /readyz and /version', () => {
  it('answer without a token', async () => {
    expect((await service.ops('GET', '/healthz')).json).toEqual({ status: 'ok' })
    expect((await service.ops('GET', '/readyz')).json).toEqual({
      ready: true,
      missing: [],
      degraded: [],
      snapshot: { backend: 'inmem', amnesia: true },
      secret_memory: {
        locked_bytes: expect.any(Number),
        unlocked_bytes: expect.any(Number),
        dontdump: expect.any(Boolean),
        wipeonfork: expect.any(Boolean),
        refused: expect.any(Array),
      },
      audit: { kind: 'off', size: 0, checkpoint_size: 0 },
    })
    const { json } = await service.ops('GET', '/version')
    expect(json).toMatchObject({ name: 'ron-kms', node: process.version, cpu_tier: 'test', addon: true })
    expect(json.version).toMatch(/^\d+\.\d+\.\d+/)
  })

  it('carry ids and are not cached', async () => {
    const { headers } = await service.ops('GET', '/healthz')
    expect(headers['x-request-id']).toMatch(/^r-/)
    expect(headers['x-corr-id']).toMatch(/^[0-9a-f-]{36}$/)
    expect(headers['cache-control']).toBe('no-store')
  })

  it('have a HEAD', async () => {
    expect(await service.ops('HEAD', '/readyz')).toMatchObject({ status: 200, text: '' })
  })
})

describe('the metrics address', () => {
  it('answers 404 and 405 with the envelope', async () => {
    expectProblem(await service.ops('GET', '/nope'), 404, 'NotFound')
    expectProblem(await service.ops('GET', '/v1/kms/keys'), 404, 'NotFound')
    const answer = await service.ops('POST', '/metrics')
    expectProblem(answer, 405, 'Unsupported')
    expect(answer.headers.allow).toBe('GET, HEAD')
  })
})

const NO_AUDIT: AuditStatus = {
  kind: 'off',
  size: 0,
  checkpointSize: 0,
  writable: false,
  droppedVerifications: 0,
  refusedRecords: 0,
  checkpointsMade: 0,
  checkpointsFailed: 0,
  droppedBytes: 0,
  overridden: [],
}

describe('/readyz', () => {
  const state: Record<ReadyKey, boolean> = {
    config_loaded: true,
    listener_bound: true,
    backend_ready: true,
    attestation_ready: true,
    audit_ready: true,
    checkpoint_recent: true,
    rng_ok: true,
    clock_ok: true,
    verify_cache_ok: true,
  }
  const lines: Record<string, unknown>[] = []
  const log = createLog({ level: 'info', format: 'json', write: line => lines.push(JSON.parse(line)) })
  const checks = {
    config_loaded: () => state.config_loaded,
    listener_bound: () => state.listener_bound,
    backend_ready: () => state.backend_ready,
    attestation_ready: () => state.attestation_ready,
    verify_cache_ok: () => state.verify_cache_ok,
    audit_ready: () => state.audit_ready,
    checkpoint_recent: () => state.checkpoint_recent,
    rng_ok: () => {
      if (!state.rng_ok) throw new Error('no entropy')
      return true
    },
    clock_ok: () => state.clock_ok,
  }
  const app = createOpsApp({
    registry: createRegistry({
      tables: () => requireNative().ed25519TableStats(),
      secretMemory: () => requireNative().secretMemory(),
      audit: () => NO_AUDIT,
      auditDuties: () => ({ exported: undefined, witnesses: [] }),
      token: () => undefined,
      engine: () => {
        throw new KmsError('StoreUnavailable', 'closed')
      },
      serving: SERVING,
      certificateUntil: () => undefined,
      version: '0',
      pq: () => ({}),
      readiness: () => ({ ready: true, missing: [], degraded: ['clock_ok'] }),
      clockDriftSeconds: () => -7,
      backend: 'inmem',
      cpuTier: 'test',
    }),
    readiness: createReadiness(checks, log),
    version: { name: 'ron-kms', version: '0', node: '', platform: '', cpu_tier: '', addon: false },
    snapshot: {},
    secretMemory: () => requireNative().secretMemory(),
    audit: () => NO_AUDIT,
    token: () => undefined,
    log,
  })
  const ask = async () => {
    const response = await app.request('/readyz')
    return { status: response.status, headers: response.headers, json: await response.json() }
  }

  it('names what is missing, with Retry-After and the envelope, and logs each change once', async () => {
    expect((await ask()).status).toBe(200)
    state.backend_ready = false
    state.rng_ok = false
    for (let i = 0; i < 2; i += 1) {
      const { status, headers, json } = await ask()
      expect(status).toBe(503)
      expect(headers.get('retry-after')).toBe('1')
      expect(json).toMatchObject({
        ready: false,
        missing: ['backend_ready', 'rng_ok'],
        degraded: [],
        retry_after: 1,
        error: { code: 'StoreUnavailable', retryable: true, retry_after_ms: 1000 },
      })
    }
    state.backend_ready = true
    state.rng_ok = true
    expect((await ask()).status).toBe(200)
    expect(lines.map(({ event, missing }) => [event, missing])).toEqual([
      ['readyz_true', undefined],
      ['readyz_false', ['backend_ready', 'rng_ok']],
      ['readyz_true', undefined],
    ])
  })

  it('does not depend on metrics, which answer Internal when the engine is gone', async () => {
    const response = await app.request('/metrics')
    expect(response.status).toBe(500)
    expect(await response.json()).toMatchObject({ error: { code: 'Internal', message: 'internal error' } })
    expect(lines.at(-1)).toMatchObject({ level: 'ERROR', event: 'unexpected', error_name: 'KmsError' })
  })
})

describe('/metrics', () => {
  const scrape = async () => (await service.ops('GET', '/metrics')).text

  it('has every row of the catalogue once', async () => {
    const text = await scrape()
    for (const { name, type, help } of CATALOG) {
      expect(text.split(`# HELP ${name} ${help}\n`)).toHaveLength(2)
      expect(text.split(`# TYPE ${name} ${type}\n`)).toHaveLength(2)
    }
    expect(text.match(/^# TYPE /gm)).toHaveLength(new Set(text.match(/^# TYPE \S+/gm)).size)
  })

  it('has the metrics of the process', async () => {
    const text = await scrape()
    for (const name of [
      'process_resident_memory_bytes',
      'process_cpu_seconds_total',
      'nodejs_eventloop_lag_p99_seconds',
    ]) {
      expect(text).toContain(`\n${name} `)
    }
  })

  it('has only the labels that the catalogue names', async () => {
    const text = await scrape()
    for (const { name, labels } of CATALOG) {
      const allowed: readonly string[] = [...labels, 'le']
      for (const [, used = ''] of text.matchAll(
        new RegExp(`^${name}(?:_bucket|_sum|_count)?\\{([^}]*)\\}`, 'gm'),
      )) {
        for (const [, label] of used.matchAll(/([a-z_]+)="/g)) expect(allowed).toContain(label)
      }
    }
  })

  it('counts a request where it belongs', async () => {
    const body = { tenant: 'acme', purpose: 'metrics', alg: 'ed25519' }
    const series: [string, Record<string, string>, number][] = [
      ['http_requests_total', { route: '/v1/kms/keys', method: 'POST', status: '200' }, 1],
      ['request_latency_seconds_count', { route: '/v1/kms/keys', method: 'POST' }, 1],
      ['request_latency_seconds_bucket', { route: '/v1/kms/keys', le: '+Inf' }, 1],
      ['kms_ops_total', { op: 'create', alg: 'ed25519', result: 'ok' }, 1],
      ['kms_latency_seconds_count', { op: 'create', alg: 'ed25519' }, 1],
      ['kms_keys', { alg: 'ed25519' }, 1],
      ['inflight_requests', { route: '/v1/kms/keys' }, 0],
      ['kms_build_info', { cpu_tier: 'test' }, 0],
    ]
    const read = () => Promise.all(series.map(([name, labels]) => service.metric(name, labels)))
    const before = await read()
    await service.ask('POST', '/v1/kms/keys', { body })
    const after = await read()
    expect(after.map((value, i) => value - (before[i] ?? 0))).toEqual(series.map(([, , grows]) => grows))
    expect(await service.metric('kms_build_info')).toBe(1)
  })

  it('counts the items of a batch', async () => {
    const { json } = await service.ask('POST', '/v1/kms/keys', {
      body: { tenant: 'acme', purpose: 'batch', alg: 'ed25519' },
    })
    const item = { kid_or_set: { kid: json.kid }, payload_b3: HELLO_B3 }
    const before = await service.metric('kms_batch_len_sum', { op: 'sign_batch' })
    await service.ask('POST', '/v1/kms/sign_batch', { body: [item, item, item] })
    expect(await service.metric('kms_batch_len_sum', { op: 'sign_batch' })).toBe(before + 3)
  })

  it('keeps buckets cumulative, +Inf equal to the count', async () => {
    const text = await scrape()
    const series = new Map<string, number[]>()
    for (const [, name = '', labels = '', value] of text.matchAll(
      /^(\w+)_bucket\{(.*),?le="[^"]+"\} (\d+)$/gm,
    )) {
      const own = labels.replace(/,$/, '')
      const id = own === '' ? `${name} ` : `${name}{${own}}`
      series.set(id, [...(series.get(id) ?? []), Number(value)])
    }
    expect(series.size).toBeGreaterThan(10)
    for (const [id, values] of series) {
      expect(values).toEqual([...values].sort((a, b) => a - b))
      const count = text.split('\n').find(line => line.startsWith(id.replace(/[ {]/, '_count$&')))
      expect(Number(count?.split(' ')[1])).toBe(values.at(-1))
    }
  })

  it('shows every reason for a rejection, from the start', async () => {
    const text = await scrape()
    for (const reason of REJECT_REASONS) expect(text).toContain(`rejected_total{reason="${reason}"}`)
  })

  it('shows how much memory for secrets is locked, and how all of it is protected', async () => {
    const { lockedBytes, unlockedBytes, regions } = requireNative().secretMemory()
    expect(lockedBytes + unlockedBytes).toBeGreaterThanOrEqual(16 * 1024)
    const text = await scrape()
    expect(text).toContain(`kms_secret_memory_bytes{state="locked"} ${lockedBytes}\n`)
    expect(text).toContain(`kms_secret_memory_bytes{state="unlocked"} ${unlockedBytes}\n`)
    expect(text).toContain(`kms_secret_memory_regions ${regions}\n`)
    const locked = unlockedBytes === 0 ? 1 : 0
    expect(text).toContain(`kms_secret_memory_protected{protection="locked"} ${locked}\n`)
    for (const each of ['dontdump', 'wipeonfork']) {
      expect(text).toMatch(new RegExp(`^kms_secret_memory_protected{protection="${each}"} [01]$`, 'm'))
    }
  })

  it('asks the engine once a scrape', async () => {
    let asked = 0
    const registry = createRegistry({
      tables: () => requireNative().ed25519TableStats(),
      secretMemory: () => requireNative().secretMemory(),
      audit: () => NO_AUDIT,
      auditDuties: () => ({ exported: undefined, witnesses: [] }),
      token: () => undefined,
      engine: () => {
        asked += 1
        return service.kms.engineMetrics()
      },
      serving: SERVING,
      certificateUntil: () => undefined,
      version: '0',
      pq: () => ({}),
      readiness: () => ({ ready: true, missing: [], degraded: ['clock_ok'] }),
      clockDriftSeconds: () => -7,
      backend: 'inmem',
      cpuTier: 'test',
    })
    await registry.metrics()
    expect(asked).toBe(1)
    await new Promise(setImmediate)
    await registry.metrics()
    expect(asked).toBe(2)
  })

  const promtool = part('promtool')
  it.skipIf(!promtool.available)('is accepted by promtool', async () => {
    await service.ask('GET', '/nope')
    execFileSync(promtool.path, ['check', 'metrics'], {
      input: await scrape(),
      stdio: ['pipe', 'pipe', 'pipe'],
    })
  })
})
