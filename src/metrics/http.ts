import type { KmsErrorCode } from '../errors.js'
import { REJECT_REASONS, REQUEST_BUCKETS, type RejectReason } from './catalog.js'

/** The route label of requests that no route takes. */
export const NO_ROUTE = 'other'
/** The op label of refusals outside any route. */
export const NO_OP = 'http'

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
const STATUSES = 600

/**
 * The counters of one method of one route. A request touches numbers in preallocated arrays; a labelled observation
 * of prom-client would build and hash a label string each time.
 */
export class RouteMeter {
  readonly route: string
  readonly method: string
  readonly op: string
  inflight = 0
  readonly statuses = new Float64Array(STATUSES)
  /** Requests per bucket of {@link REQUEST_BUCKETS}, not cumulative; the last one is +Inf. */
  readonly buckets = new Float64Array(REQUEST_BUCKETS.length + 1)
  seconds = 0
  requests = 0
  /** What this front end refused; what the engine refuses, the engine counts. */
  readonly refusals = new Map<KmsErrorCode, number>()

  constructor(route: string, method: string, op: string) {
    this.route = route
    this.method = method
    this.op = op
  }

  /** A request came in. */
  begin(): void {
    this.inflight += 1
  }

  /** It was answered after `seconds`. */
  end(status: number, seconds: number): void {
    this.inflight -= 1
    this.statuses[status] = (this.statuses[status] ?? 0) + 1
    this.seconds += seconds
    this.requests += 1
    let bucket = 0
    while (bucket < REQUEST_BUCKETS.length && seconds > (REQUEST_BUCKETS[bucket] ?? 0)) bucket += 1
    this.buckets[bucket] = (this.buckets[bucket] ?? 0) + 1
  }

  /** It failed before it reached the engine. */
  refuse(code: KmsErrorCode): void {
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1)
  }
}

/** All counters of the HTTP front end. */
export class HttpMetrics {
  readonly #meters = new Map<string, RouteMeter>()
  readonly rejected: Record<RejectReason, number>

  constructor() {
    this.rejected = Object.fromEntries(REJECT_REASONS.map(reason => [reason, 0])) as Record<
      RejectReason,
      number
    >
  }

  /** The one meter of a route and method; methods that HTTP does not define share one. */
  meter(route: string, method: string, op: string): RouteMeter {
    const name = METHODS.has(method) ? method : 'other'
    const id = `${name} ${route}`
    let meter = this.#meters.get(id)
    if (!meter) {
      meter = new RouteMeter(route, name, op)
      this.#meters.set(id, meter)
    }
    return meter
  }

  /** Something was refused before any work. */
  reject(reason: RejectReason): void {
    this.rejected[reason] += 1
  }

  /** Requests that are being worked on. */
  get inflight(): number {
    let sum = 0
    for (const meter of this.#meters.values()) sum += meter.inflight
    return sum
  }

  /** Every meter made so far. */
  meters(): Iterable<RouteMeter> {
    return this.#meters.values()
  }
}
