/** The key service as a typed object. */
import type { CallContext, NativeKms } from '../index.js'
import { AuditLog } from './audit.js'
import { packSignItems, packVerifyItems, toSignatures, toVerdicts } from './batches.js'
import { requireBytes, requireObject, requireString } from './bytes.js'
import type { CapabilityVerifier } from './capability.js'
import type { Outcome } from './coalescer.js'
import { attempt, attemptAsync, type ErrorRecord, fromRecord, KmsError, toKmsError } from './errors.js'
import { KeyStore } from './file-store.js'
import {
  type AttestedDto,
  type CreatedDto,
  type CreatedKey,
  type CreateKeyOptions,
  type DescribedDto,
  type DestroyOptions,
  type ImportKeyOptions,
  type KeyAttestation,
  type KeyDescription,
  type KeyPage,
  type KeyStateChange,
  type KeyStateOptions,
  type ListedDto,
  type ListKeysOptions,
  type RotatedDto,
  type RotatedKey,
  type RotateKeyOptions,
  type StateChangedDto,
  toAttestation,
  toCreated,
  toDescription,
  toPage,
  toRotated,
  toStateChange,
} from './key-types.js'
import { bundleOptions, envelopeOptions, isSlow, named, ownName, startClock, toJson } from './kms-calls.js'
import { checkCustody, isWaitedFor, nativeOptions } from './kms-options.js'
import type {
  BatchSignatures,
  BatchVerdicts,
  BundleVerdict,
  CallTimes,
  EngineMetrics,
  KemMode,
  KidSignItem,
  KidVerifyItem,
  KmsOptions,
  Operation,
  PqPolicy,
  SignatureBundle,
  SignBundleOptions,
  TokenStatus,
  UnwrappedKey,
  VerifyBundleOptions,
  VerifyRequest,
  WrappedKey,
} from './kms-types.js'
import { KnownKids } from './known-kids.js'
import { requireNative } from './native.js'
import { tokenStatus } from './pkcs11.js'
import { pqPolicyJson } from './pq-policy.js'
import { isShort } from './short-work.js'
import { Sweeper } from './sweeper.js'

export type * from './kms-types.js'

const NOTHING = new Uint8Array(0)
/** What has no UTF-8. */
const LONE_SURROGATE = /\p{Surrogate}/u
/** After these something may be due earlier than before: a destruction, a rotation by age. */
const PLANS: ReadonlySet<Operation> = new Set(['create', 'import', 'rotate', 'derive', 'destroy'])
const LIBRARY: CallContext = { requestId: '', actor: 'library' }

/**
 * A key service, on its way to another thread. Good once.
 *
 * @internal
 */
export interface KmsHandle {
  readonly handle: string
  readonly waits: boolean
}

/**
 * A key service in this process. Private keys stay in native memory: no call returns one, and they are
 * wiped when the service is closed.
 *
 * Synchronous calls take microseconds; batches take that for each item. Every call may be made at any time:
 * a reader sees the key as it was before a rotation or after it. Only an enabled version of an enabled key is used,
 * for anything: else a call throws `Conflict`, and so does one that was under way when a key was taken out of use.
 * After {@link Kms.close} every call but `close` and `engineMetrics` throws `StoreUnavailable`.
 */
export class Kms {
  readonly #native: NativeKms
  readonly #kids: KnownKids
  readonly #sweeper: Sweeper
  /** Where the addon writes one Ed25519 signature. Outside V8's heap, or each call would have to move it there. */
  readonly #signature = new Uint8Array(new ArrayBuffer(64))

  /** Whether the audit log waits for a disk: then nothing that it records is done on this thread unless asked to be. */
  readonly #waits: boolean

  /** The audit log. */
  readonly audit: AuditLog
  /** The store of the backend `file`. */
  readonly store: KeyStore

  private constructor(native: NativeKms, waits: boolean) {
    this.#native = native
    this.#waits = waits
    this.audit = new AuditLog(native)
    this.store = new KeyStore(native)
    this.#kids = new KnownKids(native)
    this.#sweeper = new Sweeper(native)
    // What a process before this one scheduled.
    this.#sweeper.sweep()
  }

  /**
   * Opens a key service.
   *
   * A passphrase takes some tenths of a second, on this thread; 100,000 stored keys take some seconds.
   *
   * @throws KmsError `Unsupported` without a native binary for this platform, and for a backend or an
   * algorithm that is not in this version; `BadRequest` for an unknown lane, a policy that contradicts itself and a
   * root key that cannot be read; `StoreUnavailable` for a store that is open elsewhere, that the root key does not
   * open, or that is older than its anchor, and, field `requireMlock`, where memory cannot be locked and that is
   * required; `Internal` for a store that is damaged.
   */
  static async open(options: KmsOptions): Promise<Kms> {
    checkCustody(options)
    const { NativeKms } = requireNative()
    return attempt(() => new Kms(new NativeKms(nativeOptions(options)), isWaitedFor(options)))
  }

  /**
   * The key service of another thread of this process, for calls from this one. Closing it here lets go of it only.
   *
   * @throws KmsError `NotFound` for a handle that was used, or whose service is gone.
   * @internal
   */
  static attach({ handle, waits }: KmsHandle): Kms {
    return attempt(() => new Kms(requireNative().attachKms(handle), waits))
  }

  /**
   * What one other thread needs to {@link Kms.attach} itself to this service.
   *
   * @internal
   */
  share(): KmsHandle {
    return { handle: attempt(() => this.#native.share()), waits: this.#waits }
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
      await this.#json<CreatedDto>('create', null, {
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
   * Makes a key of a private key that was made elsewhere, as version 1. The bytes are the caller's: wipe them, and rotate
   * soon, since a copy is elsewhere still.
   *
   * @throws KmsError `NoCapability` unless the service was opened with `allowImport`; `BadRequest`, field `public_key_b64`,
   * for a public key that is not the private key's own; those of {@link Kms.createKey}.
   */
  async importKey(options: ImportKeyOptions): Promise<CreatedKey> {
    requireObject(options, 'options')
    const { tenant, purpose, alg, signs = 'message', policyHints, opId } = options
    const base64 = (bytes: Uint8Array, field: string) => {
      requireBytes(bytes, field)
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
    }
    return toCreated(
      await this.#json<CreatedDto>('import', null, {
        tenant,
        purpose,
        alg,
        signs,
        private_key_b64: base64(options.privateKey, 'privateKey'),
        public_key_b64: base64(options.publicKey, 'publicKey'),
        pq_public_key_b64: options.pqPublicKey && base64(options.pqPublicKey, 'pqPublicKey'),
        policy_hints: policyHints,
        op_id: opId,
      }),
    )
  }

  /**
   * A page of the keys of a tenant, in an order that stays: a key that was there before the first page is in exactly one.
   *
   * @throws KmsError `BadRequest` naming the field.
   */
  async listKeys(options: ListKeysOptions): Promise<KeyPage> {
    requireObject(options, 'options')
    const { tenant, limit, after } = options
    return toPage(await this.#json<ListedDto>('list', null, { tenant, limit, after }))
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
      await this.#json<RotatedDto>('rotate', kid, {
        alg: options.alg,
        activate_after_ms: options.activateAfterMs,
        op_id: options.opId,
      }),
    )
  }

  /**
   * Takes a key out of use, or one of its versions: nothing is signed, verified, wrapped, unwrapped, derived or (of a
   * whole key) rotated with it until it is enabled again. No older version stands in for a head that is disabled; a
   * pending version that is disabled never becomes the head.
   *
   * When this resolves every use has ended or will fail, on other threads too.
   *
   * @param kid With `#vN` that version, without it the whole key. A version is in use where both are enabled.
   * @throws KmsError `Conflict` unless it is enabled, `NotFound`, `BadRequest`.
   */
  async disableKey(kid: string, options: KeyStateOptions = {}): Promise<KeyStateChange> {
    return this.#changeState('disable', kid, options)
  }

  /**
   * Takes a key or a version into use again.
   *
   * @param kid With `#vN` that version, without it the whole key.
   * @throws KmsError `Conflict` unless it is disabled, `NotFound`, `BadRequest`.
   */
  async enableKey(kid: string, options: KeyStateOptions = {}): Promise<KeyStateChange> {
    return this.#changeState('enable', kid, options)
  }

  /**
   * Takes a key or a version out of use at once, as {@link Kms.disableKey} does, and destroys its private half after a
   * delay, for good. Its public half and its history are still shown then. What was encrypted under it is lost, and
   * what it signed can no longer be verified here.
   *
   * @param kid With `#vN` that version, without it the whole key with all its versions.
   * @throws KmsError `Conflict` unless it is enabled or disabled, `NotFound`; `BadRequest`, field `delay_ms`, for a delay
   * below the least one of the service or over ten years.
   */
  async scheduleDestroy(kid: string, options: DestroyOptions = {}): Promise<KeyStateChange> {
    return this.#changeState('destroy', kid, options)
  }

  /**
   * Keeps what was to be destroyed. It is disabled then, so that using it again takes {@link Kms.enableKey}.
   *
   * @param kid As it was named to {@link Kms.scheduleDestroy}.
   * @throws KmsError `Conflict` unless it is scheduled and its time is still to come, `NotFound`, `BadRequest`.
   */
  async cancelDestroy(kid: string, options: KeyStateOptions = {}): Promise<KeyStateChange> {
    return this.#changeState('cancel_destroy', kid, options)
  }

  /**
   * Shows a key: the version named, or the head.
   *
   * @throws KmsError `NotFound`, `BadRequest`.
   */
  async describeKey(kid: string): Promise<KeyDescription> {
    requireString(kid, 'kid')
    return toDescription(await this.#json<DescribedDto>('describe', kid))
  }

  /**
   * Says where a key is held.
   *
   * @throws KmsError `NotFound`, `BadRequest`.
   */
  async attest(kid: string): Promise<KeyAttestation> {
    requireString(kid, 'kid')
    return toAttestation(await this.#json<AttestedDto>('attest', kid))
  }

  /**
   * There is no export.
   *
   * @throws KmsError `ExportForbidden`, always.
   */
  async exportKey(kid: string): Promise<never> {
    requireString(kid, 'kid')
    await this.#json('export', kid)
    throw new KmsError('ExportForbidden', 'private keys never leave the service')
  }

  /**
   * Makes a key from another and a context, under the same tenant, purpose and algorithms: HKDF with the label
   * `ron-kms::<tenant>::<purpose>::<context>`. The same version and context give the same key again.
   *
   * @param kid With `#vN` that version, without it the head.
   * @param context 1 to 256 bytes of UTF-8 without control characters.
   * @throws KmsError `NotFound`, `BadRequest`.
   */
  async deriveKey(kid: string, context: string): Promise<CreatedKey> {
    requireString(kid, 'kid')
    requireString(context, 'context')
    if (LONE_SURROGATE.test(context)) {
      throw new KmsError('BadRequest', 'must be well-formed Unicode', { field: 'context' })
    }
    return toCreated(await this.#json<CreatedDto>('derive', kid, { context }))
  }

  /**
   * Signs under the head of a key with one track.
   *
   * @param kid With or without `#vN`; with it, N must be the head.
   * @param message Up to the memory at hand. A message that begins with `ron-kms/` is refused.
   * @returns 64 bytes of Ed25519, 2,420, 3,309 or 4,627 of ML-DSA.
   * @throws KmsError `Conflict` for a version that is not the head, `NotFound`, `BadRequest`; `Unsupported` for a
   * hybrid key ({@link Kms.signBundle} signs with both tracks), for SLH-DSA, which is slow, and a key in a token
   * ({@link Kms.signAsync}), and for a key that wraps.
   */
  sign(kid: string, message: Uint8Array): Uint8Array {
    requireBytes(message, 'message')
    try {
      this.#kids.trim()
      const known = this.#kids.numberOf(kid) || kid
      return this.#native.sign(known, message, this.#signature) ?? this.#signature.slice()
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /**
   * As {@link Kms.sign}, for every key with one track. What takes microseconds is done at once: it is shorter than the
   * way to another thread and back. SLH-DSA takes up to seconds, on the service's own threads.
   *
   * @throws KmsError (as a rejection) what {@link Kms.sign} throws.
   */
  async signAsync(kid: string, message: Uint8Array): Promise<Uint8Array> {
    if (!isSlow(kid) && !this.#waits) return this.sign(kid, message)
    requireString(kid, 'kid')
    requireBytes(message, 'message')
    try {
      return await this.#native.signAsync(kid, message)
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /**
   * Signs with every track that policy asks for: both of a hybrid key under the default policy.
   *
   * @throws KmsError as {@link Kms.sign}; `Unsupported` for a context where the key is an Ed25519 one.
   */
  signBundle(kid: string, message: Uint8Array, options: SignBundleOptions = {}): SignatureBundle {
    const { context, produceHybrid } = bundleOptions(kid, message, options)
    if (isSlow(kid))
      throw new KmsError('Unsupported', 'SLH-DSA is slow: use the asynchronous call', { field: 'kid' })
    return named(() => this.#native.signBundle(kid, produceHybrid, message, context)) as SignatureBundle
  }

  /**
   * As {@link Kms.signBundle}, on the service's own threads.
   *
   * @throws KmsError (as a rejection) what {@link Kms.signBundle} throws.
   */
  async signBundleAsync(
    kid: string,
    message: Uint8Array,
    options: SignBundleOptions = {},
  ): Promise<SignatureBundle> {
    const { context, produceHybrid } = bundleOptions(kid, message, options)
    try {
      const bundle = await this.#native.signBundleAsync(kid, produceHybrid, message, context)
      return bundle as SignatureBundle
    } catch (error) {
      throw ownName(error)
    }
  }

  /**
   * Signs many messages, in order, under keys with one track. One that cannot be signed is `null` and spoils no other.
   *
   * @throws KmsError `BadRequest` naming an item of a wrong type.
   */
  signBatch(items: readonly KidSignItem[]): BatchSignatures {
    return this.#signPacked(packSignItems(items, this.#kids))
  }

  /**
   * As {@link Kms.signBatch}, off the event loop and on all cores; the inputs are copied first. A batch of a tenth
   * of a millisecond (some 11 small messages) is signed at once: the way to another thread would cost more.
   *
   * @throws KmsError (as a rejection) what {@link Kms.signBatch} throws.
   */
  async signBatchAsync(items: readonly KidSignItem[]): Promise<BatchSignatures> {
    const packed = packSignItems(items, this.#kids)
    const { kids, kidNumbers, messages, offsets } = packed
    const quick = !this.#waits && kidNumbers.every(number => this.#kids.isEd25519(number))
    if (quick && isShort('sign', kidNumbers.length, messages.length)) return this.#signPacked(packed)
    try {
      return toSignatures(await this.#native.signBatchAsync(kids, kidNumbers, messages, offsets))
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /**
   * The verdict on one signature of a key with one track: strict for Ed25519.
   *
   * @param kid With its version.
   * @param signature A wrong length is invalid.
   * @throws KmsError only where there is no verdict: `NotFound`, `BadRequest`; `Unsupported` for a hybrid key
   * ({@link Kms.verifyBundle}).
   */
  verify(kid: string, message: Uint8Array, signature: Uint8Array): boolean {
    requireBytes(message, 'message')
    requireBytes(signature, 'signature')
    try {
      this.#kids.trim()
      return this.#native.verify(this.#kids.numberOf(kid) || kid, message, signature)
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /**
   * The verdict on all signatures of one key over one message, by policy: under the default one every half of a hybrid
   * signature must hold.
   *
   * @param kid With its version.
   * @throws KmsError only where there is no verdict: `NotFound`; `BadRequest` for a signature of an algorithm that
   * the version has no key of, and for two of one algorithm.
   */
  verifyBundle(
    kid: string,
    message: Uint8Array,
    sigs: SignatureBundle['sigs'],
    options: VerifyBundleOptions = {},
  ): BundleVerdict {
    requireString(kid, 'kid')
    if (!Array.isArray(sigs)) throw new KmsError('BadRequest', 'must be an array', { field: 'sigs' })
    // Everything is read before anything is checked: a getter may detach what another one gave. A hole is undefined.
    const read = Array.from(sigs as SignatureBundle['sigs'], (sig, i) => {
      requireObject(sig, `sigs[${i}]`)
      const { alg, signature } = sig
      return { alg, signature }
    })
    requireObject(options, 'options')
    const { context = NOTHING, mode } = options
    read.forEach(({ alg, signature }, i) => {
      requireString(alg, `sigs[${i}].alg`)
      requireBytes(signature, `sigs[${i}].signature`)
    })
    if (mode !== undefined) requireString(mode, 'mode')
    requireBytes(message, 'message')
    requireBytes(context, 'context')
    return named(() => this.#native.verifyBundle(kid, read, mode, message, context)) as BundleVerdict
  }

  /**
   * The verdicts on many signatures, in order. One that is bad spoils no other.
   *
   * @throws KmsError `BadRequest` naming an item of a wrong type; a kid that is unknown, malformed, without a version
   * or of a hybrid key makes its items 2 instead.
   */
  verifyBatch(items: readonly KidVerifyItem[]): BatchVerdicts {
    return this.#verifyPacked(packVerifyItems(items, this.#kids))
  }

  /**
   * As {@link Kms.verifyBatch}, off the event loop and on all cores; the inputs are copied first. A batch of a tenth
   * of a millisecond (some 50 small messages) is verified at once: the way to another thread would cost more.
   *
   * @throws KmsError (as a rejection) what {@link Kms.verifyBatch} throws.
   */
  async verifyBatchAsync(items: readonly KidVerifyItem[]): Promise<BatchVerdicts> {
    const packed = packVerifyItems(items, this.#kids)
    const { kids, kidNumbers, signatures, signatureOffsets, messages, offsets } = packed
    const quick = signatureOffsets.length === 0
    if (quick && isShort('verify', kidNumbers.length, messages.length)) return this.#verifyPacked(packed)
    try {
      const answer = await this.#native.verifyBatchAsync(
        ...([kids, kidNumbers, signatures, signatureOffsets, messages, offsets] as const),
      )
      return toVerdicts(answer.verdicts, answer.errors)
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /**
   * Encrypts a data key under the head of a key that wraps (HPKE, RFC 9180).
   *
   * @param dataKey 1 to 4,096 bytes; or `{ size }`, and the service makes one of 1 to 512 bytes and returns it too.
   * @param options `kemMode`: refuses a key of another KEM.
   * @throws KmsError `NotFound`, `BadRequest`; `Unsupported` for a key that signs and for another `kemMode`.
   */
  async wrap(
    kid: string,
    dataKey: Uint8Array | { readonly size: number },
    options: { readonly kemMode?: KemMode } = {},
  ): Promise<WrappedKey> {
    requireString(kid, 'kid')
    requireObject(dataKey, 'dataKey')
    requireObject(options, 'options')
    const { kemMode } = options
    if (kemMode !== undefined) requireString(kemMode, 'kemMode')
    let size = 0
    let given: Uint8Array = NOTHING
    if (!ArrayBuffer.isView(dataKey) && 'size' in dataKey) {
      size = dataKey.size
      if (!Number.isInteger(size) || size < 1 || size > 512) {
        throw new KmsError('BadRequest', 'must be a whole number from 1 to 512', { field: 'size' })
      }
    } else {
      requireBytes(dataKey, 'dataKey')
      given = dataKey
    }
    const wrapped = attemptAsync(async () => named(() => this.#native.wrap(kid, size, kemMode, given)))
    return wrapped as Promise<WrappedKey>
  }

  /**
   * Decrypts a data key with whatever version it was wrapped under.
   *
   * @param options `kid`: refuses an envelope that is not of this key, or of this version if it names one.
   * @throws KmsError `BadRequest`, field `envelope`, the same for every reason that an envelope does not open.
   */
  async unwrap(envelope: Uint8Array, options: { readonly kid?: string } = {}): Promise<UnwrappedKey> {
    const kid = envelopeOptions(envelope, options)
    return attemptAsync(async () => this.#native.unwrap(kid, envelope)) as Promise<UnwrappedKey>
  }

  /**
   * Encrypts the data key in an envelope anew, under the head of the same key. The data key stays in native memory.
   *
   * @throws KmsError as {@link Kms.unwrap}.
   */
  async rewrap(envelope: Uint8Array, options: { readonly kid?: string } = {}): Promise<WrappedKey> {
    const kid = envelopeOptions(envelope, options)
    return attemptAsync(async () => this.#native.rewrap(kid, envelope)) as Promise<WrappedKey>
  }

  /**
   * Replaces the post-quantum policy; later calls see the new one whole.
   *
   * @throws KmsError `BadRequest` for a rule that contradicts itself.
   */
  setPqPolicy(policy: PqPolicy): void {
    const json = pqPolicyJson(policy)
    attempt(() => this.#native.setPqPolicy(json))
  }

  /**
   * Bounds the signatures a second that transports ask for, with {@link Kms.dispatch}: what is beyond is `Backpressure`.
   *
   * @param perSecond 0 to 2^32 - 1; 0, as at the start, for no bound.
   * @throws KmsError `BadRequest`.
   */
  setSignRate(perSecond: number): void {
    if (!Number.isInteger(perSecond) || perSecond < 0 || perSecond > 0xffff_ffff) {
      throw new KmsError('BadRequest', 'must be a whole number from 0 to 4294967295', { field: 'perSecond' })
    }
    attempt(() => this.#native.setSignRate(perSecond))
  }

  /**
   * Carries an operation out for a transport: the JSON of the HTTP API in, its JSON out. `null` where that takes
   * longer than the event loop may wait: nothing was done then, and {@link Kms.dispatchAsync} does it.
   *
   * @param target The kid in the path of `describe`, `attest`, `rotate`, `derive`, `export`, `disable`, `enable`, `destroy`
   * and `cancel_destroy`.
   * @throws KmsError what the HTTP API answers as its error.
   */
  dispatch(op: Operation, target: string | null, body: Uint8Array, context: CallContext): string | null {
    requireBytes(body, 'body')
    requireObject(context, 'context')
    try {
      const answer = this.#native.dispatch(op, target, context, body)
      if (PLANS.has(op)) this.#sweeper.sweep()
      return answer
    } catch (error) {
      throw toKmsError(error)
    }
  }

  /** As {@link Kms.dispatch}, on the service's own threads; the body is copied first. Fills `times`. */
  async dispatchAsync(
    op: Operation,
    target: string | null,
    body: Uint8Array,
    context: CallContext,
    times?: CallTimes,
  ): Promise<string> {
    requireBytes(body, 'body')
    requireObject(context, 'context')
    const clock = times && startClock()
    try {
      const answer = await this.#native.dispatchAsync(op, target, context, body, clock?.native)
      if (PLANS.has(op)) this.#sweeper.sweep()
      return answer
    } catch (error) {
      throw toKmsError(error)
    } finally {
      if (clock) Object.assign(times, clock.read())
    }
  }

  /**
   * {@link Kms.dispatch} of `verify` for requests that came at the same time: their signatures are verified side by
   * side, which costs less. An outcome for each, in order; `null` as in {@link Kms.dispatch}.
   */
  verifyCoalesced(requests: readonly VerifyRequest[]): Outcome<string | null>[] {
    const offsets = new Uint32Array(requests.length + 1)
    requests.forEach(({ body }, i) => {
      requireBytes(body, `requests[${i}].body`)
      offsets[i + 1] = (offsets[i] as number) + body.length
    })
    const bodies = Buffer.concat(requests.map(({ body }) => body))
    const contexts = requests.map(({ context }) => context)
    const answers = attempt(() => this.#native.verifyCoalesced(contexts, bodies, offsets))
    return answers.map(({ answer, error }) =>
      error === undefined
        ? { answer: answer ?? null }
        : { error: fromRecord(JSON.parse(error) as ErrorRecord) },
    )
  }

  /** Mints capabilities on line with the root keys of `verifier` from now on: the first that is given stays. */
  mintWith(verifier: CapabilityVerifier): void {
    attempt(() => this.#native.mintWith(verifier.native))
  }

  /** The counters since the service was opened. */
  engineMetrics(): EngineMetrics {
    return JSON.parse(attempt(() => this.#native.metrics())) as EngineMetrics
  }

  /** How the token of the backend `pkcs11` is; undefined with another one, and once the service is closed. */
  tokenStatus(): TokenStatus | undefined {
    return tokenStatus(this.#native)
  }

  /** Wipes every private key. Later calls throw `StoreUnavailable`; closing twice is harmless. */
  close(): void {
    this.#sweeper.stop()
    attempt(() => this.#native.close())
  }

  #signPacked({ kids, kidNumbers, messages, offsets }: ReturnType<typeof packSignItems>): BatchSignatures {
    const signatures = new Uint8Array(kidNumbers.length * 64)
    const rest = attempt(() => this.#native.signBatch(kids, kidNumbers, messages, offsets, signatures))
    return toSignatures({ signatures, ...(rest && { rest }) })
  }

  #verifyPacked(packed: ReturnType<typeof packVerifyItems>): BatchVerdicts {
    const { kids, kidNumbers, signatures, signatureOffsets, messages, offsets } = packed
    const out = new Uint8Array(kidNumbers.length)
    const args = [kids, kidNumbers, signatures, signatureOffsets, messages, offsets, out] as const
    return toVerdicts(
      out,
      attempt(() => this.#native.verifyBatch(...args)),
    )
  }

  async #changeState(op: Operation, kid: string, options: DestroyOptions): Promise<KeyStateChange> {
    requireString(kid, 'kid')
    requireObject(options, 'options')
    const { delayMs, opId } = options
    return toStateChange(await this.#json<StateChangedDto>(op, kid, { delay_ms: delayMs, op_id: opId }))
  }

  async #json<T>(op: Operation, target: string | null, body?: object): Promise<T> {
    const bytes = body ? toJson(body) : NOTHING
    const answer = this.dispatch(op, target, bytes, LIBRARY)
    return JSON.parse(answer ?? (await this.dispatchAsync(op, target, bytes, LIBRARY))) as T
  }
}
