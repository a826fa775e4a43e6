import { collectDefaultMetrics, type Metric, Registry } from 'prom-client'
import type { SecretMemory, TableStats } from '../../index.js'
import type { AuditStatus, EngineMetrics, PqPolicy, PqRule, TokenStatus } from '../kms.js'
import { over, phaseOf } from '../pq-policy.js'
import type { AuditDuties } from '../server/audit-duties.js'
import { READY_KEYS, type Readiness } from '../server/ready.js'
import type { Serving } from '../server/serving.js'
import {
  ALGORITHMS_AT_ZERO,
  CATALOG,
  type MetricName,
  type MetricRow,
  PROCESS_METRICS,
  REQUEST_BUCKETS,
} from './catalog.js'
import type { HttpCounters } from './http.js'

const QUEUES = ['sign', 'verify'] as const

/** What the registry reads at each scrape. */
export interface MetricSources {
  /** The engine's counters; asked once a scrape. */
  readonly engine: () => EngineMetrics
  /** The cache of Ed25519 tables, which is the process's. */
  readonly tables: () => TableStats
  /** Where secrets are, in the process. */
  readonly secretMemory: () => SecretMemory
  /** How the audit log is. */
  readonly audit: () => AuditStatus
  /** Where its records and checkpoints go. */
  readonly auditDuties: () => ReturnType<AuditDuties['status']>
  /** How the token is, where there is one. */
  readonly token: () => TokenStatus | undefined
  /** Whoever serves. */
  readonly serving: Pick<Serving, 'http' | 'queue' | 'spans' | 'threads' | 'measure'>
  /** When the certificate in use ends, where there is one. */
  readonly certificateUntil: () => Date | undefined
  /** The post-quantum policy in force. */
  readonly pq: () => PqPolicy
  /** What `/readyz` says. */
  readonly readiness: () => Readiness
  readonly clockDriftSeconds: () => number
  readonly backend: string
  readonly version: string
  readonly cpuTier: string
}

/** One line of the exposition, in prom-client's words. */
export interface Sample {
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
  readonly metricName?: string
}

/** Builds the registry: every row of the catalogue once, and the metrics of the process. */
export function createRegistry(sources: MetricSources): Registry {
  const registry = new Registry()
  const samples = samplesOf(sources)
  for (const row of CATALOG) registerRow(registry, row, samples[row.name])
  registerProcessMetrics(registry, () => sources.serving.measure())
  return registry
}

/** Registers a metric whose samples are read at each scrape. */
export function registerRow(registry: Registry, row: MetricRow, samples: () => Sample[]): void {
  const metric = { name: row.name, help: row.help, type: row.type, aggregator: 'sum', get, reset() {} }
  // A scrape only calls get(), which prom-client's own classes answer in this form; its types know no other metric.
  registry.registerMetric(metric as unknown as Metric)
  async function get() {
    return { name: row.name, help: row.help, type: row.type, aggregator: 'sum', values: samples() }
  }
}

/**
 * Registers the metrics of the process. What an event loop measures of itself is put together with what `others` have
 * measured: the longest delay, and all memory.
 */
export function registerProcessMetrics(
  registry: Registry,
  others: () => Promise<readonly (readonly number[])[]> = async () => [],
): void {
  const all = new Registry()
  collectDefaultMetrics({ register: all })
  for (const [index, name] of PROCESS_METRICS.entries()) {
    // Some exist on Linux only.
    const metric = all.getSingleMetric(name) as (Metric & Measured) | undefined
    if (!metric) continue
    if (!name.startsWith('nodejs_')) {
      registry.registerMetric(metric)
      continue
    }
    const together = name.includes('lag') ? Math.max : (one: number, other: number) => one + other
    const get = async () => {
      const [own, measured] = await Promise.all([metric.get(), others()])
      const values = own.values.map(sample => ({
        ...sample,
        value: measured.reduce((value, of) => together(value, of[index] ?? value), sample.value),
      }))
      return { ...own, values }
    }
    registry.registerMetric({ name, get, reset() {} } as unknown as Metric)
  }
}

/** What the types of prom-client leave out. */
interface Measured {
  get(): Promise<{ readonly values: readonly { readonly value: number }[] }>
}

function samplesOf({
  engine,
  tables,
  secretMemory,
  audit,
  auditDuties,
  token,
  serving,
  certificateUntil,
  pq,
  readiness,
  clockDriftSeconds,
  backend,
  version,
  cpuTier,
}: MetricSources): Record<MetricName, () => Sample[]> {
  const { http, queue } = serving
  // A scrape asks all metrics in one go, so what is remembered until the next turn of the loop is one snapshot.
  let snapshot: EngineMetrics | undefined
  const current = () => {
    if (!snapshot) {
      snapshot = engine()
      setImmediate(() => {
        snapshot = undefined
      })
    }
    return snapshot
  }
  return {
    kms_ops_total: () => withZeros(current().ops),
    kms_latency_seconds: () =>
      current().latency.flatMap(({ op, alg, ...cells }) =>
        histogram('kms_latency_seconds', { op, alg }, current().latencyBounds, cells),
      ),
    kms_failures_total: () => failures(current(), http),
    kms_batch_len: () =>
      current().batch.flatMap(({ op, ...cells }) =>
        histogram('kms_batch_len', { op }, current().batchBounds, cells),
      ),
    kms_attest_total: () =>
      current().ops.flatMap(({ op, result, value }) =>
        op === 'attest' ? [{ labels: { backend, result }, value }] : [],
      ),
    kms_queue_seconds: () => histogram('kms_queue_seconds', {}, current().latencyBounds, current().queue),
    kms_turn_seconds: () =>
      QUEUES.flatMap(name =>
        histogram('kms_turn_seconds', { queue: name }, REQUEST_BUCKETS, queue.waits(name)),
      ),
    queue_depth: () => [
      ...QUEUES.map(name => ({ labels: { queue: name }, value: queue.depth(name) })),
      { labels: { queue: 'jobs' }, value: current().queue.depth },
      { labels: { queue: 'audit' }, value: uncovered(audit()) },
    ],
    queue_dropped_total: () => [{ labels: { queue: 'audit' }, value: audit().droppedVerifications }],
    busy_rejections_total: () => busy(current(), http),
    kms_keys: () => current().keys.map(({ alg, value }) => ({ labels: { alg }, value })),
    kms_reject_total: () => [{ labels: { reason: 'pq_policy' }, value: current().pqRefused }],
    kms_hybrid_classical_only_total: () =>
      current().classicalOnly.map(({ tenant, value }) => ({ labels: { tenant }, value })),
    kms_pq_mode: () =>
      (['or', 'and', 'pq_only'] as const).map(mode => ({
        labels: { mode },
        value: mode === (pq().verifyMode ?? 'and') ? 1 : 0,
      })),
    kms_pq_rollout_percent: () => [{ labels: {}, value: pq().rolloutPercent ?? 100 }],
    kms_pq_phase: () => phases(pq()),
    kms_ed25519_table_hits_total: () => [{ labels: {}, value: tables().hits }],
    kms_ed25519_table_builds_total: () => [{ labels: {}, value: tables().builds }],
    kms_ed25519_table_evictions_total: () => [{ labels: {}, value: tables().evictions }],
    kms_ed25519_table_bytes: () => [{ labels: {}, value: tables().bytes }],
    kms_secret_memory_bytes: () => {
      const { lockedBytes, unlockedBytes } = secretMemory()
      return [
        { labels: { state: 'locked' }, value: lockedBytes },
        { labels: { state: 'unlocked' }, value: unlockedBytes },
      ]
    },
    kms_secret_memory_regions: () => [{ labels: {}, value: secretMemory().regions }],
    kms_secret_memory_protected: () => {
      const { unlockedBytes, dontdump, wipeonfork } = secretMemory()
      const protections = { locked: unlockedBytes === 0, dontdump, wipeonfork }
      return Object.entries(protections).map(([protection, holds]) => ({
        labels: { protection },
        value: holds ? 1 : 0,
      }))
    },
    kms_audit_appends_total: () => results(audit().size, audit().refusedRecords),
    kms_audit_checkpoint_total: () => results(audit().checkpointsMade, audit().checkpointsFailed),
    kms_audit_checkpoint_size: () => [{ labels: {}, value: audit().checkpointSize }],
    kms_audit_checkpoint_age_seconds: () => {
      const { checkpointAt } = audit()
      return checkpointAt ? [{ labels: {}, value: (Date.now() - checkpointAt.getTime()) / 1000 }] : []
    },
    kms_audit_queue_depth: () => [{ labels: {}, value: uncovered(audit()) }],
    kms_audit_dropped_total: () => [
      { labels: { kind: 'non_checkpoint' }, value: audit().droppedVerifications },
    ],
    kms_audit_exported_records: () => maybe(auditDuties().exported?.next),
    kms_audit_export_failures_total: () => maybe(auditDuties().exported?.failures),
    kms_audit_witness_size: () =>
      auditDuties().witnesses.map(({ name: witness, size: value }) => ({ labels: { witness }, value })),
    kms_audit_witness_failures_total: () =>
      auditDuties().witnesses.map(({ name: witness, failures: value }) => ({ labels: { witness }, value })),
    kms_audit_integrity_failed_total: () => [{ labels: {}, value: audit().refused === undefined ? 0 : 1 }],
    kms_ready: () => [{ labels: {}, value: readiness().ready ? 1 : 0 }],
    kms_ready_key: () => {
      const { missing, degraded } = readiness()
      return READY_KEYS.map(key => ({
        labels: { key },
        value: missing.includes(key) || degraded.includes(key) ? 0 : 1,
      }))
    },
    kms_clock_drift_seconds: () => [{ labels: {}, value: clockDriftSeconds() }],
    kms_trace_spans_total: () =>
      Object.entries(serving.spans() ?? {}).map(([result, value]) => ({ labels: { result }, value })),
    ...ofToken(token),
    kms_build_info: () => [{ labels: { version, cpu_tier: cpuTier }, value: 1 }],
    http_requests_total: () =>
      [...http.meters()].flatMap(({ route, method, statuses }) =>
        [...statuses].flatMap((value, status) =>
          value > 0 ? [{ labels: { route, method, status: String(status) }, value }] : [],
        ),
      ),
    request_latency_seconds: () =>
      [...http.meters()].flatMap(({ route, method, buckets, seconds, requests }) =>
        histogram('request_latency_seconds', { route, method }, REQUEST_BUCKETS, {
          buckets,
          sum: seconds,
          count: requests,
        }),
      ),
    inflight_requests: () => {
      const byRoute = new Map<string, number>()
      for (const { route, inflight } of http.meters()) {
        byRoute.set(route, (byRoute.get(route) ?? 0) + inflight)
      }
      return [...byRoute].map(([route, value]) => ({ labels: { route }, value }))
    },
    kms_http_threads: () => [{ labels: {}, value: serving.threads().serving }],
    kms_http_thread_failures_total: () => [{ labels: {}, value: serving.threads().failed }],
    tls_handshake_failures_total: () => [{ labels: {}, value: http.rejected.tls_handshake }],
    tls_certificate_not_after_seconds: () => [
      { labels: {}, value: (certificateUntil()?.getTime() ?? 0) / 1000 },
    ],
    rejected_total: () =>
      Object.entries({ ...http.rejected, pq_policy: current().pqRefused }).map(([reason, value]) => ({
        labels: { reason },
        value,
      })),
  }
}

/** Records that wait for a checkpoint, where there are any. */
function uncovered({ kind, size, checkpointSize }: AuditStatus): number {
  return kind === 'log' ? Math.max(0, size - checkpointSize) : 0
}

/** The only backend with a token. */
const backend = 'pkcs11'

type TokenMetric = Extract<MetricName, `kms_backend_${string}` | 'kms_verify_cache_age_ms'>

function ofToken(source: () => TokenStatus | undefined): Record<TokenMetric, () => Sample[]> {
  // As the engine, it is asked once a scrape.
  let snapshot: { status: TokenStatus | undefined } | undefined
  const token = () => {
    if (!snapshot) {
      snapshot = { status: source() }
      setImmediate(() => {
        snapshot = undefined
      })
    }
    return snapshot.status
  }
  const gauge = (read: (status: TokenStatus) => number) => () => {
    const status = token()
    return status ? [{ labels: { backend }, value: read(status) }] : []
  }
  const calls = (read: (call: TokenStatus['calls'][number], status: TokenStatus) => Sample[]) => () => {
    const status = token()
    return status ? status.calls.flatMap(call => read(call, status)) : []
  }
  return {
    kms_backend_up: gauge(({ unavailable }) => (unavailable === null ? 1 : 0)),
    kms_backend_pin_near_lock: gauge(({ pinNearLock }) => (pinNearLock ? 1 : 0)),
    kms_backend_sessions: () => {
      const sessions = token()?.sessions
      if (!sessions) return []
      const { idle, busy, connecting, stuck } = sessions
      const states = { connected: idle + busy, connecting, error: stuck }
      return Object.entries(states).map(([state, value]) => ({ labels: { backend, state }, value }))
    },
    kms_backend_sessions_busy: gauge(({ sessions }) => sessions.busy),
    kms_backend_session_limit: gauge(({ sessions }) => sessions.max),
    kms_backend_queue_depth: gauge(({ queued }) => queued),
    kms_backend_reconnects_total: gauge(({ reconnects }) => reconnects),
    kms_backend_trips_total: gauge(({ trips }) => trips),
    kms_backend_retries_total: gauge(({ retries }) => retries),
    kms_backend_timeouts_total: gauge(({ timeouts }) => timeouts),
    kms_backend_call_seconds: calls(({ function: name, ...cells }, { callBounds }) =>
      histogram('kms_backend_call_seconds', { backend, function: name }, callBounds, cells),
    ),
    kms_backend_call_errors_total: calls(({ function: name, errors: value }) => [
      { labels: { backend, function: name }, value },
    ]),
    kms_verify_cache_age_ms: () => {
      const status = token()
      return maybe(status && (status.outageMs ?? 0))
    },
  }
}

/** A sample of what is there. */
/** What succeeded, and what did not. */
function results(ok: number, err: number): Sample[] {
  return [
    { labels: { result: 'ok' }, value: ok },
    { labels: { result: 'err' }, value: err },
  ]
}

function maybe(value: number | undefined): Sample[] {
  return value === undefined ? [] : [{ labels: {}, value }]
}

/** The operations that were carried out, and those of {@link ALGORITHMS_AT_ZERO} that were not yet. */
function withZeros(ops: EngineMetrics['ops']): Sample[] {
  const samples = ops.map(({ op, alg, result, value }) => ({ labels: { op, alg, result }, value }))
  const present = new Set(ops.map(({ op, alg, result }) => `${op} ${alg} ${result}`))
  for (const [op, algs] of Object.entries(ALGORITHMS_AT_ZERO)) {
    for (const alg of algs) {
      if (!present.has(`${op} ${alg} ok`)) samples.push({ labels: { op, alg, result: 'ok' }, value: 0 })
    }
  }
  return samples
}

function phases({ tenants = {}, ...service }: PqPolicy): Sample[] {
  const rules: [string, PqRule][] = [['*', service], ...Object.entries(tenants)]
  return rules.map(([tenant, rule]) => ({
    labels: { tenant, phase: phaseOf(over(service, rule)) },
    value: 1,
  }))
}

/** What the engine refused and what never reached it, added up by op and code. */
function failures(engine: EngineMetrics, http: HttpCounters): Sample[] {
  const cells = new Map<string, { op: string; kind: string; value: number }>()
  const add = (op: string, kind: string, value: number) => {
    const cell = cells.get(`${op} ${kind}`)
    if (cell) cell.value += value
    else cells.set(`${op} ${kind}`, { op, kind, value })
  }
  for (const { op, kind, value } of engine.failures) add(op, kind, value)
  for (const { op, refusals } of http.meters()) {
    for (const [kind, value] of refusals) add(op, kind, value)
  }
  return [...cells.values()].map(({ op, kind, value }) => ({ labels: { op, kind }, value }))
}

/** Refusals with Backpressure, by the queue that an operation would have joined. */
function busy(engine: EngineMetrics, http: HttpCounters): Sample[] {
  const queues = { sign: 0, verify: 0, other: 0 }
  for (const { labels, value } of failures(engine, http)) {
    if (labels.kind !== 'Backpressure') continue
    const op = String(labels.op)
    queues[op.startsWith('sign') ? 'sign' : op.startsWith('verify') ? 'verify' : 'other'] += value
  }
  return Object.entries(queues).map(([queue, value]) => ({ labels: { queue }, value }))
}

/** The counts of one histogram. */
export interface Cells {
  /** Per bucket, not cumulative, +Inf last. */
  readonly buckets: ArrayLike<number>
  readonly sum: number
  readonly count: number
}

/** The samples of one histogram. */
export function histogram(
  name: MetricRow['name'],
  labels: Sample['labels'],
  bounds: readonly number[],
  { buckets, sum, count }: Cells,
): Sample[] {
  const samples: Sample[] = []
  let below = 0
  for (let i = 0; i <= bounds.length; i += 1) {
    below += buckets[i] ?? 0
    samples.push({
      labels: { ...labels, le: bounds[i] ?? '+Inf' },
      value: below,
      metricName: `${name}_bucket`,
    })
  }
  samples.push({ labels, value: sum, metricName: `${name}_sum` })
  samples.push({ labels, value: count, metricName: `${name}_count` })
  return samples
}
