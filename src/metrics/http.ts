import type { KmsErrorCode } from '../errors.js'
import { STATUS } from '../server/problem.js'
import { REJECT_REASONS, REQUEST_BUCKETS, type RejectReason } from './catalog.js'

/** The route label of requests that no route takes. */
export const NO_ROUTE = 'other'
/** The op label of refusals outside any route. */
export const NO_OP = 'http'

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
const CODES = Object.keys(STATUS) as KmsErrorCode[]
const CODE_INDEX = new Map(CODES.map((code, index) => [code, index]))
const REASON_INDEX = new Map(REJECT_REASONS.map((reason, index) => [reason, index]))

/** Where a {@link RouteMeter} has what: numbers first, then its arrays. */
const AT = { inflight: 0, seconds: 1, requests: 2 } as const
const BUCKETS_AT = 3
const REFUSALS_AT = BUCKETS_AT + REQUEST_BUCKETS.length + 1
const STATUSES_AT = REFUSALS_AT + CODES.length
const METER_CELLS = STATUSES_AT + 600

/** Numbers that another thread may read while this one counts; one thread alone writes them. */
export function sharedCells(length: number): Float64Array {
  return new Float64Array(new SharedArrayBuffer(length * Float64Array.BYTES_PER_ELEMENT))
}

/**
 * The counters of one method of one route. A request touches numbers in a preallocated array; a labelled observation
 * of prom-client would build and hash a label string each time.
 */
export class RouteMeter {
  readonly route: string
  readonly method: string
  readonly op: string
  readonly cells: Float64Array
  readonly statuses: Float64Array
  /** Requests per bucket of {@link REQUEST_BUCKETS}, not cumulative; the last one is +Inf. */
  readonly buckets: Float64Array
  readonly #refusals: Float64Array

  constructor(route: string, method: string, op: string, cells?: Float64Array) {
    this.route = route
    this.method = method
    this.op = op
    this.cells = cells ?? new Float64Array(METER_CELLS)
    this.buckets = this.cells.subarray(BUCKETS_AT, REFUSALS_AT)
    this.#refusals = this.cells.subarray(REFUSALS_AT, STATUSES_AT)
    this.statuses = this.cells.subarray(STATUSES_AT)
  }

  /** A request came in. */
  begin(): void {
    bump(this.cells, AT.inflight, 1)
  }

  /** It was answered after `seconds`. */
  end(status: number, seconds: number): void {
    bump(this.cells, AT.inflight, -1)
    bump(this.statuses, status, 1)
    bump(this.cells, AT.seconds, seconds)
    bump(this.cells, AT.requests, 1)
    let bucket = 0
    while (bucket < REQUEST_BUCKETS.length && seconds > (REQUEST_BUCKETS[bucket] ?? 0)) bucket += 1
    bump(this.buckets, bucket, 1)
  }

  /** It failed before it reached the engine. */
  refuse(code: KmsErrorCode): void {
    bump(this.#refusals, CODE_INDEX.get(code) ?? 0, 1)
  }

  get inflight(): number {
    return this.cells[AT.inflight] ?? 0
  }

  get seconds(): number {
    return this.cells[AT.seconds] ?? 0
  }

  get requests(): number {
    return this.cells[AT.requests] ?? 0
  }

  /** What this front end refused, by code; what the engine refuses, the engine counts. */
  get refusals(): ReadonlyMap<KmsErrorCode, number> {
    const counts = CODES.map((code, index) => [code, this.#refusals[index] ?? 0] as const)
    return new Map(counts.filter(([, count]) => count > 0))
  }

  /** Nothing is under way any more: the thread that counted has ended. */
  abandon(): void {
    this.cells[AT.inflight] = 0
  }
}

/** Counters of the HTTP front end, as a scrape reads them. */
export interface HttpCounters {
  meters(): Iterable<RouteMeter>
  readonly rejected: Readonly<Record<RejectReason, number>>
}

/** All counters of the HTTP front end on one thread. */
export class HttpMetrics implements HttpCounters {
  readonly #meters = new Map<string, RouteMeter>()
  readonly #rejected: Float64Array
  readonly #onMeter: (meter: RouteMeter) => void
  readonly #make: typeof newMeter

  /** `shared` where another thread reads them: its cells, and what it is told of. */
  constructor(shared?: SharedMetrics) {
    this.#rejected = shared?.rejected ?? new Float64Array(REJECT_REASONS.length)
    this.#onMeter = shared?.onMeter ?? (() => {})
    this.#make = shared ? newSharedMeter : newMeter
    for (const meter of shared?.meters ?? []) this.#meters.set(idOf(meter), meter)
  }

  /** The one meter of a route and method; methods that HTTP does not define share one. */
  meter(route: string, method: string, op: string): RouteMeter {
    const name = METHODS.has(method) ? method : 'other'
    const id = idOf({ route, method: name })
    let meter = this.#meters.get(id)
    if (!meter) {
      meter = this.#make(route, name, op)
      this.#meters.set(id, meter)
      this.#onMeter(meter)
    }
    return meter
  }

  /** Something was refused before any work. */
  reject(reason: RejectReason): void {
    bump(this.#rejected, REASON_INDEX.get(reason) ?? 0, 1)
  }

  /** What was refused before any work. */
  get rejected(): Record<RejectReason, number> {
    return reasons(this.#rejected)
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

/** Counters that another thread reads. */
export interface SharedMetrics {
  /** As many cells as there are {@link REJECT_REASONS}. */
  readonly rejected: Float64Array
  /** Meters that are there already. */
  readonly meters: Iterable<RouteMeter>
  /** Told of every other that is made. */
  readonly onMeter: (meter: RouteMeter) => void
}

/** The counters of several threads, added up. */
export function summed(all: () => Iterable<HttpCounters>): HttpCounters {
  return {
    meters() {
      const sums = new HttpMetrics()
      for (const counters of all()) {
        for (const { route, method, op, cells } of counters.meters()) {
          const sum = sums.meter(route, method, op).cells
          cells.forEach((value, index) => {
            bump(sum, index, value)
          })
        }
      }
      return sums.meters()
    },
    get rejected() {
      const sums = new Float64Array(REJECT_REASONS.length)
      for (const { rejected } of all()) {
        REJECT_REASONS.forEach((reason, index) => {
          bump(sums, index, rejected[reason])
        })
      }
      return reasons(sums)
    },
  }
}

function newMeter(route: string, method: string, op: string): RouteMeter {
  return new RouteMeter(route, method, op)
}

function newSharedMeter(route: string, method: string, op: string): RouteMeter {
  return new RouteMeter(route, method, op, sharedCells(METER_CELLS))
}

function idOf({ route, method }: Pick<RouteMeter, 'route' | 'method'>): string {
  return `${method} ${route}`
}

function reasons(cells: Float64Array): Record<RejectReason, number> {
  const entries = REJECT_REASONS.map((reason, index) => [reason, cells[index] ?? 0])
  return Object.fromEntries(entries) as Record<RejectReason, number>
}

function bump(cells: Float64Array, index: number, by: number): void {
  cells[index] = (cells[index] ?? 0) + by
}
