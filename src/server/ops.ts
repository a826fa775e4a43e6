import { Hono } from 'hono'
import type { Registry } from 'prom-client'
import type { SecretMemory } from '../../index.js'
import type { AuditStatus, TokenStatus } from '../kms.js'
import { errorName, type Log } from '../logging/log.js'
import { wrongMethod } from './app.js'
import { type Ids, idHeaders, openIds } from './middleware/ids.js'
import { INTERNAL, type Problem, problemResponse, Refusal } from './problem.js'
import type { Readiness } from './ready.js'
import { shownToken } from './token.js'

/** The parts that the metrics address is built from. */
export interface OpsParts {
  readonly registry: Registry
  readonly readiness: () => Readiness
  readonly version: VersionInfo
  /** Shown beside the readiness keys. */
  readonly snapshot: Readonly<Record<string, string | boolean>>
  /** Shown too; where it must be locked, a service that could not lock it did not start. */
  readonly secretMemory: () => SecretMemory
  /** Shown too. */
  readonly audit: () => AuditStatus
  /** Shown too, where there is one. */
  readonly token: () => TokenStatus | undefined
  readonly log: Log
}

/** What `/version` answers. */
export interface VersionInfo {
  readonly name: string
  readonly version: string
  readonly node: string
  readonly platform: string
  readonly cpu_tier: string
  readonly addon: boolean
}

const RETRY_MS = 1000
const PATHS: ReadonlySet<string> = new Set(['/metrics', '/healthz', '/readyz', '/version'])

/** `/metrics`, `/healthz`, `/readyz` and `/version`, without authentication, on an address of their own. */
export function createOpsApp(parts: OpsParts): Hono {
  const { registry, readiness, version, snapshot, secretMemory, audit, token, log } = parts
  const app = new Hono()

  app.get('/metrics', async c => {
    // Text first: an exception while it is made must still become an error answer.
    const text = await registry.metrics()
    return answer(text, registry.contentType, openIds(c.req.header('x-corr-id')))
  })
  app.get('/healthz', c => json({ status: 'ok' }, openIds(c.req.header('x-corr-id'))))
  app.get('/version', c => json(version, openIds(c.req.header('x-corr-id'))))
  app.get('/readyz', c => {
    const ids = openIds(c.req.header('x-corr-id'))
    const status = token()
    const state = {
      ...readiness(),
      snapshot,
      secret_memory: shown(secretMemory()),
      audit: shownAudit(audit()),
      ...(status && { token: shownToken(status) }),
    }
    if (state.ready) return json(state, ids)
    const problem: Problem = {
      code: 'StoreUnavailable',
      message: 'the service is not ready',
      retryable: true,
      retryAfterMs: RETRY_MS,
    }
    return problemResponse(problem, 503, ids.requestId, idHeaders(ids), {
      ...state,
      retry_after: RETRY_MS / 1000,
    })
  })
  app.notFound(c => {
    const refusal = PATHS.has(c.req.path) ? wrongMethod(['GET']) : new Refusal('NotFound', 'no such route')
    return refuse(refusal, openIds(c.req.header('x-corr-id')))
  })
  app.onError((error, c) => {
    log.unexpected({ where: 'metrics address', errorName: errorName(error) })
    const ids = openIds(c.req.header('x-corr-id'))
    return problemResponse(INTERNAL, 500, ids.requestId, idHeaders(ids))
  })
  return app
}

function shown({ lockedBytes, unlockedBytes, dontdump, wipeonfork, lastErrors }: SecretMemory) {
  return {
    locked_bytes: lockedBytes,
    unlocked_bytes: unlockedBytes,
    dontdump,
    wipeonfork,
    refused: lastErrors,
  }
}

function shownAudit(status: AuditStatus) {
  const { kind, size, checkpointSize, checkpointAt, device, unsealed, refused } = status
  return {
    kind,
    size,
    checkpoint_size: checkpointSize,
    ...(checkpointAt && { last_checkpoint_age_s: Math.round((Date.now() - checkpointAt.getTime()) / 1000) }),
    ...(kind === 'log' && { sealing: device === undefined ? 'software' : 'attested' }),
    ...(unsealed !== undefined && { unsealed }),
    ...(refused !== undefined && { refused }),
  }
}

function refuse(refusal: Refusal, ids: Ids): Response {
  return problemResponse(refusal, refusal.status, ids.requestId, { ...idHeaders(ids), ...refusal.headers })
}

function json(body: unknown, ids: Ids): Response {
  return answer(JSON.stringify(body), 'application/json', ids)
}

function answer(body: string, contentType: string, ids: Ids): Response {
  return new Response(body, {
    headers: { 'content-type': contentType, 'cache-control': 'no-store', ...idHeaders(ids) },
  })
}
