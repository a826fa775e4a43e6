/**
 * The HTTP API as a Hono app, to be served by your own server or mounted in your own app.
 *
 * @module ron-kms/http
 */
import { availableParallelism } from 'node:os'
import type { Hono } from 'hono'
import type { Kms } from './kms.js'
import { createLog, type Log, type LogOptions } from './logging/log.js'
import { HttpMetrics } from './metrics/http.js'
import { createApp } from './server/app.js'
import { FairQueue, QUEUE_LIMITS } from './server/fair-queue.js'
import type { Authenticator, Caller } from './server/middleware/auth.js'
import { Refusal } from './server/problem.js'

export type { Authenticator, Caller, LogOptions }
export { Refusal }

/** What the app is made of. */
export interface KmsAppOptions {
  /** The key service; closing it is yours. */
  readonly kms: Kms
  /**
   * Says who calls, by the `Authorization` header, or throws {@link unauthenticated}. The caller may then do everything,
   * with the keys of its `tenant` only, if it has one.
   */
  readonly authenticate: Authenticator
  /** Largest request body; 1 MiB unless said. */
  readonly maxBodyBytes?: number
  /** Time for a body to arrive; 5,000 ms unless said. */
  readonly readTimeoutMs?: number
  /** Where the JSON lines of the log go; nowhere unless said. */
  readonly log?: LogOptions
  /** Families of algorithms that the key service was opened with, for the OpenAPI document. */
  readonly families?: readonly string[]
  /** True once no new work is taken: requests are answered with 503 then. */
  readonly draining?: () => boolean
}

const MAX_BODY_BYTES = 1_048_576
const READ_TIMEOUT_MS = 5_000
const DECOMPRESS_RATIO_CAP = 10

/**
 * The routes below `/v1/kms`, `/openapi.json` and `/reference`, with their errors.
 *
 * `app.mount('/keys-of-mine', createKmsApp(…).fetch)` puts all of it below a path, with its own 404s and 405s. Limits on
 * connections and slow peers are your server's.
 */
export function createKmsApp(options: KmsAppOptions): Hono {
  const { kms, authenticate, maxBodyBytes = MAX_BODY_BYTES, readTimeoutMs = READ_TIMEOUT_MS } = options
  const app = createApp({
    kms,
    audit: kms.audit,
    authenticate,
    queue: new FairQueue({ ...QUEUE_LIMITS, threads: availableParallelism() }),
    limits: { maxBodyBytes, readTimeoutMs, decompressRatioCap: DECOMPRESS_RATIO_CAP },
    metrics: new HttpMetrics(),
    log: options.log ? createLog(options.log) : SILENT,
    draining: options.draining ?? (() => false),
    ...(options.families && { document: { families: options.families } }),
  })
  return app as unknown as Hono
}

/** What an {@link Authenticator} throws where it knows nobody by that header. */
export function unauthenticated(): Refusal {
  return new Refusal('NoCapability', 'a valid bearer token is needed', {
    status: 401,
    headers: { 'www-authenticate': 'Bearer realm="ron-kms"' },
    reason: 'unauth',
  })
}

const SILENT: Log = createLog({ level: 'error', format: 'json', write: () => {} })
