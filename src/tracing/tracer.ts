/**
 * Spans of requests, exported as OTLP/JSON over HTTP.
 *
 * This is small on purpose: the official SDK takes 5 to 18 µs a span and 50 MB on disk, for a service that makes three
 * spans a request. Nothing here waits: a span is an object in a bounded list, a timer sends lists, and what does not fit or is not
 * taken is counted and dropped. Without an endpoint there is no tracer and nothing is done.
 */
import { randomBytes } from 'node:crypto'
import { type Span, traceBody } from './otlp.js'
import { type Custody, spanId, type WorkTimes, workSpans } from './work-spans.js'

/** How spans leave. */
export interface TracerOptions extends Custody {
  /** Base of an OTLP/HTTP receiver, such as `http://127.0.0.1:4318`; `/v1/traces` is added. */
  readonly endpoint: string
  readonly version: string
  readonly fetch?: typeof fetch
  /** Where it counts, as many as {@link SPAN_RESULTS}; for another thread to read. */
  readonly cells?: Float64Array
}

/** What may become of a span. */
export const SPAN_RESULTS = ['sent', 'dropped', 'failed'] as const

/** What became of spans. */
export type SpanCounts = Record<(typeof SPAN_RESULTS)[number], number>

/** What several tracers counted. */
export function spanCounts(all: readonly Float64Array[]): SpanCounts {
  const sum = (index: number) => all.reduce((total, cells) => total + (cells[index] ?? 0), 0)
  return Object.fromEntries(SPAN_RESULTS.map((result, index) => [result, sum(index)])) as SpanCounts
}

/** A request as a span shows it: the fields of its log line, and nothing else. */
export interface TracedRequest {
  readonly requestId: string
  readonly corrId: string
  readonly tenant: string | undefined
  readonly route: string
  readonly method: string
  readonly op: string
  readonly kidHash: string | undefined
  readonly latencyMs: number
  /** The W3C header of the request, as it came. */
  readonly traceparent: string | undefined
}

const CAPACITY = 4096
const BATCH = 512
const FLUSH_MS = 1000
const TIMEOUT_MS = 5000
/** What is left at the end may hold a shutdown up for this long. */
const LAST_MS = 500
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/
const NONE = /^0+$/

/** Collects and sends spans. */
export class Tracer {
  readonly #url: string
  readonly #options: TracerOptions
  readonly #spans: Span[] = []
  readonly #cells: Float64Array
  #timer: NodeJS.Timeout | undefined

  constructor(options: TracerOptions) {
    const base = options.endpoint
    this.#url = `${base.endsWith('/') ? base.slice(0, -1) : base}/v1/traces`
    this.#options = options
    this.#cells = options.cells ?? new Float64Array(SPAN_RESULTS.length)
  }

  /** A request was answered just now: `svc.kms.http`, and below it {@link workSpans}, where there was work. */
  request(request: TracedRequest, times: WorkTimes | undefined, error: string | undefined): void {
    const parent = TRACEPARENT.exec(request.traceparent ?? '')
    // Whoever sent the header decides whether the trace is kept (W3C Trace Context, section 3.2.2.5).
    if (parent && (Number.parseInt(parent[3] as string, 16) & 1) === 0) return
    const known = parent && !NONE.test(parent[1] as string) && !NONE.test(parent[2] as string)
    const traceId = known ? (parent[1] as string) : randomBytes(16).toString('hex')
    const end = performance.timeOrigin + performance.now()
    const attributes = {
      backend: this.#options.backend,
      corr_id: request.corrId,
      request_id: request.requestId,
      route: request.route,
      'http.request.method': request.method,
      tenant: request.tenant,
      kid_hash: request.kidHash,
      result: error === undefined ? 'ok' : 'err',
      'error.kind': error,
    }
    const root: Span = {
      traceId,
      spanId: spanId(),
      parentSpanId: known ? (parent[2] as string) : undefined,
      name: 'svc.kms.http',
      kind: 'server',
      startMs: end - request.latencyMs,
      endMs: end,
      attributes,
      error,
    }
    this.#add(root)
    for (const span of times ? workSpans(root, request.op, times, this.#options) : []) this.#add(span)
  }

  /** What became of spans since the start. */
  status(): SpanCounts {
    return spanCounts([this.#cells])
  }

  /** Sends what is left, for half a second at most. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    await this.#flush(LAST_MS)
  }

  #add(span: Span): void {
    if (this.#spans.length >= CAPACITY) {
      this.#count('dropped', 1)
      return
    }
    this.#spans.push(span)
    if (this.#timer) return
    this.#timer = setTimeout(() => {
      this.#flush(TIMEOUT_MS).finally(() => {
        this.#timer = undefined
      })
    }, FLUSH_MS)
    this.#timer.unref()
  }

  #count(result: keyof SpanCounts, by: number): void {
    const index = SPAN_RESULTS.indexOf(result)
    this.#cells[index] = (this.#cells[index] ?? 0) + by
  }

  async #flush(timeoutMs: number): Promise<void> {
    const signal = () => AbortSignal.timeout(timeoutMs)
    const { fetch: send = fetch, version } = this.#options
    while (this.#spans.length > 0) {
      const batch = this.#spans.splice(0, BATCH)
      const taken = await send(this.#url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: traceBody(batch, version),
        redirect: 'error',
        signal: signal(),
      }).then(
        response => response.body?.cancel().then(() => response.ok) ?? response.ok,
        () => false,
      )
      this.#count(taken ? 'sent' : 'failed', batch.length)
      // A receiver that is gone is tried again with the next list, not with all that wait.
      if (!taken) return
    }
  }
}
