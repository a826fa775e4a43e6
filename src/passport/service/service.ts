import { availableParallelism } from 'node:os'
import type { Hono } from 'hono'
import { formatAddress } from '../../config/kinds.js'
import { errorName, type Log } from '../../logging/log.js'
import { HttpMetrics, NO_OP, NO_ROUTE } from '../../metrics/http.js'
import { requireNative } from '../../native.js'
import { ApiListeners, limitsOf, type Prepared } from '../../server/api-listeners.js'
import { FairQueue } from '../../server/fair-queue.js'
import { type ConnectionRefusal, type Listener, listen } from '../../server/listen.js'
import type { BodyLimits } from '../../server/middleware/body.js'
import { VERSION } from '../../server/version.js'
import { openNative } from '../native.js'
import { type AppParts, BodyMemory, createApp } from './app.js'
import type { ScopedAuthenticator } from './auth.js'
import { CUSTODY_FAULTS } from './custody.js'
import { KeyRing } from './key-ring.js'
import { createRegistry, QueueMeter } from './metrics.js'
import type { Opened } from './open-custody.js'
import { addOps, createOpsApp, type OpsParts } from './ops.js'
import { envelope } from './problem.js'
import { Rotation } from './rotation.js'
import type { PassportConfig } from './settings.js'
import { Verifying } from './verifying.js'

/** The name under which the service reports itself. */
export const SERVICE_NAME = 'svc-passport'

/** The parts of a running service. */
export interface ServiceParts {
  readonly config: PassportConfig
  /** Closed together with the service. */
  readonly opened: Opened
  readonly authenticate: ScopedAuthenticator
  readonly log: Log
  readonly cpuTier: string
}

/** A service that listens. */
export interface Service {
  /** Base of the API, such as `http://127.0.0.1:5307`; `https` with TLS. */
  readonly url: string
  /** Where health and metrics are. */
  readonly adminUrl: string
  readonly key: string
  /** Makes ready for other settings, of which only live ones may differ; throws `ReloadError`, with nothing changed. */
  prepare(next: PassportConfig): Prepared
  /** Drains and stops; the number of requests that had to be cut off. */
  close(): Promise<number>
}

const DRAIN_MS = 3000
/** Bytes of an encoded body that one byte may become, as in the key service. */
const DECOMPRESS_RATIO_CAP = 10
/** Room in a body for what is around one payload. */
const ONE_BODY_BYTES = 64 * 1024
/** The bodies under way come to no more than so many of the largest do. */
const BODIES_AT_ONCE = 16
/** Part of the queue that is a client's, however many others want it. */
const SHARE_FLOOR = 0.05
/** Work for one client before the event loop looks at its sockets again, also where no other client is there. */
const ALONE_MS = 10
const OPS_DRAIN_MS = 250
const CLOCK_MS = 1000

/** Learns the keys, binds the addresses and serves. Throws with nothing left bound. */
export async function startService(parts: ServiceParts): Promise<Service> {
  const { config, opened, authenticate, log, cpuTier } = parts
  const { custody, state } = opened
  const { passport, verify, cache, limits, security, rotation: rotating } = config
  const skewMs = passport.clock_skew_s * 1000
  const native = openNative({
    issuer: passport.issuer,
    defaultTtl: passport.default_ttl_s,
    maxTtl: passport.max_ttl_s,
    clockSkew: passport.clock_skew_s,
    maxMsgBytes: limits.max_msg_bytes,
    maxBatch: limits.max_batch,
    requireAud: security.require_aud,
    ownKey: `${custody.key}#v`,
    ...(security.replay_items > 0 && { replay: { name: custody.key, maxItems: security.replay_items } }),
  })
  const status = { bound: false, draining: false }
  // Not before what an earlier process knew was read.
  let remembering = false
  const remember = () => {
    if (!remembering) return
    try {
      opened.remember({ version: ring.head, since: ring.headSince })
    } catch (error) {
      // The age of the head begins anew at the next start then.
      log.unexpected({ where: 'state file', errorName: errorName(error) })
    }
  }
  const ring: KeyRing = new KeyRing({
    custody,
    native,
    ttlMs: cache.vk_ttl_s * 1000,
    afterlifeMs: passport.max_ttl_s * 1000 + skewMs,
    distrusted: security.distrust,
    onHead: version => {
      log.passportHead({ version })
      remember()
    },
  })
  const custodyFaults = new Map(CUSTODY_FAULTS.map(fault => [fault, 0]))
  custody.listen({
    reachable: reachable => log.kmsReachable({ reachable }),
    fault: fault => {
      custodyFaults.set(fault, (custodyFaults.get(fault) ?? 0) + 1)
      log.kmsFault({ fault })
    },
  })
  await ring.open()
  if (state?.head) ring.remember(state.head.version, state.head.since)
  remembering = true
  remember()
  const rotation = new Rotation({
    custody,
    ring,
    publishAheadMs: rotating.publish_ahead,
    maxAgeMs: rotating.max_age,
    onFailed: error => log.rotationFailed({ code: error.code }),
  })
  // Asked once a second: reading all counters would be a good part of what issuing costs.
  let clock = { askedAt: Number.NEGATIVE_INFINITY, behind: false }
  const clockIsBehind = () => {
    const now = performance.now()
    if (now - clock.askedAt >= CLOCK_MS) {
      clock = { askedAt: now, behind: native.counters().clockBehindMs > skewMs }
    }
    return clock.behind
  }
  const metrics = new HttpMetrics()
  const waits = new QueueMeter()
  const queue = new FairQueue({
    ...queueLimitsOf(config),
    aloneMs: ALONE_MS,
    threads: availableParallelism(),
  })
  const verifying = new Verifying({
    native,
    ring,
    queue,
    coalesce: verify.coalesce
      ? {
          targetBatch: verify.target_batch,
          maxBatch: verify.max_batch,
          maxWaitMs: verify.max_wait_us / 1000,
        }
      : undefined,
    onQueued: seconds => waits.observe(seconds),
  })
  const appLimits = appLimitsOf(config)
  const app = createApp({
    routes: {
      native,
      custody,
      ring,
      rotation,
      verifying,
      clockIsBehind,
      jwksTtlS: cache.jwks_ttl_s,
      verifyRequiresCapability: security.verify_requires_capability,
      log,
    },
    authenticate,
    limits: appLimits,
    memory: new BodyMemory(() => BODIES_AT_ONCE * appLimits.batch.maxBodyBytes),
    metrics,
    log,
    draining: () => status.draining,
  })
  const opsParts: OpsParts = {
    registry: createRegistry({
      counters: () => native.counters(),
      http: metrics,
      queue: waits,
      queued: () => verifying.queued,
      published: () => ring.publishedCount,
      rotations: () => rotation.count,
      headSince: () => ring.headSince,
      kmsUp: () => custody.reachable,
      kmsFaults: () => custodyFaults,
      certificateUntil: () => api?.certificateUntil,
      version: VERSION,
      cpuTier,
    }),
    checks: {
      listener_bound: () => status.bound && !status.draining,
      keys_known: () => ring.trusted > 0,
      rng_ok: () => requireNative().rngOk(),
      clock_ok: () => !clockIsBehind(),
      kms_reachable: () => custody.reachable,
      custody_writable: () => custody.refused === undefined,
    },
    version: {
      name: SERVICE_NAME,
      version: VERSION,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      cpu_tier: cpuTier,
    },
    snapshot: () => ({ backend: custody.backend, versions: ring.trusted, coalesce: verify.coalesce }),
    log,
  }

  // Without a route or a method there is still a refusal to count.
  const nowhere = metrics.meter(NO_ROUTE, 'other', NO_OP)
  const onRefused = ({ status: code, code: kind, reason, ids, peerAddr }: ConnectionRefusal) => {
    nowhere.refuse(kind)
    metrics.reject(reason)
    log.connectionRefused({ ...ids, peerAddr, status: code, code: kind })
  }
  let api: ApiListeners | undefined
  let admin: Listener | undefined
  if (config.admin_addr) {
    const { fetch } = createOpsApp(opsParts)
    const address = config.admin_addr
    admin = await listen({ key: 'admin_addr', address, fetch, limits: limitsOf(config), onRefused, envelope })
  } else addOps(app as unknown as Hono, opsParts)
  try {
    api = await ApiListeners.open({ config, fetch: app.fetch, onRefused, envelope, log })
  } catch (error) {
    await admin?.close(0)
    ring.close()
    throw error
  }
  const listeners = api
  status.bound = true
  if (custody.refused !== undefined) log.integrityFailed({ reason: custody.refused })
  rotation.start()

  const shutDown = async (): Promise<number> => {
    status.draining = true
    rotation.stop()
    let aborted = 0
    await listeners.close(DRAIN_MS, () => {
      aborted = metrics.inflight
    })
    await admin?.close(OPS_DRAIN_MS)
    ring.close()
    custody.close()
    return aborted
  }
  let closing: Promise<number> | undefined
  const { url } = listeners
  return {
    url,
    adminUrl: admin ? `http://${formatAddress(admin.address)}` : url,
    key: custody.key,
    prepare(next) {
      const prepared = listeners.prepare(next)
      const commit = async () => {
        prepared.commit()
        admin?.setLimits(limitsOf(next))
        Object.assign(appLimits, appLimitsOf(next))
        queue.setLimits(queueLimitsOf(next))
        ring.setDistrusted(next.security.distrust)
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

/** Bounds on requests, as settings have them. */
function appLimitsOf({ limits, read_timeout: readTimeoutMs }: PassportConfig): AppParts['limits'] {
  const body = (maxBodyBytes: number): BodyLimits => ({
    maxBodyBytes,
    readTimeoutMs,
    decompressRatioCap: DECOMPRESS_RATIO_CAP,
  })
  const { max_body_bytes: most, max_msg_bytes: msg, max_inflight: maxInflight } = limits
  return { batch: body(most), one: body(Math.min(most, 2 * msg + ONE_BODY_BYTES)), maxInflight }
}

/** Of all that verifies, under way or waiting. */
function queueLimitsOf({ limits: { max_inflight: most } }: PassportConfig) {
  return { inflight: { sign: most, verify: most }, shareFloor: SHARE_FLOOR }
}
