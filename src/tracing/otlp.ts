/** OTLP/JSON: spans as `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`. */

/** One span. */
export interface Span {
  /** 32 hex digits. */
  readonly traceId: string
  /** 16 hex digits. */
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly name: string
  /** Whether it is the work of a server for a request from outside. */
  readonly server: boolean
  /** Unix milliseconds, with a fraction. */
  readonly startMs: number
  readonly endMs: number
  readonly attributes: Readonly<Record<string, string | undefined>>
  /** The error code, where it failed. */
  readonly error: string | undefined
}

const INTERNAL = 1
const SERVER = 2
const ERROR = 2

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
    kind: span.server ? SERVER : INTERNAL,
    startTimeUnixNano: nanos(span.startMs),
    endTimeUnixNano: nanos(span.endMs),
    attributes: attributes(span.attributes),
    status: span.error === undefined ? {} : { code: ERROR, message: span.error },
  }
}

function attributes(of: Readonly<Record<string, string | undefined>>) {
  return Object.entries(of).flatMap(([key, text]) =>
    text === undefined ? [] : [{ key, value: { stringValue: text } }],
  )
}

/** Nanoseconds as decimal digits: they pass 2^53. */
function nanos(ms: number): string {
  return (BigInt(Math.round(ms * 1000)) * 1000n).toString()
}
