import { type Context, Hono } from 'hono'
import { KmsError } from '../../errors.js'
import { errorName, type Log } from '../../logging/log.js'
import { type HttpMetrics, NO_OP, NO_ROUTE, type RouteMeter } from '../../metrics/http.js'
import { wrongMethod } from '../../server/app.js'
import type { Caller } from '../../server/middleware/auth.js'
import { admitBody, type BodyLimits, type NodeBindings, readBody } from '../../server/middleware/body.js'
import type { Coding } from '../../server/middleware/decode.js'
import { type Header, headersIn } from '../../server/middleware/headers.js'
import { type Ids, openIds } from '../../server/middleware/ids.js'
import { memoryOf } from '../../server/middleware/pieces.js'
import { INTERNAL, Refusal, STATUS } from '../../server/problem.js'
import { RememberingRouter } from '../../server/router.js'
import type { ScopedAuthenticator } from './auth.js'
import { problemResponse } from './problem.js'
import { ROUTES, type Route, type RouteParts } from './routes.js'

/** The parts that the API is built from. */
export interface AppParts {
  readonly routes: RouteParts
  readonly authenticate: ScopedAuthenticator
  readonly limits: {
    /** Of a batch, and of everything else. */
    readonly batch: BodyLimits
    readonly one: BodyLimits
    readonly maxInflight: number
  }
  /** For all bodies together. */
  readonly memory: BodyMemory
  readonly metrics: HttpMetrics
  readonly log: Log
  /** True from the moment that the server takes no new work. */
  readonly draining: () => boolean
}

/** Bounds what the bodies of all requests under way come to. */
export class BodyMemory {
  readonly #most: () => number
  #held = 0

  constructor(most: () => number) {
    this.#most = most
  }

  /** Takes so many bytes and says how many; throws a {@link Refusal} where there are not so many left. */
  take(bytes: number): number {
    if (this.#held + bytes > this.#most()) throw full()
    this.#held += bytes
    return bytes
  }

  /** Gives them back. */
  give(bytes: number): void {
    this.#held -= bytes
  }
}

type Env = { Bindings: NodeBindings }
type AppContext = Context<Env>

/** One request from its headers to its answer. */
interface Exchange {
  readonly meter: RouteMeter
  readonly header: Header
  readonly ids: Ids
  readonly started: number
  caller: Caller | undefined
  /** Bytes that its body may come to. */
  held: number
}

const NO_BODY = new Uint8Array(0)

/** The API: one handler a route, whose steps are plain calls in order: ids, admission, capability, headers, body, work. */
export function createApp(parts: AppParts): Hono<Env> {
  const app = new Hono<Env>({ router: new RememberingRouter() })
  for (const route of ROUTES) {
    const [label = NO_ROUTE] = route.paths
    const meter = parts.metrics.meter(label, route.method, route.op)
    for (const path of route.paths) app.on(route.method, path, c => serve(c, parts, route, meter))
  }
  app.notFound(c => {
    const { method } = c.req
    const matches = ROUTES.filter(({ paths }) => paths.includes(c.req.path))
    const [first] = matches
    if (!first) {
      const exchange = open(c, parts.metrics.meter(NO_ROUTE, method, NO_OP))
      return fail(c, parts, exchange, new Refusal('NotFound', 'no such route', { reason: 'no_route' }))
    }
    const exchange = open(c, parts.metrics.meter(first.paths[0] ?? NO_ROUTE, method, first.op))
    return fail(c, parts, exchange, wrongMethod(matches.map(match => match.method)))
  })
  app.onError((error, c) =>
    fail(c, parts, open(c, parts.metrics.meter(NO_ROUTE, c.req.method, NO_OP)), error),
  )
  return app
}

function open(c: AppContext, meter: RouteMeter): Exchange {
  meter.begin()
  const header = headersIn(c)
  return {
    meter,
    header,
    ids: openIds(header('x-corr-id')),
    started: performance.now(),
    caller: undefined,
    held: 0,
  }
}

async function serve(c: AppContext, parts: AppParts, route: Route, meter: RouteMeter): Promise<Response> {
  const exchange = open(c, meter)
  try {
    if (parts.draining()) throw shuttingDown()
    if (parts.metrics.inflight > parts.limits.maxInflight) throw full()
    const { header } = exchange
    const scope = route.scope(parts.routes)
    const bindings = c.env ?? {}
    if (scope !== undefined) {
      const socketPeer = bindings.incoming?.socket.remoteAddress
      exchange.caller = parts.authenticate({ header, socketPeer }, scope)
    }
    const limits = parts.limits[route.reads === 'batch' ? 'batch' : 'one']
    const coding = route.reads !== 'nothing' && admitBody(c.req.raw, header, bindings, limits)
    if (coding) exchange.held = parts.memory.take(mostBytes(coding, header('content-length'), limits))
    const body = coding ? await readBody(c.req.raw, coding, bindings, limits) : NO_BODY
    const memory = memoryOf(body)
    if (memory < exchange.held) {
      parts.memory.give(exchange.held - memory)
      exchange.held = memory
    }
    const client = exchange.caller?.actor ?? bindings.incoming?.socket.remoteAddress ?? ''
    const asked = { client, body, header, query: (name: string) => c.req.query(name) }
    const answer = await route.answer(parts.routes, asked)
    const status = answer.status ?? 200
    meter.end(status, elapsed(exchange))
    // Written out: an object that is put together from others costs as much as routing.
    const headers = {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-request-id': exchange.ids.requestId,
      'x-corr-id': exchange.ids.corrId,
    }
    return new Response(answer.body as Uint8Array<ArrayBuffer> | string | null, {
      status,
      headers: answer.headers ? { ...headers, ...answer.headers } : headers,
    })
  } catch (error) {
    return fail(c, parts, exchange, error)
  } finally {
    parts.memory.give(exchange.held)
  }
}

/**
 * What a body may come to: as much as it says, or the limit where it does not say; and beside it what it decodes to, where it is
 * encoded.
 */
export function mostBytes(coding: Coding, length: string | undefined, { maxBodyBytes }: BodyLimits): number {
  const raw = length === undefined ? maxBodyBytes : Number(length)
  return coding === 'identity' ? raw : raw + maxBodyBytes
}

function elapsed({ started }: Exchange): number {
  return (performance.now() - started) / 1000
}

/** Turns whatever was thrown into the answer, the counters and the log line. */
function fail(c: AppContext, { metrics, log }: AppParts, exchange: Exchange, error: unknown): Response {
  const { meter, ids, caller } = exchange
  const foreseen = error instanceof Refusal || (error instanceof KmsError && error.code !== 'Internal')
  const problem = foreseen ? error : INTERNAL
  const refusal = error instanceof Refusal ? error : undefined
  const status = refusal?.status ?? STATUS[problem.code]
  meter.refuse(problem.code)
  if (refusal?.reason) metrics.reject(refusal.reason)
  const seconds = elapsed(exchange)
  meter.end(status, seconds)
  log.requestFailed({
    requestId: ids.requestId,
    corrId: ids.corrId,
    peerAddr: c.env?.incoming?.socket.remoteAddress,
    tenant: caller?.tenant,
    route: meter.route,
    method: meter.method,
    op: meter.op,
    status,
    code: problem.code,
    kidHash: undefined,
    latencyMs: seconds * 1000,
    errorName: foreseen ? undefined : errorName(error instanceof KmsError ? (error.cause ?? error) : error),
  })
  return problemResponse(problem, status, ids, refusal?.headers)
}

function full(): Refusal {
  return new Refusal('Backpressure', 'too many requests at once', { retryable: true, reason: 'backpressure' })
}

function shuttingDown(): Refusal {
  return new Refusal('StoreUnavailable', 'the service is shutting down', {
    retryable: true,
    headers: { connection: 'close' },
    reason: 'shutdown',
  })
}
