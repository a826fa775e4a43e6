/** What the key service takes and gives. */
import type { CallContext } from '../index.js'
import type { AuditOptions, AuditPosition } from './audit.js'
import type { KmsError } from './errors.js'
import type { AlgorithmFamily, SigningAlgorithm, WrappingAlgorithm } from './key-types.js'
import type { Pkcs11Options } from './pkcs11.js'
import type { VerifyLane } from './primitives.js'

export type { CallContext } from '../index.js'
export type {
  AuditLog,
  AuditOptions,
  AuditPosition,
  AuditProof,
  AuditStatus,
  ConsistencyProof,
} from './audit.js'
export type { KeyStore } from './file-store.js'
export type { AttestPolicy, Pkcs11Options, TokenStatus } from './pkcs11.js'

/** How a key service is opened. */
export interface KmsOptions {
  /**
   * Where keys live. `inmem`: in this process, and gone with it. `file`: in a directory of sealed files. `pkcs11`: Ed25519
   * keys in a token, and what a token does not keep (states, public halves, keys of other algorithms) in a directory of
   * sealed files beside it.
   */
  backend: Backend
  /** With the backends `file` and `pkcs11`: where, and what opens it. */
  store?: FileStoreOptions
  /** With the backend `pkcs11`: the token. */
  pkcs11?: Pkcs11Options
  /**
   * The backends whose keys may be in the store; the first is `backend`, which makes keys and signs, and keys of the other
   * one only verify. `[backend]` by default; `file` and `pkcs11` can be together.
   */
  multiBackends?: readonly Backend[]
  /**
   * Whether a key of the second backend signs where it claims the same attestation class as those of the first, under
   * the same kid and version. No by default; a file and a token never claim the same.
   */
  allowSignFallback?: boolean
  /** Families of algorithms that keys may be created of, all by default; a hybrid key needs both of its. */
  allowedAlgs?: readonly AlgorithmFamily[]
  /**
   * Implementations by name; `auto` by default. `sign` and `verify` are of Ed25519, `pq` of ML-DSA, ML-KEM and
   * X-Wing: `aws-lc`, or `rustcrypto`, the reference.
   */
  lanes?: { sign?: SignLane; verify?: Exclude<VerifyLane, 'noble'>; pq?: 'auto' | 'aws-lc' | 'rustcrypto' }
  /** Which halves of hybrid signatures are made, and which must hold; see {@link PqPolicy}. */
  pq?: PqPolicy
  /**
   * Whether each signature is verified before it leaves, so that a fault of the machine in the middle of signing,
   * which can reveal the key, does not. Off by default here, on in `ron-kms serve`; it adds about half to the
   * time of one signature, and a fifth in a batch.
   */
  verifyAfterSign?: boolean
  /**
   * The shortest time from {@link Kms.scheduleDestroy} until a key is destroyed, in milliseconds: 24 hours by default,
   * at most ten years. 0 leaves no time to change one's mind.
   */
  minDestroyDelayMs?: number
  /**
   * Whether private keys that were made elsewhere may be imported ({@link Kms.importKey}). Off by default: a copy of such a
   * key is elsewhere still.
   */
  allowImport?: boolean
  /** The audit log; none by default here, on in `ron-kms serve`. */
  audit?: AuditOptions
  /**
   * What becomes of a service whose store is older than its anchor, or whose audit log is not what it was. `refuse`, the
   * default: it does not open. `verify-only`: it opens, verifies, and refuses everything else; `audit.status()`
   * says why.
   */
  onMismatch?: 'refuse' | 'verify-only'
  /**
   * Whether every secret of this process must be in memory that the operating system has locked into RAM. Opening then
   * fails where it cannot be, and so does, while the service is open, an operation whose secrets no longer fit into what
   * may be locked. Off by default: what is not locked is counted (`secretMemory`).
   */
  requireMlock?: boolean
}

/** What holds private keys. */
export type Backend = 'inmem' | 'file' | 'pkcs11'

/** Where the key at the top of a store comes from: a file, or an environment variable. It never enters JavaScript. */
export interface RootKeyOptions {
  /**
   * - `key-file`: 32 random bytes, or 64 hex digits. `ronctl root-key new FILE` makes one.
   * - `passphrase`: of at least 12 bytes, stretched with scrypt (N = 2^17, r = 8).
   * - `age-identity`: an X25519 identity as age-keygen writes it, used as key material.
   * - `hsm`: an AES key in the token of the service, which the first start makes; without `file` and `env`. Where no
   *   service has the token open, `pkcs11` says where it is.
   */
  kind: 'key-file' | 'passphrase' | 'age-identity' | 'hsm'
  /** The file that holds it. Either this or `env`. */
  file?: string
  /** The name of the environment variable that holds it. */
  env?: string
  /** The token that holds it, for `hsm` where no service has that token open. */
  pkcs11?: Pkcs11Options
}

/**
 * A key store in a directory: sealed files, one writer at a time. A change is durable before it is answered, and
 * costs some milliseconds.
 */
export interface FileStoreOptions {
  /** The directory. */
  dir: string
  /** What opens it. May be left out with the backend `pkcs11`: `hsm` then. */
  rootKey?: RootKeyOptions
  /**
   * A file outside the directory, best on another disk, that remembers how far the store was and what was destroyed:
   * with it an older copy of the directory is refused. Without one it is not found out.
   */
  anchor?: string
  /** Makes the store where there is none. */
  create?: boolean
  /** Opens a store that is older than its anchor, or whose anchor is missing. What was destroyed stays so. */
  acceptOlder?: boolean
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
 * The signatures of a batch, in order, or `null` for an item that could not be signed, where `errors`
 * says why. Those of Ed25519 lie in one buffer.
 */
export type BatchSignatures = (Uint8Array | null)[] & { readonly errors: ReadonlyMap<number, KmsError> }

/** One signature to check under a kid. */
export interface KidVerifyItem {
  /** With its version. */
  kid: string
  /** What was signed; a key that signs digests has it hashed here. */
  message: Uint8Array
  /** 64 bytes of Ed25519, and of the other algorithms what they have; any other length is invalid. */
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

/**
 * When the parts of one call were, in milliseconds on the clock of `performance.now()`, for traces. What did not come about
 * is absent.
 */
export interface CallTimes {
  /** A token was asked for signatures. */
  asked?: number | undefined
  /** It had made them, or one had failed. Between the two lies the wait for a session, too. */
  made?: number | undefined
  /** Work on it began, on a thread or on the event loop. */
  began?: number | undefined
  /** That ended. */
  ended?: number | undefined
  /** The answer was there: between this and the end is what waits for the audit log. */
  settled?: number | undefined
}

/** The operations of {@link Kms.dispatch}. */
export type Operation =
  | 'create'
  | 'import'
  | 'describe'
  | 'list'
  | 'attest'
  | 'rotate'
  | 'sign'
  | 'verify'
  | 'sign_batch'
  | 'verify_batch'
  | 'wrap'
  | 'unwrap'
  | 'rewrap'
  | 'derive'
  | 'export'
  | 'disable'
  | 'enable'
  | 'destroy'
  | 'cancel_destroy'
  | 'mint_capability'

/** The engine's counters since it was opened. Buckets are not cumulative; the last is above every bound. */
export interface EngineMetrics {
  ops: { op: string; alg: string; result: 'ok' | 'invalid' | 'err'; value: number }[]
  latency: { op: string; alg: string; buckets: number[]; sum: number; count: number }[]
  /** Seconds, ascending. */
  latencyBounds: number[]
  /** Jobs that wait for a thread, and how long those before them waited; by `latencyBounds`. */
  queue: { depth: number; buckets: number[]; sum: number; count: number }
  failures: { op: string; kind: string; value: number }[]
  batch: { op: string; buckets: number[]; sum: number; count: number }[]
  batchBounds: number[]
  keys: { alg: string; value: number }[]
  /** Refusals by post-quantum policy. */
  pqRefused: number
  /** Verifications that held by a classical half alone. */
  classicalOnly: { tenant: string; value: number }[]
}

/** Which halves of a hybrid signature must hold: any, every, or the post-quantum one. Later ones are stricter. */
export type VerifyMode = 'or' | 'and' | 'pq_only'

/** The rule for the keys of a tenant. */
export interface PqRule {
  /** Whether both halves of a hybrid key sign; true by default. With `and` they must. */
  produceHybrid?: boolean
  /** Which halves must hold; `and` by default. A key's or a request's own policy may only ask for more. */
  verifyMode?: VerifyMode
  /**
   * The part of all keys that the rule applies to, 0 to 100; 100 by default. The others sign with their classical half
   * and verify in mode `or`. A key is in the part if the BLAKE3 of its name without version, mod 100, is below it.
   */
  rolloutPercent?: number
  /** Until when classical keys may sign and verify under `pq_only`; not at all by default. */
  legacyGraceUntil?: Date
}

/** The rule of the service, and of tenants that have one of their own. */
export interface PqPolicy extends PqRule {
  tenants?: Readonly<Record<string, PqRule>>
}

/** What is said of a key's custody with its signatures; {@link Kms.attest} has it in full. */
export interface SignatureAttestation {
  /** The class of custody, of the weakest half: `pkcs11-<model>`, and with `-sealed` after it for a hybrid key. */
  class: string
  /** Whether the token says that the key was made there and can never leave. */
  complete: boolean
  /** BLAKE3-256 of the evidence in hex, as audit records have it. */
  b3: string
}

/** All signatures of one key over one message. */
export interface SignatureBundle {
  /** The version that signed. */
  kid: string
  /** One, or two of a hybrid key: the classical one first. */
  sigs: { alg: SigningAlgorithm; signature: Uint8Array }[]
  /** What is known of where the key is, where a token has said something of it. */
  attestation?: SignatureAttestation
  /** Where it is recorded, where there is an audit log. */
  audit?: AuditPosition
}

/** How a bundle is made. */
export interface SignBundleOptions {
  /** The context of FIPS 204, at most 255 bytes; empty by default. A signature verifies under no other. */
  context?: Uint8Array
  /** Both halves of a hybrid key, whatever policy says; it may ask for more than policy does, not for less. */
  produceHybrid?: boolean
}

/** How a bundle is verified. */
export interface VerifyBundleOptions {
  /** The context that it was signed under. */
  context?: Uint8Array
  /** At least this must hold; policy may ask for more. */
  mode?: VerifyMode
}

/** The verdict on a bundle. */
export interface BundleVerdict {
  /** Whether what policy and the caller ask for holds. */
  ok: boolean
  /** The algorithms whose signatures were checked. */
  checked: SigningAlgorithm[]
  /** What was asked for, where it holds. */
  satisfiedMode?: VerifyMode
}

/** The KEM of a key: X25519, ML-KEM, or both (X-Wing). */
export type KemMode = 'classical' | 'pq' | 'hybrid'

/** A data key in an envelope. */
export interface WrappedKey {
  wrapped: Uint8Array
  alg: WrappingAlgorithm | 'hybrid'
  /** The version that it is for. */
  kid: string
  /** The data key, where the service made it. It is in JavaScript memory now, which nothing wipes. */
  dataKey?: Uint8Array
}

/** A data key out of its envelope. It is in JavaScript memory now, which nothing wipes. */
export interface UnwrappedKey {
  dataKey: Uint8Array
  alg: WrappingAlgorithm | 'hybrid'
  /** The version that it was for. */
  kid: string
}
