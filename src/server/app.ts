import { setTimeout } from 'node:timers/promises'
import { type Context, Hono } from 'hono'
import type { DocumentOptions } from '../api/document.js'
import { KmsError } from '../errors.js'
import type { AuditLog } from '../kms.js'
import { errorName, type Log } from '../logging/log.js'
import type { RejectReason } from '../metrics/catalog.js'
import { type HttpMetrics, NO_OP, NO_ROUTE, type RouteMeter } from '../metrics/http.js'
import { blake3 } from '../primitives.js'
import type { Tracer } from '../tracing/tracer.js'
import type { WorkTimes } from '../tracing/work-spans.js'
import { DEADLINE_MS, type Dispatch, type Dispatcher, dispatchOf, queueOf } from './dispatch.js'
import type { FairQueue, Place } from './fair-queue.js'
import type { Authenticator, Caller } from './middleware/auth.js'
import { admitBody, type BodyLimits, type NodeBindings, readBody } from './middleware/body.js'
import { type Header, headersIn } from './middleware/headers.js'
import { type Ids, idHeaders, openIds } from './middleware/ids.js'
import { kidOf } from './middleware/kid.js'
import { queryBody } from './middleware/query.js'
import { INTERNAL, problemResponse, Refusal, STATUS } from './problem.js'
import { RememberingRouter } from './router.js'
import { type AuditEndpoint, type AuditReader, auditEndpoints } from './routes/audit.js'
import { capabilityEndpoints } from './routes/capabilities.js'
import { type DocumentEndpoint, documentEndpoints } from './routes/documents.js'
import { BASE, type Endpoint } from './routes/endpoint.js'
import { keyEndpoints } from './routes/keys.js'
import { signatureEndpoints } from './routes/signatures.js'
import { wrappingEndpoints } from './routes/wrapping.js'
import { SCOPES } from './scopes.js'

/** The parts that the API is built from. */
export interface AppParts {
  readonly kms: Dispatcher
  readonly audit: Pick<AuditLog, 'refused'> & AuditReader
  readonly authenticate: Authenticator
  /** Read anew by every request: a reload changes them. */
  readonly limits: BodyLimits
  /** Whose turn it is. */
  readonly queue: FairQueue
  /** What its OpenAPI document says of this service. */
  readonly document?: Omit<DocumentOptions, 'version'>
  readonly metrics: HttpMetrics
  readonly log: Log
  /** Where spans go; nowhere without one. */
  readonly tracer?: Pick<Tracer, 'request'> | undefined
  /** True from the moment that the server takes no new work. */
  readonly draining: () => boolean
}

type Env = { Bindings: NodeBindings }
type AppContext = Context<Env>

/** One request from its headers to its answer. */
interface Exchange {
  readonly meter: RouteMeter
  readonly header: Header
  readonly ids: Ids
  readonly started: number
  /** When it was handed over, once it was, and when the parts of its work were; for traces. */
  times: WorkTimes | undefined
  caller: Caller | undefined
  kid: string | undefined
}

const ENDPOINTS: readonly Endpoint[] = [
  ...keyEndpoints,
  ...signatureEndpoints,
  ...wrappingEndpoints,
  ...capabilityEndpoints,
]
const NO_BODY = new Uint8Array(0)
/** Parameters of queries that are numbers. */
const NUMBERS: ReadonlySet<string> = new Set(['limit'])

/** Codes of the engine that also count as a rejection before work. */
const REASONS: Partial<Record<KmsError['code'], RejectReason>> = {
  Backpressure: 'backpressure',
  StoreUnavailable: 'store_unavailable',
  AttestationMissing: 'attest_missing',
}

/**
 * The API. Each route is one handler that runs the steps of `middleware/` in order: ids, authentication, headers,
 * body, dispatch. Chained middleware would cost every request a promise a step, and headers set on a finished answer
 * cost a third of the throughput.
 */
export function createApp(parts: AppParts): Hono<Env> {
  const app = new Hono<Env>({ router: new RememberingRouter() })
  const known = new RememberingRouter<Pick<RouteMeter, 'method'> & { label: string; op: string }>()
  for (const endpoint of ENDPOINTS) {
    const meter = parts.metrics.meter(endpoint.label, endpoint.method, endpoint.op)
    const dispatch = dispatchOf(endpoint, parts.kms, parts.queue.threads)
    app.on(endpoint.method, BASE + endpoint.path, c => serve(c, parts, endpoint, meter, dispatch))
    known.add('ALL', BASE + endpoint.path, endpoint)
    if (endpoint.alone) {
      app.all(BASE + endpoint.path, c => {
        const exchange = open(c, parts.metrics.meter(endpoint.label, c.req.method, endpoint.op))
        return fail(c, parts, exchange, wrongMethod([endpoint.method]))
      })
    }
  }
  for (const endpoint of auditEndpoints) {
    const meter = parts.metrics.meter(endpoint.label, endpoint.method, endpoint.op)
    app.on(endpoint.method, BASE + endpoint.path, c => serveAudit(c, parts, endpoint, meter))
    known.add('ALL', BASE + endpoint.path, endpoint)
  }
  for (const document of documentEndpoints(parts.document)) {
    const meter = parts.metrics.meter(document.path, document.method, NO_OP)
    const endpoint = { ...document, label: document.path, op: NO_OP }
    const { text, contentType, headers } = document
    app.on(document.method, document.path, c => succeed(open(c, meter), text, contentType, headers))
    known.add('ALL', document.path, endpoint)
  }
  app.notFound(c => {
    const matches = known.match('ALL', c.req.path)[0].map(([endpoint]) => endpoint)
    const [first] = matches
    const { method } = c.req
    const { metrics } = parts
    if (!first) {
      const exchange = open(c, metrics.meter(NO_ROUTE, method, NO_OP))
      return fail(c, parts, exchange, new Refusal('NotFound', 'no such route', { reason: 'no_route' }))
    }
    const exchange = open(c, metrics.meter(first.label, method, first.op))
    return fail(c, parts, exchange, wrongMethod(matches.map(match => match.method)))
  })
  app.onError((error, c) =>
    fail(c, parts, open(c, parts.metrics.meter(NO_ROUTE, c.req.method, NO_OP)), error),
  )
  return app
}

/** The refusal of a method that a path does not have. */
export function wrongMethod(methods: readonly string[]): Refusal {
  const allowed = new Set(methods.flatMap(method => (method === 'GET' ? ['GET', 'HEAD'] : [method])))
  return new Refusal('Unsupported', 'this path does not have this method', {
    status: 405,
    headers: { allow: [...allowed].join(', ') },
    reason: 'wrong_method',
  })
}

function open(c: AppContext, meter: RouteMeter): Exchange {
  meter.begin()
  const header = headersIn(c)
  return {
    meter,
    header,
    ids: openIds(header('x-corr-id')),
    started: performance.now(),
    times: undefined,
    caller: undefined,
    kid: undefined,
  }
}

async function serve(
  c: AppContext,
  parts: AppParts,
  endpoint: Endpoint,
  meter: RouteMeter,
  dispatch: Dispatch,
): Promise<Response> {
  const exchange = open(c, meter)
  let place: Place | undefined
  try {
    if (parts.draining()) throw shuttingDown()
    const { header } = exchange
    const caller = authenticate(c, parts, endpoint.op, header)
    exchange.caller = caller
    place = parts.queue.enter(caller.tenant ?? caller.actor, queueOf(endpoint.op))
    if (endpoint.kid) exchange.kid = kidOf(c.req.url, endpoint.kid)
    const bindings = c.env ?? {}
    const coding = endpoint.body && admitBody(c.req.raw, header, bindings, parts.limits)
    const read = coding ? await readBody(c.req.raw, coding, bindings, parts.limits) : NO_BODY
    const body = endpoint.query ? queryBody(c.req.url, endpoint.query, NUMBERS) : read
    const context = callContext(exchange.ids.requestId, caller, header('idempotency-key'))
    if (parts.tracer) exchange.times = { dispatched: performance.now() }
    const { kid, times } = exchange
    const dispatched = dispatch({ target: kid ?? null, body, context, place, times })
    const answer = typeof dispatched === 'string' ? dispatched : await dispatched
    if (parts.log.debugs || parts.tracer) done(c, parts, exchange)
    const age = endpoint.op === 'verify' ? cacheAge(answer) : undefined
    return succeed(
      exchange,
      answer,
      'application/json',
      age === undefined ? undefined : { 'x-kms-cache-age': age },
    )
  } catch (error) {
    const hold = isBackpressure(error) ? parts.queue.holdMs() : 0
    if (hold > 0) await setTimeout(hold)
    return fail(c, parts, exchange, error)
  } finally {
    place?.leave()
  }
}

function isBackpressure(error: unknown): boolean {
  return (error instanceof Refusal || error instanceof KmsError) && error.code === 'Backpressure'
}

async function serveAudit(
  c: AppContext,
  parts: AppParts,
  { op, answer, contentType }: AuditEndpoint,
  meter: RouteMeter,
): Promise<Response> {
  const exchange = open(c, meter)
  try {
    if (parts.draining()) throw shuttingDown()
    const caller = authenticate(c, parts, op, exchange.header)
    exchange.caller = caller
    const found = await answer(parts.audit, name => c.req.param(name) ?? '', caller)
    return succeed(exchange, found, contentType)
  } catch (error) {
    // Where there is no log, nothing is at this path.
    const isMissing = error instanceof KmsError && error.code === 'Unsupported'
    return fail(c, parts, exchange, isMissing ? new Refusal('NotFound', error.message) : error)
  }
}

function authenticate(
  c: AppContext,
  { authenticate }: AppParts,
  op: keyof typeof SCOPES,
  header: (name: string) => string | undefined,
): Caller {
  return authenticate({ scopes: SCOPES[op], header, socketPeer: c.env?.incoming?.socket.remoteAddress })
}

const CACHE_AGE = /"cache_age_ms":(\d+)\}$/

/** While a token is away, for how long what its keys are known by has not been confirmed: in the answer, and as a header. */
function cacheAge(answer: string): string | undefined {
  return CACHE_AGE.exec(answer)?.[1]
}

/** The names of headers are written out: an object that is put together from others costs as much as routing. */
function succeed(
  exchange: Exchange,
  answer: string,
  contentType: string,
  more?: DocumentEndpoint['headers'],
): Response {
  exchange.meter.end(200, elapsed(exchange))
  const headers = {
    'content-type': contentType,
    'cache-control': 'no-store',
    'x-request-id': exchange.ids.requestId,
    'x-corr-id': exchange.ids.corrId,
  }
  return new Response(answer, { headers: more ? { ...headers, ...more } : headers })
}

function callContext(requestId: string, { actor, tenant, grant }: Caller, opId: string | undefined) {
  return { requestId, actor, deadlineMs: DEADLINE_MS, tenant, grant, opId }
}

function elapsed({ started }: Exchange): number {
  return (performance.now() - started) / 1000
}

/** Tells log and tracer of a request that was carried out, where one of them wants to know. */
function done(c: AppContext, { log, tracer }: AppParts, exchange: Exchange): void {
  const event = about(c, exchange)
  if (log.debugs) log.requestDone(event)
  tracer?.request(event, exchange.times, undefined)
}

function about(c: AppContext, exchange: Exchange) {
  const { ids, meter, caller, kid } = exchange
  return {
    requestId: ids.requestId,
    corrId: ids.corrId,
    peerAddr: c.env?.incoming?.socket.remoteAddress,
    tenant: caller?.tenant,
    route: meter.route,
    method: meter.method,
    op: meter.op,
    kidHash: kid === undefined ? undefined : kidHash(kid),
    latencyMs: elapsed(exchange) * 1000,
    traceparent: c.req.header('traceparent'),
  }
}

/** Turns whatever was thrown into the answer, the counters and the log line. */
function fail(c: AppContext, parts: AppParts, exchange: Exchange, error: unknown): Response {
  const { metrics, log } = parts
  const { meter, ids, caller } = exchange
  const foreseen = error instanceof Refusal || (error instanceof KmsError && error.code !== 'Internal')
  const problem = foreseen ? error : INTERNAL
  const refusal = error instanceof Refusal ? error : undefined
  const status = refusal?.status ?? STATUS[problem.code]
  // What the engine refuses it counts itself; an error with a cause is not one that it wrote.
  if (!(error instanceof KmsError) || error.cause !== undefined) meter.refuse(problem.code)
  const reason = refusal ? refusal.reason : REASONS[problem.code]
  if (reason) metrics.reject(reason)
  // Nobody knows whose it was: it is counted in the audit log, and not recorded one by one.
  if (caller === undefined && problem.code !== 'Internal') parts.audit.refused(problem.code)
  const seconds = elapsed(exchange)
  meter.end(status, seconds)
  const event = about(c, exchange)
  parts.tracer?.request(event, exchange.times, problem.code)
  log.requestFailed({
    ...event,
    status,
    code: problem.code,
    latencyMs: seconds * 1000,
    errorName: foreseen ? undefined : errorName(error instanceof KmsError ? (error.cause ?? error) : error),
  })
  return problemResponse(problem, status, ids.requestId, { ...idHeaders(ids), ...refusal?.headers })
}

function kidHash(kid: string): string {
  return Buffer.from(blake3(Buffer.from(kid)).subarray(0, 4)).toString('hex')
}

function shuttingDown(): Refusal {
  return new Refusal('StoreUnavailable', 'the service is shutting down', {
    retryable: true,
    headers: { connection: 'close' },
    reason: 'shutdown',
  })
}
