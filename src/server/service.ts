import { formatAddress } from '../config/kinds.js'
import { pqPolicy } from '../config/pq.js'
import type { Config } from '../config/schema.js'
import type { Kms } from '../kms.js'
import type { Log } from '../logging/log.js'
import { createRegistry } from '../metrics/registry.js'
import { requireNative } from '../native.js'
import { ApiListeners, limitsOf, type Prepared } from './api-listeners.js'
import { AuditDuties } from './audit-duties.js'
import { createFront } from './front.js'
import { listen } from './listen.js'
import type { Authenticator } from './middleware/auth.js'
import { createOpsApp } from './ops.js'
import { ClockWatch, createReadiness, isAuditReady, isCheckpointRecent } from './ready.js'
import { type Serving, serveHere } from './serving.js'
import { HttpThreads, type ThreadHost } from './threads/pool.js'
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
  /** Needed for more than one worker: what other threads serve with. */
  readonly threads?: ThreadHost
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
  const state = { bound: false, draining: false, open: true, pq: pqPolicy(config.pq) }
  kms.setPqPolicy(state.pq)
  kms.setSignRate(config.security.sign_rate_limit_rps)

  const clock = new ClockWatch()
  const token = tokenChecks(kms, config.audit.verify_cache_ttl_ms)
  const readiness = createReadiness(
    {
      config_loaded: () => true,
      listener_bound: () => state.bound && !state.draining && serving.threads().serving > 0,
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
  const duties = new AuditDuties(config, kms.audit, log)
  const checkpoint = () => duties.checkpoint()
  const onChange = () => void (state.bound && readiness())
  const serving: Serving =
    config.workers > 1
      ? new HttpThreads({ config, log, checkpoint, onChange, ...threadsOf(parts) })
      : serveHere(createFront({ config, kms, authenticate, log, draining: () => state.draining, checkpoint }))
  let api: ApiListeners | undefined
  const ops = createOpsApp({
    registry: createRegistry({
      engine: () => kms.engineMetrics(),
      tables: () => requireNative().ed25519TableStats(),
      secretMemory: () => requireNative().secretMemory(),
      audit: () => kms.audit.status(),
      auditDuties: () => duties.status(),
      token: () => kms.tokenStatus(),
      serving,
      certificateUntil: () => api?.certificateUntil,
      pq: () => state.pq,
      readiness,
      clockDriftSeconds: () => clock.driftSeconds(),
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

  const opsListener = await listen({
    key: 'metrics_addr',
    address: config.metrics_addr,
    fetch: ops.fetch,
    limits: limitsOf(config),
    onRefused: ({ status, code, ids, peerAddr }) => log.connectionRefused({ ...ids, peerAddr, status, code }),
  })
  try {
    api = await ApiListeners.open({ config, listen: each => serving.listen(each), log })
    await serving.start()
  } catch (error) {
    await api?.close(0, () => {})
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
    // The metrics address stays up while requests drain: it is where the state can be seen.
    const aborted = await serving.drain(DRAIN_MS, (ms, onCut) => listeners.close(ms, onCut))
    await duties.stop()
    state.open = false
    await opsListener.close(OPS_DRAIN_MS)
    kms.close()
    return aborted
  }
  return {
    apiUrl: listeners.url,
    metricsUrl: `http://${formatAddress(opsListener.address)}`,
    prepare(next) {
      serving.check(next)
      const prepared = listeners.prepare(next)
      const policy = pqPolicy(next.pq)
      const commit = async () => {
        // First what may still refuse.
        kms.setPqPolicy(policy)
        state.pq = policy
        prepared.commit()
        opsListener.setLimits(limitsOf(next))
        kms.setSignRate(next.security.sign_rate_limit_rps)
        requireNative().setEd25519TableCacheBytes(next.ed25519.table_cache_bytes)
        log.setLevel(next.log.level)
        await serving.setConfig(next)
      }
      return { commit, abort: prepared.abort }
    },
    close() {
      closing ??= shutDown()
      return closing
    },
  }
}

function threadsOf({ threads }: ServiceParts): ThreadHost {
  if (!threads) throw new TypeError('other threads need what they serve with')
  return threads
}
