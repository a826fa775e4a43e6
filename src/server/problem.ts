import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { KmsErrorCode } from '../errors.js'
import type { RejectReason } from '../metrics/catalog.js'

/** The status of every code; a new code does not compile until it has one. */
export const STATUS = {
  BadRequest: 400,
  Unsupported: 400,
  NoCapability: 403,
  ExportForbidden: 403,
  AttestationMissing: 403,
  NotFound: 404,
  Conflict: 409,
  TooLarge: 413,
  Backpressure: 429,
  Internal: 500,
  StoreUnavailable: 503,
  Timeout: 504,
} as const satisfies Record<KmsErrorCode, ContentfulStatusCode>

/** What every error answer is made of; a `KmsError` is one. */
export interface Problem {
  readonly code: KmsErrorCode
  readonly message: string
  readonly retryable: boolean
  readonly retryAfterMs?: number | undefined
  readonly hint?: string | undefined
  readonly field?: string | undefined
}

/** Extra parts of a {@link Refusal}. */
export interface RefusalOptions {
  /** Where HTTP knows a finer status than the code's own, such as 405 for `Unsupported`. */
  readonly status?: ContentfulStatusCode
  readonly headers?: Readonly<Record<string, string>>
  readonly retryable?: boolean
  readonly retryAfterMs?: number
  readonly hint?: string
  readonly field?: string
  readonly reason?: RejectReason
}

/** A request that the front end turns down before it reaches the engine. Messages are fixed texts. */
export class Refusal extends Error implements Problem {
  override readonly name = 'Refusal'
  readonly code: KmsErrorCode
  readonly status: ContentfulStatusCode
  readonly headers: Readonly<Record<string, string>>
  readonly retryable: boolean
  readonly retryAfterMs: number | undefined
  readonly hint: string | undefined
  readonly field: string | undefined
  readonly reason: RejectReason | undefined

  constructor(code: KmsErrorCode, message: string, options: RefusalOptions = {}) {
    super(message)
    this.code = code
    this.status = options.status ?? STATUS[code]
    this.headers = options.headers ?? {}
    this.retryable = options.retryable ?? false
    this.retryAfterMs = options.retryAfterMs
    this.hint = options.hint
    this.field = options.field
    this.reason = options.reason
  }
}

/** What the peer learns about a fault of the service. */
export const INTERNAL: Problem = { code: 'Internal', message: 'internal error', retryable: false }

const RETRY_LATER_MS = 1000

/** When to try again, for the codes that always say so. */
export function retryAfterMs({ code, retryAfterMs: ms }: Problem): number | undefined {
  return ms ?? (code === 'Backpressure' || code === 'StoreUnavailable' ? RETRY_LATER_MS : undefined)
}

/** The error envelope, the same for every answer that is not 2xx. */
export function envelope(problem: Problem, requestId: string) {
  const { code, message, retryable, hint, field } = problem
  return {
    error: {
      code,
      message,
      retryable,
      // JSON.stringify leaves out what is undefined.
      retry_after_ms: retryAfterMs(problem),
      hint,
      field,
      ts: new Date().toISOString(),
      request_id: requestId,
    },
  }
}

/** Makes every error answer. `more` joins the envelope at the top level. */
export function problemResponse(
  problem: Problem,
  status: ContentfulStatusCode,
  requestId: string,
  headers: Readonly<Record<string, string>>,
  more?: Readonly<Record<string, unknown>>,
): Response {
  const wait = retryAfterMs(problem)
  return new Response(JSON.stringify({ ...more, ...envelope(problem, requestId) }), {
    status,
    headers: {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      ...(wait !== undefined && { 'retry-after': String(Math.max(1, Math.ceil(wait / 1000))) }),
      ...headers,
    },
  })
}
