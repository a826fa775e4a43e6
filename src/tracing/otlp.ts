/** OTLP/JSON: spans as `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`. */

/** One span. */
export interface Span {
  /** 32 hex digits. */
  readonly traceId: string
  /** 16 hex digits. */
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly name: string
  /** Whether it is the work of a server for a request from outside, a request to another part, or neither. */
  readonly kind: 'server' | 'client' | 'internal'
  /** Unix milliseconds, with a fraction. */
  readonly startMs: number
  readonly endMs: number
  readonly attributes: Attributes
  /** The error code, where it failed. */
  readonly error: string | undefined
}

/** What a span says beside its times; what is undefined is not said. */
export type Attributes = Readonly<Record<string, string | number | undefined>>

const INTERNAL = 1
const SERVER = 2
const CLIENT = 3
const ERROR = 2
const KINDS = { internal: INTERNAL, server: SERVER, client: CLIENT } as const

/** The body of a request that exports these spans. */
export function traceBody(spans: readonly Span[], version: string): string {
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: attributes({ 'service.name': 'ron-kms', 'service.version': version }) },
        scopeSpans: [{ scope: { name: 'ron-kms', version }, spans: spans.map(toJson) }],
      },
    ],
  })
}

function toJson(span: Span) {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    // JSON.stringify leaves out what is undefined.
    parentSpanId: span.parentSpanId,
    name: span.name,
    kind: KINDS[span.kind],
    startTimeUnixNano: nanos(span.startMs),
    endTimeUnixNano: nanos(span.endMs),
    attributes: attributes(span.attributes),
    status: span.error === undefined ? {} : { code: ERROR, message: span.error },
  }
}

function attributes(of: Attributes) {
  return Object.entries(of).flatMap(([key, value]) =>
    value === undefined
      ? []
      : [{ key, value: typeof value === 'number' ? { doubleValue: value } : { stringValue: value } }],
  )
}

/** Nanoseconds as decimal digits: they pass 2^53. */
function nanos(ms: number): string {
  return (BigInt(Math.round(ms * 1000)) * 1000n).toString()
}
