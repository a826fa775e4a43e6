import { pino } from 'pino'
import type { KmsErrorCode } from '../errors.js'

/** Where lines go, how they look, and from which level on. */
export interface LogOptions {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error'
  readonly format: 'json' | 'text'
  /** Who writes; `ron-kms` unless given. */
  readonly service?: string
  /** Takes whole lines; the process's standard error unless given. */
  readonly write?: (line: string) => void
}

/** What a request that was answered with 200 says. */
export type DoneRequest = Omit<FailedRequest, 'status' | 'code' | 'errorName'>

/** What a failed request may say about itself: identifiers and codes, nothing that the peer wrote. */
export interface FailedRequest {
  readonly requestId: string
  readonly corrId: string
  readonly peerAddr: string | undefined
  readonly tenant: string | undefined
  /** The pattern of the route, never the path that was asked for. */
  readonly route: string
  readonly method: string
  readonly op: string
  readonly status: number
  readonly code: KmsErrorCode
  /** First eight hex digits of BLAKE3(kid). */
  readonly kidHash: string | undefined
  readonly latencyMs: number
  /** The class of an exception that nobody expected. */
  readonly errorName: string | undefined
}

/** A setting that changed, with values that may be printed. */
export interface Change {
  readonly key: string
  readonly from: string
  readonly to: string
}

/**
 * The events of the service. There is one function an event and no way to log anything else: a redacting logger
 * lets through whatever its list of paths forgot.
 */
export interface Log {
  /** The least severe level from now on. */
  setLevel(level: LogOptions['level']): void
  configAlias(event: { old: string; name: string }): void
  serverStarted(event: {
    apiAddr: string
    metricsAddr: string
    version: string
    backend: string
    cpuTier: string
    dev: boolean
  }): void
  /** At debug, and worth building only where {@link Log.debugs}. */
  requestDone(event: DoneRequest): void
  /** Whether debug lines are written. */
  readonly debugs: boolean
  /** 5xx at error, everything else at debug. */
  requestFailed(event: FailedRequest): void
  /** A connection that never became a request. */
  connectionRefused(event: {
    requestId: string
    corrId: string
    peerAddr: string | undefined
    status: number
    code: KmsErrorCode
  }): void
  readyChanged(event: { ready: boolean; missing: readonly string[]; degraded: readonly string[] }): void
  /** What settings come from: a file or none, and the keys that somebody gave; the rest are defaults. */
  configLoaded(event: { file: string | undefined; given: readonly string[] }): void
  /** New settings are in force; those that need a restart are named. Values that may be secret are hidden already. */
  configReloaded(event: {
    version: number
    changed: readonly Change[]
    restartNeeded: readonly string[]
  }): void
  /** A certificate is in use from now on. */
  certificateLoaded(event: { validUntil: Date; fingerprint: string }): void
  /** Files of a certificate changed, and what they hold now is not taken: the one before stays in use. */
  certificateRefused(event: { first: string }): void
  /** Others than its owner may read the private key of the certificate. */
  tlsKeyReadable(event: { mode: string }): void
  /** Another root key opens the store now, and no longer the one before. */
  storeRekeyed(): void
  /** New settings were refused, and the old ones are still in force. */
  configRefused(event: { faults: number; first: string }): void
  /** Store or audit log are not what was acknowledged: the service only verifies. */
  integrityFailed(event: { reason: string }): void
  /** Others than its owner may read or write the file of the root key. */
  rootKeyReadable(event: { mode: string }): void
  /** The token of the backend `pkcs11`, and what it offers. */
  tokenOpened(event: {
    attestationClass: string
    label: string
    serial: string
    slot: number
    firmware: string
    offers: string
    pinNearLock: boolean
  }): void
  /** How the keys on the token compare with those of the store. A warning where some are missing. */
  tokenSearched(event: { present: number; missing: number; cleaned: number; strangers: number }): void
  /** The keys on the token could not be listed. */
  tokenUnsearched(event: { reason: string }): void
  /** The token went away, or came back. */
  tokenChanged(event: { available: boolean; label: string; reason: string | undefined }): void
  /** A last record that a crash left torn was dropped. */
  auditTorn(event: { droppedBytes: number }): void
  /** An operator's decision to go on, which is in the audit log too. */
  auditOverridden(event: { reason: string }): void
  /** A thread that serves ended by itself; another takes its place after a while. */
  threadFailed(event: { thread: number; errorName: string; retryMs: number }): void
  /** Another thread serves in the place of one that failed. */
  threadStarted(event: { thread: number }): void
  shutdownStarted(event: { signal: string }): void
  shutdownFinished(event: { aborted: number }): void
  /** Another version of the key signs passports now. */
  passportHead(event: { version: number }): void
  /** A version was distrusted by an operator. */
  versionDistrusted(event: { version: number }): void
  /** A rotation by age did not come about; it is tried again. */
  rotationFailed(event: { code: KmsErrorCode }): void
  /** The key service of `svc-passport` stopped to answer, or does again. */
  kmsReachable(event: { reachable: boolean }): void
  /** It answered something that was not taken: nothing was made of it. */
  kmsFault(event: { fault: string }): void
  /** An exception outside any request. */
  unexpected(event: { where: string; errorName: string }): void
}

/** The class name of an exception: all that a log says about one that nobody expected. */
export function errorName(error: unknown): string {
  const name = error instanceof Error ? error.constructor.name : typeof error
  return /^[A-Za-z][A-Za-z0-9]{0,39}$/.test(name) ? name : 'Error'
}

/** Makes the log. Lines go to standard error; standard output belongs to banners and answers. */
export function createLog(options: LogOptions): Log {
  const write = options.write ?? stderrWriter()
  const logger = pino(
    {
      level: options.level,
      base: { service: options.service ?? 'ron-kms' },
      timestamp: () => `,"ts":"${new Date().toISOString()}"`,
      formatters: { level: label => ({ level: label.toUpperCase() }) },
    },
    { write: options.format === 'json' ? write : line => write(toText(line)) },
  )
  return {
    setLevel: level => {
      logger.level = level
    },
    configAlias: ({ old, name }) => logger.warn({ event: 'config_alias', old, name }),
    serverStarted: ({ apiAddr, metricsAddr, version, backend, cpuTier, dev }) =>
      logger.info({
        event: 'server_started',
        api_addr: apiAddr,
        metrics_addr: metricsAddr,
        version,
        backend,
        cpu_tier: cpuTier,
        dev,
      }),
    get debugs() {
      return logger.isLevelEnabled('debug')
    },
    requestDone: done =>
      logger.debug({ event: `${done.op}_result`, ...requestFields(done), result: 'ok', ...took(done) }),
    requestFailed: failed => {
      const level = failed.status >= 500 ? 'error' : 'debug'
      if (!logger.isLevelEnabled(level)) return
      logger[level]({
        event: 'request_failed',
        ...requestFields(failed),
        result: 'err',
        status: failed.status,
        code: failed.code,
        ...took(failed),
        error_name: failed.errorName,
      })
    },
    connectionRefused: ({ requestId, corrId, peerAddr, status, code }) =>
      logger.debug({
        event: 'connection_refused',
        corr_id: corrId,
        request_id: requestId,
        peer_addr: peerAddr,
        status,
        code,
      }),
    readyChanged: ({ ready, missing, degraded }) => {
      if (ready) logger.info({ event: 'readyz_true', ...(degraded.length > 0 && { degraded }) })
      else logger.warn({ event: 'readyz_false', missing, degraded })
    },
    configLoaded: ({ file, given }) =>
      logger.info({ event: 'config_loaded', file: file ?? 'none: defaults are used', given }),
    configReloaded: ({ version, changed, restartNeeded }) =>
      logger.info({
        event: 'config_reloaded',
        version,
        changed: changed.map(({ key, from, to }) => ({ key, from, to })),
        restart_needed: restartNeeded,
      }),
    certificateLoaded: ({ validUntil, fingerprint }) => {
      const level = validUntil.getTime() < Date.now() ? 'error' : 'info'
      logger[level]({ event: 'certificate_loaded', valid_until: validUntil.toISOString(), fingerprint })
    },
    certificateRefused: ({ first }) => logger.error({ event: 'certificate_refused', first }),
    tlsKeyReadable: ({ mode }) => logger.warn({ event: 'tls_key_readable', mode }),
    storeRekeyed: () => logger.info({ event: 'store_rekeyed' }),
    configRefused: ({ faults, first }) => logger.error({ event: 'config_refused', faults, first }),
    integrityFailed: ({ reason }) => logger.error({ event: 'audit_integrity_failed', reason }),
    rootKeyReadable: ({ mode }) => logger.warn({ event: 'root_key_readable', mode }),
    tokenOpened: ({ attestationClass, pinNearLock, ...token }) =>
      logger[pinNearLock ? 'warn' : 'info']({
        event: 'token_opened',
        attestation_class: attestationClass,
        ...token,
        pin_near_lock: pinNearLock,
      }),
    tokenSearched: found =>
      logger[found.missing > 0 ? 'warn' : 'info']({ event: 'token_searched', ...found }),
    tokenUnsearched: ({ reason }) => logger.warn({ event: 'token_unsearched', reason }),
    tokenChanged: ({ available, label, reason }) =>
      available
        ? logger.info({ event: 'token_back', label })
        : logger.error({ event: 'token_gone', label, reason }),
    auditTorn: ({ droppedBytes }) => logger.warn({ event: 'audit_torn', dropped_bytes: droppedBytes }),
    auditOverridden: ({ reason }) => logger.warn({ event: 'audit_overridden', reason }),
    threadFailed: ({ thread, errorName: name, retryMs }) =>
      logger.error({ event: 'thread_failed', thread, error_name: name, retry_ms: retryMs }),
    threadStarted: ({ thread }) => logger.info({ event: 'thread_started', thread }),
    shutdownStarted: ({ signal }) => logger.info({ event: 'shutdown_started', signal }),
    shutdownFinished: ({ aborted }) => logger.info({ event: 'shutdown_finished', aborted }),
    passportHead: ({ version }) => logger.info({ event: 'passport_head', version }),
    versionDistrusted: ({ version }) => logger.warn({ event: 'version_distrusted', version }),
    rotationFailed: ({ code }) => logger.warn({ event: 'rotation_failed', code }),
    kmsReachable: ({ reachable }) => {
      if (reachable) logger.info({ event: 'kms_reachable' })
      else logger.warn({ event: 'kms_unreachable' })
    },
    kmsFault: ({ fault }) => logger.error({ event: 'kms_fault', fault }),
    unexpected: ({ where, errorName: name }) =>
      logger.error({ event: 'unexpected', where, error_name: name }),
  }
}

function requestFields({ corrId, requestId, peerAddr, tenant, route, method, op, kidHash }: DoneRequest) {
  return {
    corr_id: corrId,
    request_id: requestId,
    peer_addr: peerAddr,
    tenant,
    route,
    method,
    op,
    kid_hash: kidHash,
  }
}

function took({ latencyMs }: DoneRequest) {
  return { latency_ms: Math.round(latencyMs * 1000) / 1000 }
}

/** Writes whole lines to standard error. */
export function stderrWriter(): (line: string) => void {
  const out = pino.destination({ fd: 2, sync: true })
  return line => void out.write(line)
}

/** `{"ts":…,"level":…,"event":…,…}` as a line for people. */
function toText(line: string): string {
  const { ts, level, event, service: _service, ...rest } = JSON.parse(line) as Record<string, unknown>
  const fields = Object.entries(rest).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
  return `${ts} ${level} ${event}${fields.join('')}\n`
}
