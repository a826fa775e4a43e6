import { availableParallelism } from 'node:os'
import { formatAddress } from '../config/kinds.js'
import { pqPolicy } from '../config/pq.js'
import type { Config } from '../config/schema.js'
import type { Kms } from '../kms.js'
import type { Log } from '../logging/log.js'
import { HttpMetrics, NO_OP, NO_ROUTE } from '../metrics/http.js'
import { createRegistry } from '../metrics/registry.js'
import { requireNative } from '../native.js'
import { Tracer } from '../tracing/tracer.js'
import { ApiListeners, limitsOf, type Prepared } from './api-listeners.js'
import { createApp } from './app.js'
import { AuditDuties } from './audit-duties.js'
import { FairQueue } from './fair-queue.js'
import { type ConnectionRefusal, listen } from './listen.js'
import type { Authenticator } from './middleware/auth.js'
import type { BodyLimits } from './middleware/body.js'
import { createOpsApp } from './ops.js'
import { ClockWatch, createReadiness, isAuditReady, isCheckpointRecent } from './ready.js'
import { tokenChecks, watchToken } from './token.js'
import { SERVICE_NAME, VERSION } from './version.js'

/** The parts of a running service. */
export interface ServiceParts {
  readonly config: Config
  /** Closed together with the service. */
  readonly kms: Pick<
    Kms,
    | 'dispatch'
    | 'dispatchAsync'
    | 'verifyCoalesced'
    | 'engineMetrics'
    | 'setPqPolicy'
    | 'setSignRate'
    | 'audit'
    | 'tokenStatus'
    | 'close'
  >
  readonly authenticate: Authenticator
  readonly log: Log
  readonly cpuTier: string
}

/** A service that listens on both of its addresses. */
export interface Service {
  /** Base of the API without a path, such as `http://127.0.0.1:9446`; `https` with TLS. */
  readonly apiUrl: string
  readonly metricsUrl: string
  /**
   * Makes ready for other settings, of which only those that `schema.ts` marks as live may differ; throws
   * `ReloadError`, with nothing changed.
   */
  prepare(config: Config): Prepared
  /** Drains and stops; the number of requests that had to be cut off. */
  close(): Promise<number>
}

const DRAIN_MS = 3000
const OPS_DRAIN_MS = 250

/** Binds both addresses; throws `BindError`, with nothing left bound, when one is not to be had. */
export async function startService(parts: ServiceParts): Promise<Service> {
  const { config, kms, authenticate, log, cpuTier } = parts
  requireNative().setEd25519TableCacheBytes(config.ed25519.table_cache_bytes)
  const metrics = new HttpMetrics()
  const state = { bound: false, draining: false, open: true, pq: pqPolicy(config.pq) }
  kms.setPqPolicy(state.pq)
  kms.setSignRate(config.security.sign_rate_limit_rps)

  const clock = new ClockWatch()
  const token = tokenChecks(kms, config.audit.verify_cache_ttl_ms)
  const readiness = createReadiness(
    {
      config_loaded: () => true,
      listener_bound: () => state.bound && !state.draining,
      backend_ready: () => state.open && token.backend(),
      attestation_ready: token.attestation,
      audit_ready: () => isAuditReady(kms.audit.status()),
      checkpoint_recent: () => isCheckpointRecent(kms.audit.status(), config.audit.checkpoint_interval),
      rng_ok: () => requireNative().rngOk(),
      clock_ok: () => clock.isOk() || 'degraded',
      verify_cache_ok: token.verifyCache,
    },
    log,
  )
  const bodyLimits = bodyLimitsOf(config)
  const { endpoint } = config.otel
  const tracer =
    endpoint === ''
      ? undefined
      : new Tracer({ endpoint, version: VERSION, attributes: { backend: config.service.backend } })
  const queue = new FairQueue({ ...queueLimitsOf(config), threads: availableParallelism() })
  const duties = new AuditDuties(config, kms.audit, log)
  const app = createApp({
    kms,
    audit: {
      refused: code => kms.audit.refused(code),
      proofJson: (index, tenant, grant) => kms.audit.proofJson(index, tenant, grant),
      checkpoint: () => duties.checkpoint(),
    },
    authenticate,
    queue,
    families: config.service.allowed_algs,
    limits: bodyLimits,
    metrics,
    log,
    tracer,
    draining: () => state.draining,
  })
  let api: ApiListeners | undefined
  const ops = createOpsApp({
    registry: createRegistry({
      engine: () => kms.engineMetrics(),
      tables: () => requireNative().ed25519TableStats(),
      secretMemory: () => requireNative().secretMemory(),
      audit: () => kms.audit.status(),
      auditDuties: () => duties.status(),
      token: () => kms.tokenStatus(),
      http: metrics,
      queue,
      certificateUntil: () => api?.certificateUntil,
      pq: () => state.pq,
      readiness,
      clockDriftSeconds: () => clock.driftSeconds(),
      tracer,
      backend: config.service.backend,
      version: VERSION,
      cpuTier,
    }),
    readiness,
    version: {
      name: SERVICE_NAME,
      version: VERSION,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      cpu_tier: cpuTier,
      addon: true,
    },
    snapshot: { backend: config.service.backend, amnesia: config.service.amnesia },
    secretMemory: () => requireNative().secretMemory(),
    audit: () => kms.audit.status(),
    token: () => kms.tokenStatus(),
    log,
  })

  // Without a route or a method there is still a refusal to count.
  const nowhere = metrics.meter(NO_ROUTE, 'other', NO_OP)
  const onRefused = ({ status, code, reason, ids, peerAddr }: ConnectionRefusal) => {
    nowhere.refuse(code)
    metrics.reject(reason)
    log.connectionRefused({ ...ids, peerAddr, status, code })
  }

  const opsListener = await listen({
    key: 'metrics_addr',
    address: config.metrics_addr,
    fetch: ops.fetch,
    limits: limitsOf(config),
    onRefused: ({ status, code, ids, peerAddr }) => log.connectionRefused({ ...ids, peerAddr, status, code }),
  })
  try {
    api = await ApiListeners.open({ config, fetch: app.fetch, onRefused, log })
  } catch (error) {
    await opsListener.close(0)
    throw error
  }
  const listeners = api
  state.bound = true
  readiness()
  duties.start()
  const unwatch = watchToken(kms, log)

  let closing: Promise<number> | undefined
  const shutDown = async (): Promise<number> => {
    state.draining = true
    readiness()
    unwatch()
    let aborted = 0
    // The metrics address stays up while requests drain: it is where the state can be seen.
    await listeners.close(DRAIN_MS, () => {
      aborted = metrics.inflight
    })
    await Promise.all([duties.stop(), tracer?.stop()])
    state.open = false
    await opsListener.close(OPS_DRAIN_MS)
    kms.close()
    return aborted
  }
  return {
    apiUrl: listeners.url,
    metricsUrl: `http://${formatAddress(opsListener.address)}`,
    prepare(next) {
      const prepared = listeners.prepare(next)
      const policy = pqPolicy(next.pq)
      const commit = () => {
        // First what may still refuse.
        kms.setPqPolicy(policy)
        state.pq = policy
        prepared.commit()
        opsListener.setLimits(limitsOf(next))
        Object.assign(bodyLimits, bodyLimitsOf(next))
        queue.setLimits(queueLimitsOf(next))
        kms.setSignRate(next.security.sign_rate_limit_rps)
        requireNative().setEd25519TableCacheBytes(next.ed25519.table_cache_bytes)
        log.setLevel(next.log.level)
      }
      return { commit, abort: prepared.abort }
    },
    close() {
      closing ??= shutDown()
      return closing
    },
  }
}

/** Bounds on requests under way, as settings have them. */
function queueLimitsOf({ queue }: Config) {
  const inflight = { sign: queue.max_inflight_sign, verify: queue.max_inflight_verify }
  return { inflight, shareFloor: queue.tenant_share_min }
}

/** Bounds on a request body, as settings have them. */
function bodyLimitsOf({ limits, read_timeout }: Config): BodyLimits {
  return {
    maxBodyBytes: limits.max_body_bytes,
    decompressRatioCap: limits.decompress_ratio_cap,
    readTimeoutMs: read_timeout,
  }
}
