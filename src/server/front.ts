import { availableParallelism } from 'node:os'
import { auditDir } from '../config/audit.js'
import type { Config } from '../config/schema.js'
import type { Kms } from '../kms.js'
import type { Log } from '../logging/log.js'
import { HttpMetrics, NO_OP, NO_ROUTE, type SharedMetrics } from '../metrics/http.js'
import { Tracer } from '../tracing/tracer.js'
import { type AppParts, createApp } from './app.js'
import { FairQueue, type QueueCells } from './fair-queue.js'
import type { ConnectionRefusal, ListenerParts } from './listen.js'
import type { Authenticator } from './middleware/auth.js'
import type { BodyLimits } from './middleware/body.js'
import { VERSION } from './version.js'

/** What one event loop serves the API with. */
export interface Front extends Pick<ListenerParts, 'fetch' | 'onRefused'> {
  readonly metrics: HttpMetrics
  readonly queue: FairQueue
  readonly tracer: Tracer | undefined
  /** Takes the live settings of others. */
  setConfig(config: Config): void
}

/** What it is made of. */
export interface FrontParts {
  readonly config: Config
  readonly kms: Pick<Kms, 'dispatch' | 'dispatchAsync' | 'verifyCoalesced' | 'audit'>
  readonly authenticate: Authenticator
  readonly log: Log
  readonly draining: () => boolean
  /** The last checkpoint, with the cosignatures that there are. */
  readonly checkpoint: AppParts['audit']['checkpoint']
  /** Which of how many event loops it is; the only one unless said. */
  readonly place?: ThreadPlace
  /** Where it counts, for another thread to read. */
  readonly shared?: {
    readonly metrics: SharedMetrics
    readonly queue: QueueCells
    readonly spans: Float64Array
  }
}

/** One of several event loops that share the bounds of settings. */
export interface ThreadPlace {
  /** From 0. */
  readonly index: number
  readonly of: number
}

/** Everything between a connection and the engine. */
export function createFront(parts: FrontParts): Front {
  const { config, kms, authenticate, log, draining, checkpoint, shared } = parts
  const { index, of } = parts.place ?? { index: 0, of: 1 }
  const metrics = new HttpMetrics(shared?.metrics)
  const limits = bodyLimitsOf(config)
  const { endpoint } = config.otel
  const { backend } = config.service
  const waits = auditDir(config) !== '' && config.audit.durability === 'fsync'
  const cells = shared && { cells: shared.spans }
  const tracer =
    endpoint === '' ? undefined : new Tracer({ endpoint, version: VERSION, backend, waits, ...cells })
  const queue = new FairQueue(
    {
      ...queueLimitsOf(config, { index, of }),
      threads: Math.max(1, Math.floor(availableParallelism() / of)),
    },
    undefined,
    shared?.queue,
  )
  const app = createApp({
    kms,
    audit: {
      refused: code => kms.audit.refused(code),
      proofJson: (seq, tenant, grant) => kms.audit.proofJson(seq, tenant, grant),
      checkpoint,
    },
    authenticate,
    queue,
    document: {
      families: config.service.allowed_algs,
      maxLifeS: Math.floor(config.capability.max_life / 1000),
    },
    limits,
    metrics,
    log,
    tracer,
    draining,
  })
  return {
    fetch: app.fetch,
    metrics,
    queue,
    tracer,
    onRefused: refusalCounter(metrics, log),
    setConfig(next) {
      Object.assign(limits, bodyLimitsOf(next))
      queue.setLimits(queueLimitsOf(next, { index, of }))
      log.setLevel(next.log.level)
    },
  }
}

/** Counts and logs what was refused below any route. */
export function refusalCounter(metrics: HttpMetrics, log: Log): ListenerParts['onRefused'] {
  const nowhere = metrics.meter(NO_ROUTE, 'other', NO_OP)
  return ({ status, code, reason, ids, peerAddr }: ConnectionRefusal) => {
    nowhere.refuse(code)
    metrics.reject(reason)
    log.connectionRefused({ ...ids, peerAddr, status, code })
  }
}

/** Bounds on requests under way, as settings have them: this event loop's part, so that all together keep the bound. */
function queueLimitsOf({ queue }: Config, place: ThreadPlace) {
  const inflight = {
    sign: partOf(queue.max_inflight_sign, place),
    verify: partOf(queue.max_inflight_verify, place),
  }
  return { inflight, shareFloor: queue.tenant_share_min }
}

/** The parts of all add up to the whole; none is 0 where the whole is not below their number. */
export function partOf(whole: number, { index, of }: ThreadPlace): number {
  return Math.floor((whole * (index + 1)) / of) - Math.floor((whole * index) / of)
}

/** Bounds on a request body, as settings have them. */
function bodyLimitsOf({ limits, read_timeout }: Config): BodyLimits {
  return {
    maxBodyBytes: limits.max_body_bytes,
    decompressRatioCap: limits.decompress_ratio_cap,
    readTimeoutMs: read_timeout,
  }
}
