import { Registry } from 'prom-client'
import type { PassportCounters } from '../../../index.js'
import { type MetricRow, REQUEST_BUCKETS } from '../../metrics/catalog.js'
import type { HttpMetrics } from '../../metrics/http.js'
import { histogram, registerProcessMetrics, registerRow, type Sample } from '../../metrics/registry.js'

/** Bounds for waiting in a queue, in seconds. */
const QUEUE_BUCKETS = [
  0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.01, 0.05, 0.25, 1,
] as const

/** Every metric of `svc-passport`. */
export const CATALOG = [
  {
    name: 'passport_ops_total',
    type: 'counter',
    help: 'Passports issued and verified; every item of a batch counts.',
    labels: ['op', 'result', 'alg'],
  },
  {
    name: 'passport_failures_total',
    type: 'counter',
    help: 'Passports that were not taken, by reason.',
    labels: ['reason'],
  },
  {
    name: 'passport_op_latency_seconds',
    type: 'histogram',
    help: 'Time of a request from its headers to its answer.',
    labels: ['op'],
    buckets: REQUEST_BUCKETS,
  },
  {
    name: 'passport_batch_len',
    type: 'histogram',
    help: 'Signatures in one native batch.',
    labels: [],
    buckets: 'engine',
  },
  {
    name: 'passport_verify_path_total',
    type: 'counter',
    help: 'Signatures by how they were checked: alone, or side by side.',
    labels: ['path'],
  },
  {
    name: 'passport_queue_seconds',
    type: 'histogram',
    help: 'Time that a verification waited: for its turn, and for company.',
    labels: [],
    buckets: QUEUE_BUCKETS,
  },
  {
    name: 'passport_queued',
    type: 'gauge',
    help: 'Verifications that wait for their turn.',
    labels: [],
  },
  {
    name: 'passport_clock_skew_total',
    type: 'counter',
    help: 'Passports that passed only because clocks may differ.',
    labels: ['claim'],
  },
  {
    name: 'passport_requests_total',
    type: 'counter',
    help: 'Requests by route, method and status.',
    labels: ['route', 'method', 'code'],
  },
  {
    name: 'passport_errors_total',
    type: 'counter',
    help: 'Requests that were answered with an error, by operation and error code.',
    labels: ['op', 'code'],
  },
  {
    name: 'passport_inflight_requests',
    type: 'gauge',
    help: 'Requests that are being worked on.',
    labels: [],
  },
  {
    name: 'passport_cache_items',
    type: 'gauge',
    help: 'What is held: trusted keys, published keys, marks of the replay window.',
    labels: ['kind'],
  },
  {
    name: 'passport_keys_rotations_total',
    type: 'counter',
    help: 'Versions that this process added to the key.',
    labels: [],
  },
  {
    name: 'passport_key_age_seconds',
    type: 'gauge',
    help: 'How long the version that signs has been seen to sign.',
    labels: [],
  },
  {
    name: 'passport_kms_up',
    type: 'gauge',
    help: '1 while the key service answers.',
    labels: [],
  },
  {
    name: 'passport_kms_faults_total',
    type: 'counter',
    help: 'Answers of the key service that were not taken, by what was wrong.',
    labels: ['fault'],
  },
  {
    name: 'tls_certificate_not_after_seconds',
    type: 'gauge',
    help: 'When the certificate in use ends, in Unix seconds; 0 without TLS.',
    labels: [],
  },
  {
    name: 'passport_build_info',
    type: 'gauge',
    help: '1; the version and the instructions in use.',
    labels: ['version', 'cpu_tier'],
  },
] as const satisfies readonly MetricRow[]

type Name = (typeof CATALOG)[number]['name']

/** Counts how long requests waited. */
export class QueueMeter {
  readonly buckets = new Float64Array(QUEUE_BUCKETS.length + 1)
  sum = 0
  count = 0

  observe(seconds: number): void {
    let bucket = 0
    while (bucket < QUEUE_BUCKETS.length && seconds > (QUEUE_BUCKETS[bucket] ?? 0)) bucket += 1
    this.buckets[bucket] = (this.buckets[bucket] ?? 0) + 1
    this.sum += seconds
    this.count += 1
  }
}

/** What the registry reads at each scrape. */
export interface Sources {
  readonly counters: () => PassportCounters
  readonly http: HttpMetrics
  readonly queue: QueueMeter
  readonly queued: () => number
  readonly published: () => number
  readonly rotations: () => number
  readonly headSince: () => number
  readonly kmsUp: () => boolean
  readonly kmsFaults: () => ReadonlyMap<string, number>
  readonly certificateUntil: () => Date | undefined
  readonly version: string
  readonly cpuTier: string
}

/** Builds the registry: every row once, and the metrics of the process. */
export function createRegistry(sources: Sources): Registry {
  const registry = new Registry()
  const samples = samplesOf(sources)
  for (const row of CATALOG) registerRow(registry, row, samples[row.name])
  registerProcessMetrics(registry)
  return registry
}

function samplesOf(sources: Sources): Record<Name, () => Sample[]> {
  const { counters, http, queue } = sources
  const one = (value: number): Sample[] => [{ labels: {}, value }]
  const meters = () => [...http.meters()]
  const alg = 'ed25519'
  return {
    passport_ops_total: () => {
      const { ok, reasons } = counters()
      const failed = Object.values(reasons).reduce((sum, count) => sum + count, 0)
      const issues = meters().filter(({ op }) => op === 'issue')
      const issued = issues.reduce((sum, { statuses }) => sum + (statuses[200] ?? 0), 0)
      const refused = issues.reduce((sum, { requests }) => sum + requests, 0) - issued
      return [
        { labels: { op: 'issue', result: 'ok', alg }, value: issued },
        { labels: { op: 'issue', result: 'fail', alg }, value: refused },
        { labels: { op: 'verify', result: 'ok', alg }, value: ok },
        { labels: { op: 'verify', result: 'fail', alg }, value: failed },
      ]
    },
    passport_failures_total: () =>
      Object.entries(counters().reasons).map(([reason, value]) => ({ labels: { reason }, value })),
    passport_op_latency_seconds: () =>
      meters().flatMap(({ op, buckets, seconds, requests }) =>
        histogram('passport_op_latency_seconds', { op }, REQUEST_BUCKETS, {
          buckets,
          sum: seconds,
          count: requests,
        }),
      ),
    passport_batch_len: () => {
      const { batchBounds, batches, batched, single } = counters()
      const count = batches.reduce((sum, value) => sum + value, 0)
      return histogram('passport_batch_len', {}, batchBounds, {
        buckets: batches,
        sum: batched + single,
        count,
      })
    },
    passport_verify_path_total: () => {
      const { batched, single } = counters()
      return [
        { labels: { path: 'batch' }, value: batched },
        { labels: { path: 'single' }, value: single },
      ]
    },
    passport_queue_seconds: () => histogram('passport_queue_seconds', {}, QUEUE_BUCKETS, queue),
    passport_queued: () => one(sources.queued()),
    passport_clock_skew_total: () => {
      const { skewedEarly, skewedExpired } = counters()
      return [
        { labels: { claim: 'exp' }, value: skewedExpired },
        { labels: { claim: 'nbf' }, value: skewedEarly },
      ]
    },
    passport_requests_total: () =>
      meters().flatMap(({ route, method, statuses }) =>
        [...statuses].flatMap((value, status) =>
          value > 0 ? [{ labels: { route, method, code: String(status) }, value }] : [],
        ),
      ),
    passport_errors_total: () => {
      const cells = new Map<string, { op: string; code: string; value: number }>()
      for (const { op, refusals } of meters()) {
        for (const [code, value] of refusals) {
          const cell = cells.get(`${op} ${code}`) ?? { op, code, value: 0 }
          cells.set(`${op} ${code}`, { ...cell, value: cell.value + value })
        }
      }
      return [...cells.values()].map(({ op, code, value }) => ({ labels: { op, code }, value }))
    },
    passport_inflight_requests: () => one(http.inflight),
    passport_cache_items: () => {
      const { keys, replayMarks } = counters()
      const kinds = { vk: keys, jwks: sources.published(), replay: replayMarks }
      return Object.entries(kinds).map(([kind, value]) => ({ labels: { kind }, value }))
    },
    passport_keys_rotations_total: () => one(sources.rotations()),
    passport_key_age_seconds: () => one(Math.max(0, (Date.now() - sources.headSince()) / 1000)),
    passport_kms_up: () => one(sources.kmsUp() ? 1 : 0),
    passport_kms_faults_total: () =>
      [...sources.kmsFaults()].map(([fault, value]) => ({ labels: { fault }, value })),
    tls_certificate_not_after_seconds: () => one((sources.certificateUntil()?.getTime() ?? 0) / 1000),
    passport_build_info: () => [
      { labels: { version: sources.version, cpu_tier: sources.cpuTier }, value: 1 },
    ],
  }
}
