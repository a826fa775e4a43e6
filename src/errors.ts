/** The one error of the package. */
import type { ErrorCode } from '../index.js'

/** Stable error codes, shared by thrown errors and HTTP answers. Codes are only ever added. */
export type KmsErrorCode = ErrorCode

/** What a {@link KmsError} carries beside its code and message. */
export interface KmsErrorDetails {
  /** Whether the same request may succeed later; by default what is usual for the code. */
  retryable?: boolean
  /** The part of the input that is at fault, such as `items[3].signature`. */
  field?: string
  /** When to try again, in milliseconds. */
  retryAfterMs?: number
  /** What was caught, where something was; never shown to a peer. */
  cause?: unknown
}

const RETRYABLE: ReadonlySet<KmsErrorCode> = new Set(['Backpressure', 'StoreUnavailable', 'Timeout'])

/**
 * Every error that this package throws or rejects with. The message is for people, may change, and
 * holds neither a secret nor the caller's values; programs look at `code` and `field`.
 */
export class KmsError extends Error {
  override readonly name = 'KmsError'
  /** The stable code. */
  readonly code: KmsErrorCode
  /** Whether the same request may succeed later. */
  readonly retryable: boolean
  /** The part of the input that is at fault, by the name that the HTTP API gives it, such as `op_id`. */
  declare readonly field?: string
  /** When to try again, in milliseconds, where that is known. */
  declare readonly retryAfterMs?: number

  constructor(code: KmsErrorCode, message: string, details: KmsErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.retryable = details.retryable ?? RETRYABLE.has(code)
    if (details.field !== undefined) this.field = details.field
    if (details.retryAfterMs !== undefined) this.retryAfterMs = details.retryAfterMs
  }
}

/** An error as the addon and the HTTP envelope write it. */
export interface ErrorRecord {
  code: KmsErrorCode
  message: string
  retryable: boolean
  retry_after_ms?: number
  field?: string
}

/** The error that a record describes. */
export function fromRecord(record: ErrorRecord): KmsError {
  return new KmsError(record.code, record.message, {
    retryable: record.retryable,
    ...(record.field !== undefined && { field: record.field }),
    ...(record.retry_after_ms !== undefined && { retryAfterMs: record.retry_after_ms }),
  })
}

/**
 * Whatever was caught, as a {@link KmsError}. The addon writes its errors as JSON into the message, on
 * synchronous and asynchronous paths alike; anything else is `Internal`.
 */
export function toKmsError(caught: unknown): KmsError {
  if (caught instanceof KmsError) return caught
  const record = caught instanceof Error ? parseRecord(caught.message) : undefined
  if (record) return fromRecord(record)
  // Node-API's own words for a value of a wrong type, which it finds before the addon sees it.
  if (/^InvalidArg$|Expected$/.test(String((caught as { code?: unknown } | undefined)?.code))) {
    return new KmsError('BadRequest', 'an argument is of a wrong type', { cause: caught })
  }
  return new KmsError('Internal', 'unexpected failure', { cause: caught })
}

function parseRecord(message: string): ErrorRecord | undefined {
  if (!message.startsWith('{"code":')) return undefined
  try {
    return JSON.parse(message) as ErrorRecord
  } catch {
    return undefined
  }
}

/**
 * What a call of the addon resolves to.
 *
 * @throws KmsError for whatever it throws or rejects with.
 */
export async function attemptAsync<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw toKmsError(error)
  }
}

/**
 * What a call of the addon returns.
 *
 * @throws KmsError for whatever it throws.
 */
export function attempt<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw toKmsError(error)
  }
}
