/** The key service as a typed object. */
import type { CallContext, NativeKms } from '../index.js'
import {
  type PackedMessages,
  packMessages,
  packSignatures,
  requireBytes,
  requireObject,
  requireString,
} from './bytes.js'
import type { Outcome } from './coalescer.js'
import { type ErrorRecord, fromRecord, KmsError, toKmsError } from './errors.js'
import {
  type Algorithm,
  type AttestedDto,
  type CreatedDto,
  type CreatedKey,
  type CreateKeyOptions,
  type DescribedDto,
  type KeyAttestation,
  type KeyDescription,
  type RotatedDto,
  type RotatedKey,
  type RotateKeyOptions,
  toAttestation,
  toCreated,
  toDescription,
  toRotated,
} from './key-types.js'
import { KnownKids } from './known-kids.js'
import { requireNative } from './native.js'
import type { VerifyLane } from './primitives.js'
import { isShort } from './short-work.js'

export type { CallContext } from '../index.js'

/** How a key service is opened. */
export interface KmsOptions {
  /** Where keys live. `inmem`: in this process, and gone with it. */
  backend: 'inmem'
  /** Algorithms that keys may be created of; all of this build by default. */
  allowedAlgs?: readonly Algorithm[]
  /** Implementations by name; `auto` by default. */
  lanes?: { sign?: SignLane; verify?: Exclude<VerifyLane, 'noble'> }
  /**
   * Whether each signature is verified before it leaves, so that a fault of the machine in the middle of signing,
   * which can reveal the key, does not. Off by default here, on in `ron-kms serve`; it adds about half to the
   * time of one signature, and a fifth in a batch.
   */
  verifyAfterSign?: boolean
}

/**
 * An implementation of Ed25519 signing.
 *
 * - `auto`: the fastest that wipes its keys: `aws-lc`, and on Windows `dalek`.
 * - `aws-lc`: AWS-LC's assembly.
 * - `dalek`: ed25519-dalek.
 * - `ring`: ring, which never wipes its keys: for benchmarks only.
 */
export type SignLane = 'auto' | 'aws-lc' | 'dalek' | 'ring'

/** One message to sign under a kid. */
export interface KidSignItem {
  /** With or without `#vN`; with it, N must be the head. */
  kid: string
  /** What is signed; a key that signs digests has it hashed here. */
  message: Uint8Array
}

/**
 * The signatures of a batch, in order: 64 bytes each, or `null` for an item that could not be signed, where `errors`
 * says why. All of them lie in one buffer.
 */
export type BatchSignatures = (Uint8Array | null)[] & { readonly errors: ReadonlyMap<number, KmsError> }

/** One signature to check under a kid. */
export interface KidVerifyItem {
  /** With its version. */
  kid: string
  /** What was signed; a key that signs digests has it hashed here. */
  message: Uint8Array
  /** 64 bytes; any other length is invalid. */
  signature: Uint8Array
}

/** 0 invalid, 1 valid, 2 could not check; `errors` says why for each item that could not be checked. */
export type BatchVerdicts = Uint8Array & { readonly errors: ReadonlyMap<number, KmsError> }

/** A request to verify, as the HTTP API has it. */
export interface VerifyRequest {
  /** JSON. */
  readonly body: Uint8Array
  readonly context: CallContext
}

/** The operations of {@link Kms.dispatch}. */
export type Operation =
  | 'create'
  | 'describe'
  | 'attest'
  | 'rotate'
  | 'sign'
  | 'verify'
  | 'sign_batch'
  | 'verify_batch'
  | 'export'

/** The engine's counters since it was opened. Buckets are not cumulative; the last is above every bound. */
export interface EngineMetrics {
  ops: { op: string; alg: string; result: 'ok' | 'invalid' | 'err'; value: number }[]
  latency: { op: string; alg: string; buckets: number[]; sum: number; count: number }[]
  /** Seconds, ascending. */
  latencyBounds: number[]
  failures: { op: string; kind: string; value: number }[]
  batch: { op: string; buckets: number[]; sum: number; count: number }[]
  batchBounds: number[]
  keys: { alg: string; value: number }[]
}

/** A batch as the addon takes it; `kids` are those of the items whose number is 0, in order. */
interface Packed extends PackedMessages {
  readonly kids: string[]
  readonly kidNumbers: Uint32Array
}

const LIBRARY: CallContext = { requestId: '', actor: 'library' }
const NO_BODY = new Uint8Array(0)

/**
 * A key service in this process. Private keys stay in native memory: no call returns one, and they are
 * wiped when the service is closed.
 *
 * Synchronous calls take microseconds; batches take that for each item. Every call may be made at any time:
 * a reader sees the key as it was before a rotation or after it. After {@link Kms.close} every call but
 * `close` and `engineMetrics` throws `StoreUnavailable`.
 */
export class Kms {
  readonly #native: NativeKms
  readonly #kids: KnownKids

  private constructor(native: NativeKms) {
    this.#native = native
    this.#kids = new KnownKids(native)
  }

  /**
   * Opens a key service.
   *
   * @throws KmsError `Unsupported` without a native binary for this platform, and for a backend or an
   * algorithm that is not in this version; `BadRequest` for an unknown lane.
   */
  static async open(options: KmsOptions): Promise<Kms> {
    if (options?.backend !== 'inmem') {
      throw new KmsError('Unsupported', 'only the backend `inmem` is in this version', { field: 'backend' })
    }
    const { NativeKms } = requireNative()
    return attempt(
      () =>
        new Kms(
          new NativeKms({
            ...(options.allowedAlgs && { allowedAlgs: [...options.allowedAlgs] }),
            ...(options.lanes?.sign && { signLane: options.lanes.sign }),
            ...(options.lanes?.verify && { verifyLane: options.lanes.verify }),
            ...(options.verifyAfterSign !== undefined && { verifyAfterSign: options.verifyAfterSign }),
          }),
        ),
    )
  }

  /**
   * Makes a key.
   *
   * @throws KmsError `BadRequest`, `Unsupported`; `Conflict` for an `opId` with another wish.
   */
  async createKey(options: CreateKeyOptions): Promise<CreatedKey> {
    requireObject(options, 'options')
    const { tenant, purpose, alg, signs = 'message', policyHints, opId } = options
    return toCreated(
      this.#json<CreatedDto>('create', null, {
        tenant,
        purpose,
        alg,
        signs,
        policy_hints: policyHints,
        op_id: opId,
      }),
    )
  }

  /**
   * Adds a version. Without `#vN` the head is rotated; with it, only if it still is the head.
   *
   * @throws KmsError `Conflict` for a stale version or while another version is pending, `NotFound`.
   */
  async rotateKey(kid: string, options: RotateKeyOptions = {}): Promise<RotatedKey> {
    requireString(kid, 'kid')
    requireObject(options, 'options')
    return toRotated(
      this.#json<RotatedDto>('rotate', kid, {
        activate_after_ms: options.activateAfterMs,
        op_id: options.opId,
      }),
    )
  }

  /**
   * Shows a key: the version named, or the head.
   *
   * @throws KmsError `NotFound`, `BadRequest`.
   */
  async describeKey(kid: string): Promise<KeyDescription> {
    requireString(kid, 'kid')
    return toDescription(this.#json<DescribedDto>('describe', kid))
  }

  /**
   * Says where a key is held.
   *
   * @throws KmsError `NotFound`, `BadRequest`.
   */
  async attest(kid: string): Promise<KeyAttestation> {
    requireString(kid, 'kid')
    return toAttestation(this.#json<AttestedDto>('attest', kid))
  }

  /**
   * There is no export.
   *
   * @throws KmsError `ExportForbidden`, always.
   */
  async exportKey(kid: string): Promise<never> {
    requireString(kid, 'kid')
    this.#json('export', kid)
    throw new KmsError('ExportForbidden', 'private keys never leave the service')
  }

  /**
   * Signs under the head.
   *
   * @param kid With or without `#vN`; with it, N must be the head.
   * @param message Up to the memory at hand. A message that begins with `ron-kms/` is refused.
   * @returns 64 bytes.
   * @throws KmsError `Conflict` for a version that is not the head, `NotFound`, `BadRequest`.
   */
  sign(kid: string, message: Uint8Array): Uint8Array {
    requireBytes(message, 'message')
    const out = new Uint8Array(64)
    try {
      this.#kids.trim()
      this.#native.sign(this.#kids.numberOf(kid, 'kid') || kid, message, out)
    } catch (error) {
      throw toKmsError(error)
    }
    return out
  }

  /**
   * As {@link Kms.sign}, for every backend. With keys in memory the work is done at once: it is shorter
   * than the way to another thread and back.
   *
   * @throws KmsError (as a rejection) what {@link Kms.sign} throws.
   */
  async signAsync(kid: string, message: Uint8Array): Promise<Uint8Array> {
    return this.sign(kid, message)
  }

  /**
   * Signs many messages, in order. One that cannot be signed is `null` and spoils no other.
   *
   * @throws KmsError `BadRequest` naming an item of a wrong type.
   */
  signBatch(items: readonly KidSignItem[]): BatchSignatures {
    return this.#signPacked(this.#pack(items))
  }

  /**
   * As {@link Kms.signBatch}, off the event loop and on all cores; the inputs are copied first. A batch of a tenth
   * of a millisecond (some 11 small messages) is signed at once: the way to another thread would cost more.
   *
   * @throws KmsError (as a rejection) what {@link Kms.signBatch} throws.
   */
  async signBatchAsync(items: readonly KidSignItem[]): Promise<BatchSignatures> {
    const { kids, kidNumbers, messages, offsets } = this.#pack(items)
    if (isShort('sign', kidNumbers.length, messages.length))
      return this.#signPacked({ kids, kidNumbers, messages, offsets })
    try {
      const answer = await this.#native.signBatchAsync(kids, kidNumbers, messages, offsets)
      return toSignatures(answer.signatures, answer.errors)
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /**
   * The strict verdict on one signature.
   *
   * @param kid With its version.
   * @param signature 64 bytes; any other length is invalid.
   * @throws KmsError only where there is no verdict: `NotFound`, `BadRequest`.
   */
  verify(kid: string, message: Uint8Array, signature: Uint8Array): boolean {
    requireBytes(message, 'message')
    requireBytes(signature, 'signature')
    try {
      this.#kids.trim()
      return this.#native.verify(this.#kids.numberOf(kid, 'kid') || kid, message, signature)
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /**
   * The verdicts on many signatures, in order. One that is bad spoils no other.
   *
   * @throws KmsError `BadRequest` naming an item of a wrong type; a kid that is unknown, malformed or
   * without a version makes its items 2 instead.
   */
  verifyBatch(items: readonly KidVerifyItem[]): BatchVerdicts {
    const packed = this.#pack(items)
    return this.#verifyPacked(packed, packSignatures(items, packed.kidNumbers.length))
  }

  /**
   * As {@link Kms.verifyBatch}, off the event loop and on all cores; the inputs are copied first. A batch of a tenth
   * of a millisecond (some 50 small messages) is verified at once: the way to another thread would cost more.
   *
   * @throws KmsError (as a rejection) what {@link Kms.verifyBatch} throws.
   */
  async verifyBatchAsync(items: readonly KidVerifyItem[]): Promise<BatchVerdicts> {
    const { kids, kidNumbers, messages, offsets } = this.#pack(items)
    const signatures = packSignatures(items, kidNumbers.length)
    if (isShort('verify', kidNumbers.length, messages.length)) {
      return this.#verifyPacked({ kids, kidNumbers, messages, offsets }, signatures)
    }
    try {
      const answer = await this.#native.verifyBatchAsync(kids, kidNumbers, signatures, messages, offsets)
      return withErrors(answer.verdicts, answer.errors)
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /**
   * Carries an operation out for a transport: the JSON of the HTTP API in, its JSON out.
   *
   * @param target The kid in the path of `describe`, `attest`, `rotate` and `export`.
   * @throws KmsError what the HTTP API answers as its error.
   */
  dispatch(op: Operation, target: string | null, body: Uint8Array, context: CallContext): string {
    requireBytes(body, 'body')
    requireObject(context, 'context')
    try {
      return this.#native.dispatch(op, target, context, body)
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /** As {@link Kms.dispatch}, on the service's own threads; the body is copied first. */
  async dispatchAsync(
    op: Operation,
    target: string | null,
    body: Uint8Array,
    context: CallContext,
  ): Promise<string> {
    requireBytes(body, 'body')
    requireObject(context, 'context')
    try {
      return await this.#native.dispatchAsync(op, target, context, body)
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /**
   * {@link Kms.dispatch} of `verify` for requests that came at the same time: their signatures are verified side by
   * side, which costs less. An outcome for each, in order.
   */
  verifyCoalesced(requests: readonly VerifyRequest[]): Outcome<string>[] {
    const offsets = new Uint32Array(requests.length + 1)
    requests.forEach(({ body }, i) => {
      requireBytes(body, `requests[${i}].body`)
      offsets[i + 1] = (offsets[i] as number) + body.length
    })
    const bodies = Buffer.concat(requests.map(({ body }) => body))
    const contexts = requests.map(({ context }) => context)
    const answers = attempt(() => this.#native.verifyCoalesced(contexts, bodies, offsets))
    return answers.map(({ answer, error }) =>
      answer === undefined ? { error: fromRecord(JSON.parse(error ?? 'null') as ErrorRecord) } : { answer },
    )
  }

  /** The counters since the service was opened. */
  engineMetrics(): EngineMetrics {
    return JSON.parse(attempt(() => this.#native.metrics())) as EngineMetrics
  }

  /** Wipes every private key. Later calls throw `StoreUnavailable`; closing twice is harmless. */
  close(): void {
    attempt(() => this.#native.close())
  }

  #signPacked({ kids, kidNumbers, messages, offsets }: Packed): BatchSignatures {
    const out = new Uint8Array(kidNumbers.length * 64)
    const errors = attempt(() => this.#native.signBatch(kids, kidNumbers, messages, offsets, out))
    return toSignatures(out, errors)
  }

  #verifyPacked({ kids, kidNumbers, messages, offsets }: Packed, signatures: Uint8Array): BatchVerdicts {
    const out = new Uint8Array(kidNumbers.length)
    const errors = attempt(() =>
      this.#native.verifyBatch(kids, kidNumbers, signatures, messages, offsets, out),
    )
    return withErrors(out, errors)
  }

  #pack(items: readonly KidSignItem[]): Packed {
    const packed = packMessages(items)
    const kidNumbers = new Uint32Array(packed.offsets.length - 1)
    const kids: string[] = []
    this.#kids.trim()
    for (let i = 0; i < kidNumbers.length; i++) {
      const kid = (items[i] as KidSignItem | undefined)?.kid as string
      const number = this.#kids.numberOf(kid, `items[${i}].kid`)
      if (number === 0) kids.push(kid)
      kidNumbers[i] = number
    }
    return { kids, kidNumbers, ...packed }
  }

  #json<T>(op: Operation, target: string | null, body?: object): T {
    const bytes = body ? toJson(body) : NO_BODY
    return JSON.parse(this.dispatch(op, target, bytes, LIBRARY)) as T
  }
}

/** What JSON has no words for (a BigInt, a cycle) is a fault of the options. */
function toJson(body: object): Uint8Array {
  try {
    return Buffer.from(JSON.stringify(body))
  } catch (cause) {
    throw new KmsError('BadRequest', 'cannot be written as JSON', { field: 'options', cause })
  }
}

/** Errors by item, from the addon's JSON. */
function itemErrors(json: string | null | undefined): Map<number, KmsError> {
  if (!json) return new Map()
  const records = JSON.parse(json) as [number, ErrorRecord][]
  return new Map(records.map(([item, record]) => [item, fromRecord(record)]))
}

function withErrors(verdicts: Uint8Array, json: string | null | undefined): BatchVerdicts {
  return Object.defineProperty(verdicts, 'errors', { value: itemErrors(json) }) as BatchVerdicts
}

function toSignatures(packed: Uint8Array, json: string | null | undefined): BatchSignatures {
  const errors = itemErrors(json)
  const signatures: (Uint8Array | null)[] = []
  for (let i = 0; i < packed.length / 64; i++) {
    signatures.push(errors.has(i) ? null : packed.subarray(i * 64, i * 64 + 64))
  }
  return Object.defineProperty(signatures, 'errors', { value: errors }) as BatchSignatures
}

function attempt<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw toKmsError(error)
  }
}
