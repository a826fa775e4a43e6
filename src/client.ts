/**
 * A client of the HTTP API, for Node and browsers: `fetch`, and types that are read off the OpenAPI document's schemas.
 *
 * @module ron-kms/client
 */
import type { Model, Of } from './api/model.js'
import type { OPERATIONS, OperationName } from './api/operations.js'
import type { SchemaName } from './api/schemas.js'
import { type ErrorRecord, fromRecord, KmsError } from './errors.js'

export { KmsError, type KmsErrorCode, type KmsErrorDetails } from './errors.js'
export type { Model, Of, SchemaName }

/** How a client reaches its service. */
export interface KmsClientOptions {
  /** Where the service is, such as `http://127.0.0.1:9446`; a path in it is kept. */
  readonly baseUrl: string | URL
  /** The bearer token, or what gives it for each request. */
  readonly token: string | (() => string | Promise<string>)
  /** Sends requests; the platform's `fetch` unless given. */
  readonly fetch?: typeof fetch
  /** How long a request may take, in milliseconds; 10,000 unless said. */
  readonly timeoutMs?: number
}

/** What a single call may have beside its input. */
export interface CallOptions {
  /** Sent as `X-Corr-ID`: a UUID that joins requests. */
  readonly corrId?: string
  readonly signal?: AbortSignal
}

/** An error that the service answered with. */
export class KmsClientError extends KmsError {
  /** The HTTP status. */
  readonly status: number
  /** What the service calls the request in its log. */
  readonly requestId: string | undefined

  constructor(error: KmsError, status: number, requestId: string | undefined) {
    super(error.code, error.message, {
      retryable: error.retryable,
      ...(error.field !== undefined && { field: error.field }),
      ...(error.retryAfterMs !== undefined && { retryAfterMs: error.retryAfterMs }),
    })
    this.status = status
    this.requestId = requestId
  }
}

type Docs = typeof OPERATIONS
/** The body of an operation. */
export type RequestOf<Op extends OperationName> = Op extends 'sign_batch'
  ? readonly Model<'SignItem'>[]
  : Op extends 'verify_batch'
    ? readonly Model<'VerifyItem'>[]
    : BodyOf<Op>
type BodyOf<Op extends OperationName> = Docs[Op] extends { request: infer Name extends SchemaName }
  ? Model<Name>
  : never
/** The answer of an operation. */
export type ResponseOf<Op extends OperationName> = Docs[Op] extends {
  response: infer Name extends SchemaName
}
  ? Model<Name>
  : string

/** Which page of a tenant's keys. */
export interface ListKeysQuery {
  readonly tenant: string
  /** 1 to 512; 100 unless said. */
  readonly limit?: number
  /** `next` of the page before. */
  readonly after?: string
}

const TIMEOUT_MS = 10_000

/**
 * The key service behind an address. Each method is one request and is not tried again; a mutation that carries an
 * `op_id` may be. Methods reject with {@link KmsClientError} for what the service answered, and with {@link KmsError}
 * `StoreUnavailable` or `Timeout` where no answer of it came.
 */
export class KmsClient {
  readonly #base: string
  readonly #options: KmsClientOptions

  constructor(options: KmsClientOptions) {
    const base = String(options.baseUrl)
    this.#base = base.endsWith('/') ? base.slice(0, -1) : base
    this.#options = options
  }

  /** Makes a key. */
  createKey(body: RequestOf<'create'>, call?: CallOptions): Promise<ResponseOf<'create'>> {
    return this.#post('/keys', body, call)
  }

  /** Makes a key of a private key that was made elsewhere, where the service allows it. */
  importKey(body: RequestOf<'import'>, call?: CallOptions): Promise<ResponseOf<'import'>> {
    return this.#post('/keys/import', body, call)
  }

  /** A page of the keys of a tenant. */
  listKeys(query: ListKeysQuery, call?: CallOptions): Promise<ResponseOf<'list'>> {
    const fields = new URLSearchParams()
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) fields.set(name, String(value))
    }
    return this.#get(`/keys?${fields}`, call)
  }

  /** Every key of a tenant, page by page. */
  async *eachKey(tenant: string, call?: CallOptions): AsyncGenerator<Model<'ListedKey'>> {
    for (let after: string | undefined; ; ) {
      const page = await this.listKeys({ tenant, ...(after !== undefined && { after }) }, call)
      yield* page.keys
      after = page.next
      if (after === undefined) return
    }
  }

  /** Shows the public side of a key: the version named, or the head. */
  describeKey(kid: string, call?: CallOptions): Promise<ResponseOf<'describe'>> {
    return this.#get(`/keys/${encodeURIComponent(kid)}`, call)
  }

  /** Says where a key is held. */
  attestKey(kid: string, call?: CallOptions): Promise<ResponseOf<'attest'>> {
    return this.#get(`/attest/${encodeURIComponent(kid)}`, call)
  }

  /** Adds a version. */
  rotateKey(kid: string, body: RequestOf<'rotate'> = {}, call?: CallOptions): Promise<ResponseOf<'rotate'>> {
    return this.#ofKey(kid, 'rotate', body, call)
  }

  /** Makes a key from a key and a context. */
  deriveKey(kid: string, body: RequestOf<'derive'>, call?: CallOptions): Promise<ResponseOf<'derive'>> {
    return this.#ofKey(kid, 'derive', body, call)
  }

  /** Mints a capability within the client's own. */
  mintCapability(
    body: RequestOf<'mint_capability'>,
    call?: CallOptions,
  ): Promise<ResponseOf<'mint_capability'>> {
    return this.#post('/capabilities', body, call)
  }

  /** Takes a key or a version out of use. */
  disableKey(
    kid: string,
    body: RequestOf<'disable'> = {},
    call?: CallOptions,
  ): Promise<ResponseOf<'disable'>> {
    return this.#ofKey(kid, 'disable', body, call)
  }

  /** Takes a key or a version into use again. */
  enableKey(kid: string, body: RequestOf<'enable'> = {}, call?: CallOptions): Promise<ResponseOf<'enable'>> {
    return this.#ofKey(kid, 'enable', body, call)
  }

  /** Schedules the destruction of a key or a version. */
  destroyKey(
    kid: string,
    body: RequestOf<'destroy'> = {},
    call?: CallOptions,
  ): Promise<ResponseOf<'destroy'>> {
    return this.#ofKey(kid, 'destroy', body, call)
  }

  /** Cancels a destruction that is scheduled. */
  cancelDestroy(
    kid: string,
    body: RequestOf<'cancel_destroy'> = {},
    call?: CallOptions,
  ): Promise<ResponseOf<'cancel_destroy'>> {
    return this.#ofKey(kid, 'cancel_destroy', body, call)
  }

  /** Signs under a key, or under a set of keys. */
  sign(body: RequestOf<'sign'>, call?: CallOptions): Promise<ResponseOf<'sign'>> {
    return this.#post('/sign', body, call)
  }

  /** Signs many: an answer or an error for each, in order. */
  signBatch(body: RequestOf<'sign_batch'>, call?: CallOptions): Promise<ResponseOf<'sign_batch'>> {
    return this.#post('/sign_batch', body, call)
  }

  /** Verifies the signatures over one payload; `ok` is the verdict. */
  verify(body: RequestOf<'verify'>, call?: CallOptions): Promise<ResponseOf<'verify'>> {
    return this.#post('/verify', body, call)
  }

  /** Verifies many: a verdict or an error for each, in order. */
  verifyBatch(body: RequestOf<'verify_batch'>, call?: CallOptions): Promise<ResponseOf<'verify_batch'>> {
    return this.#post('/verify_batch', body, call)
  }

  /** Encrypts a data key to the head of a key. */
  wrap(body: RequestOf<'wrap'>, call?: CallOptions): Promise<ResponseOf<'wrap'>> {
    return this.#post('/wrap', body, call)
  }

  /** Decrypts a data key. */
  unwrap(body: RequestOf<'unwrap'>, call?: CallOptions): Promise<ResponseOf<'unwrap'>> {
    return this.#post('/unwrap', body, call)
  }

  /** Encrypts a data key anew, to the head. */
  rewrap(body: RequestOf<'rewrap'>, call?: CallOptions): Promise<ResponseOf<'rewrap'>> {
    return this.#post('/rewrap', body, call)
  }

  /** The last checkpoint of the audit log: a signed note. */
  auditCheckpoint(call?: CallOptions): Promise<string> {
    return this.#send('GET', '/audit/checkpoint', undefined, call)
  }

  /** The proof that a record is in the audit log. */
  auditProof(index: number, call?: CallOptions): Promise<ResponseOf<'audit_proof'>> {
    return this.#get(`/audit/proof/${index}`, call)
  }

  #ofKey<T>(kid: string, action: string, body: object, call?: CallOptions): Promise<T> {
    return this.#post(`/keys/${encodeURIComponent(kid)}/${action}`, body, call)
  }

  async #get<T>(path: string, call?: CallOptions): Promise<T> {
    return parse<T>(await this.#send('GET', path, undefined, call))
  }

  async #post<T>(path: string, body: object, call?: CallOptions): Promise<T> {
    return parse<T>(await this.#send('POST', path, JSON.stringify(body), call))
  }

  async #send(method: string, path: string, body?: string, call: CallOptions = {}): Promise<string> {
    const { token, fetch: send = fetch, timeoutMs = TIMEOUT_MS } = this.#options
    const timeout = AbortSignal.timeout(timeoutMs)
    const headers = {
      authorization: `Bearer ${typeof token === 'string' ? token : await token()}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(call.corrId !== undefined && { 'x-corr-id': call.corrId }),
    }
    let response: Response
    let text: string
    try {
      response = await send(`${this.#base}/v1/kms${path}`, {
        method,
        headers,
        ...(body !== undefined && { body }),
        redirect: 'error',
        signal: call.signal ? AbortSignal.any([call.signal, timeout]) : timeout,
      })
      text = await response.text()
    } catch (cause) {
      if (call.signal?.aborted) throw cause
      if (timeout.aborted) throw new KmsError('Timeout', 'the service did not answer in time', { cause })
      throw new KmsError('StoreUnavailable', 'the service cannot be reached', { cause })
    }
    if (!response.ok) throw problem(response, text)
    return text
  }
}

function parse<T>(text: string): T {
  try {
    return JSON.parse(text) as T
  } catch (cause) {
    throw new KmsError('Internal', 'the answer is not JSON', { cause })
  }
}

/** Something between client and service may answer in its own words. */
function problem(response: Response, text: string): KmsClientError {
  const requestId = response.headers.get('x-request-id') ?? undefined
  try {
    const { error } = JSON.parse(text) as { error: ErrorRecord }
    return new KmsClientError(fromRecord(error), response.status, requestId)
  } catch {
    const unknown = new KmsError('Internal', 'the answer is not one of this service', {
      retryable: response.status >= 500,
    })
    return new KmsClientError(unknown, response.status, requestId)
  }
}
