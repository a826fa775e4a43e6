import type { Hono } from 'hono'
import { formatAddress } from '../../config/kinds.js'
import { errorName, type Log } from '../../logging/log.js'
import { HttpMetrics, NO_OP, NO_ROUTE } from '../../metrics/http.js'
import { requireNative } from '../../native.js'
import { type ConnectionRefusal, type Listener, type ListenerLimits, listen } from '../../server/listen.js'
import { VERSION } from '../../server/version.js'
import { openNative } from '../native.js'
import { createApp } from './app.js'
import type { ScopedAuthenticator } from './auth.js'
import { FairGate } from './fair-gate.js'
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
  /** Base of the API, such as `http://127.0.0.1:5307`. */
  readonly url: string
  /** Where health and metrics are. */
  readonly adminUrl: string
  readonly key: string
  /** Drains and stops; the number of requests that had to be cut off. */
  close(): Promise<number>
}

const DRAIN_MS = 3000
/** Bytes of an encoded body that one byte may become, as in the key service. */
const DECOMPRESS_RATIO_CAP = 10
/** Room in a body for what is around one payload. It is read on the event loop, which a MiB would hold up. */
const ONE_BODY_BYTES = 64 * 1024
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
  custody.onReachable(reachable => log.kmsReachable({ reachable }))
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
  const queue = new QueueMeter()
  const gate = new FairGate({ perTurn: verify.max_batch, perClient: verify.target_batch })
  const verifying = new Verifying({
    native,
    ring,
    gate,
    coalesce: verify.coalesce
      ? {
          targetBatch: verify.target_batch,
          maxBatch: verify.max_batch,
          maxWaitMs: verify.max_wait_us / 1000,
        }
      : undefined,
    onQueued: seconds => queue.observe(seconds),
  })
  const bodies = { readTimeoutMs: config.read_timeout, decompressRatioCap: DECOMPRESS_RATIO_CAP }
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
    limits: {
      batch: { ...bodies, maxBodyBytes: limits.max_body_bytes },
      one: {
        ...bodies,
        maxBodyBytes: Math.min(limits.max_body_bytes, 2 * limits.max_msg_bytes + ONE_BODY_BYTES),
      },
      maxInflight: limits.max_inflight,
    },
    metrics,
    log,
    draining: () => status.draining,
  })
  const opsParts: OpsParts = {
    registry: createRegistry({
      counters: () => native.counters(),
      http: metrics,
      queue,
      queued: () => gate.queued,
      published: () => ring.publishedCount,
      rotations: () => rotation.count,
      headSince: () => ring.headSince,
      kmsUp: () => custody.reachable,
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

  const listenerLimits: ListenerLimits = {
    maxConns: config.max_conns,
    readTimeoutMs: config.read_timeout,
    writeTimeoutMs: config.write_timeout,
    idleTimeoutMs: config.idle_timeout,
  }
  // Without a route or a method there is still a refusal to count.
  const nowhere = metrics.meter(NO_ROUTE, 'other', NO_OP)
  const onRefused = ({ status: code, code: kind, reason, ids, peerAddr }: ConnectionRefusal) => {
    nowhere.refuse(kind)
    metrics.reject(reason)
    log.connectionRefused({ ...ids, peerAddr, status: code, code: kind })
  }
  const bind = (key: string, address: PassportConfig['bind_addr'], { fetch }: Pick<Hono, 'fetch'>) =>
    listen({ key, address, fetch, limits: listenerLimits, onRefused, envelope })
  let admin: Listener | undefined
  if (config.admin_addr) admin = await bind('admin_addr', config.admin_addr, createOpsApp(opsParts))
  else addOps(app as unknown as Hono, opsParts)
  let api: Listener
  try {
    api = await bind('bind_addr', config.bind_addr, app as unknown as Hono)
  } catch (error) {
    await admin?.close(0)
    ring.close()
    throw error
  }
  status.bound = true
  if (custody.refused !== undefined) log.integrityFailed({ reason: custody.refused })
  rotation.start()

  const shutDown = async (): Promise<number> => {
    status.draining = true
    rotation.stop()
    let aborted = 0
    await api.close(DRAIN_MS, () => {
      aborted = metrics.inflight
    })
    await admin?.close(OPS_DRAIN_MS)
    ring.close()
    custody.close()
    return aborted
  }
  let closing: Promise<number> | undefined
  const url = `http://${formatAddress(api.address)}`
  return {
    url,
    adminUrl: admin ? `http://${formatAddress(admin.address)}` : url,
    key: custody.key,
    close() {
      closing ??= shutDown()
      return closing
    },
  }
}
