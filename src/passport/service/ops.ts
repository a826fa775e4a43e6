import { type Context, Hono } from 'hono'
import type { Registry } from 'prom-client'
import { errorName, type Log } from '../../logging/log.js'
import { wrongMethod } from '../../server/app.js'
import { idHeaders, openIds } from '../../server/middleware/ids.js'
import { INTERNAL, Refusal } from '../../server/problem.js'
import { problemResponse } from './problem.js'

/** What must hold for the service to take requests. */
export const READY_KEYS = ['listener_bound', 'keys_known', 'rng_ok', 'clock_ok'] as const
/** What may be missing while it serves what it can. */
export const DEGRADED_KEYS = ['kms_reachable', 'custody_writable'] as const

type ReadyKey = (typeof READY_KEYS)[number]
type DegradedKey = (typeof DEGRADED_KEYS)[number]

/** The parts that health and metrics are built from. */
export interface OpsParts {
  readonly registry: Registry
  readonly checks: Readonly<Record<ReadyKey | DegradedKey, () => boolean>>
  readonly version: Readonly<Record<string, string | boolean>>
  /** Shown beside the readiness keys. */
  readonly snapshot: () => Readonly<Record<string, string | number | boolean>>
  readonly log: Log
}

const RETRY_MS = 1000
const PATHS = ['/metrics', '/healthz', '/readyz', '/version']

/** Adds `/metrics`, `/healthz`, `/readyz` and `/version`, without authentication, to an app that has other routes. */
export function addOps(app: Hono, parts: OpsParts): void {
  const { registry, version, log } = parts
  let last: string | undefined
  const readiness = () => {
    const missing = READY_KEYS.filter(key => !holds(parts.checks[key]))
    const degraded = DEGRADED_KEYS.filter(key => !holds(parts.checks[key]))
    const ready = missing.length === 0
    if (missing.join() !== last) {
      last = missing.join()
      log.readyChanged({ ready, missing, degraded })
    }
    return { ready, missing, degraded }
  }
  app.get('/metrics', async c => {
    // Text first: an exception while it is made must still become an error answer.
    const text = await registry.metrics()
    return answer(c, text, registry.contentType)
  })
  app.get('/healthz', c => answer(c, '{"status":"ok"}'))
  app.get('/version', c => answer(c, JSON.stringify(version)))
  app.get('/readyz', c => {
    const state = readiness()
    if (state.ready) return answer(c, JSON.stringify({ ...state, snapshot: parts.snapshot() }))
    const problem = {
      code: 'StoreUnavailable',
      message: 'the service is not ready',
      retryable: true,
    } as const
    const body = { ...problem, retry_after_ms: RETRY_MS, ...state, snapshot: parts.snapshot() }
    return answer(c, JSON.stringify(body), 'application/json', 503, { 'retry-after': '1' })
  })
}

/** The same on an address of their own. */
export function createOpsApp(parts: OpsParts): Hono {
  const app = new Hono()
  addOps(app, parts)
  app.notFound(c => {
    const refusal = PATHS.includes(c.req.path)
      ? wrongMethod(['GET'])
      : new Refusal('NotFound', 'no such route')
    return problemResponse(refusal, refusal.status, openIds(c.req.header('x-corr-id')), refusal.headers)
  })
  app.onError((error, c) => {
    parts.log.unexpected({ where: 'admin address', errorName: errorName(error) })
    return problemResponse(INTERNAL, 500, openIds(c.req.header('x-corr-id')))
  })
  return app
}

function holds(check: () => boolean): boolean {
  try {
    return check()
  } catch {
    return false
  }
}

function answer(
  c: Context,
  body: string,
  contentType = 'application/json',
  status = 200,
  more: Readonly<Record<string, string>> = {},
): Response {
  const ids = openIds(c.req.header('x-corr-id'))
  return new Response(body, {
    status,
    headers: { 'content-type': contentType, 'cache-control': 'no-store', ...idHeaders(ids), ...more },
  })
}
