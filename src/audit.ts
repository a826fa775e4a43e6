/** The audit log of a key service: how it is opened, and what it answers. */
import { setTimeout } from 'node:timers/promises'
import type { AuditOptions as NativeAudit, NativeKms } from '../index.js'
import { requireObject, requireString } from './bytes.js'
import { attempt, attemptAsync, KmsError } from './errors.js'
import { rootKey } from './file-store.js'
import type { RootKeyOptions } from './kms-types.js'

/** The audit log of a key service: one record of every operation that makes or uses a private key, provable to others. */
export interface AuditOptions {
  /** The log's name, which its checkpoints are signed under: `ron-kms/<instance>`, unique to this instance. */
  log: string
  /** Its directory. Without one the last 4,096 records are kept in memory only, and there are no proofs. */
  dir?: string
  /** With the backend `inmem`: what the audit keys come from. With `file` they come from the store. */
  rootKey?: RootKeyOptions
  /** With the backend `inmem`: the file outside `dir` that remembers how far the log was. With `file`, `store.anchor` is. */
  anchor?: string
  /**
   * What an operation waits for. `queued`, the default: the record is in a file; a killed process loses none, a power
   * cut at most those of the last flush interval. `fsync`: it is on disk. Asynchronous calls share one sync with all
   * that are under way; synchronous ones that sign throw `Unsupported` then, and those that wrap block.
   */
  durability?: 'queued' | 'fsync'
  /**
   * What happens when there is no room for a record. `reject`, the default: the operation is refused. `drop-oldest`: the
   * oldest records go, and their hashes stay.
   */
  onFull?: 'reject' | 'drop-oldest'
  /** The longest that a record of a `queued` log waits for the disk, in milliseconds: 100 by default. */
  flushIntervalMs?: number
  /** Records after which a checkpoint is made: 5,000 by default. */
  checkpointIntervalOps?: number
  /** Time after which a checkpoint is made of what none covers, in milliseconds: 10,000 by default. */
  checkpointIntervalMs?: number
  /** Which verifications are recorded: `none`, the default; those of `requests` in JSON, one record each; or `all`. */
  verify?: 'none' | 'requests' | 'all'
  /** Whether ML-DSA-44 signs checkpoints beside Ed25519. */
  hybrid?: boolean
  /**
   * Who signs checkpoints. `software`, the default: the audit keys. `attested`, with the backend `pkcs11`: a key that cannot
   * leave the token as well. While that does not sign there is no checkpoint, and operations that would be recorded are
   * refused with `StoreUnavailable`. A change from one to the other, or of the token, is recorded in the log.
   */
  sealing?: 'software' | 'attested'
  /** Which audit keys sign, from 1, the default. A higher number makes new ones, which those before it sign. */
  keyGeneration?: number
  /** Goes on with a log that is older than its anchor, or disagrees with it. The decision is recorded in the log. */
  acceptOlder?: boolean
  /** Goes on with audit keys, or a device, that those before them did not sign. That is recorded too. */
  acceptKeys?: boolean
}

/** A place in an audit log. */
export interface AuditPosition {
  /** The log's name. */
  log: string
  /** The index of the record's leaf, from 0. */
  index: number
  /** Of a rotation: the record in which the version that was the head vouches for the new one. */
  continuity?: number
}

/** How the audit log of a service is. */
export interface AuditStatus {
  /** `off`, in `memory`, or a `log` in a directory. */
  kind: 'off' | 'memory' | 'log'
  /** Records. */
  size: number
  /** Records that the last checkpoint covers. */
  checkpointSize: number
  /** When that was made. */
  checkpointAt?: Date
  /** Whether it takes records. */
  writable: boolean
  /** Summaries of verifications that were dropped since it was opened. */
  droppedVerifications: number
  /** Records of operations that were not taken since then: those operations were refused. */
  refusedRecords: number
  /** Checkpoints that were made since then. */
  checkpointsMade: number
  /** Attempts to make one that failed since then. */
  checkpointsFailed: number
  /** The verifier key (C2SP) of the device that seals it, where one does. */
  device?: string
  /** Why operations are refused: the device did not sign the last checkpoint. */
  unsealed?: string
  /** Bytes of torn records that were dropped when it was opened. */
  droppedBytes: number
  /** What an operator's decision overrode when it was opened. */
  overridden: string[]
  /** Why this service only verifies, where what is kept is not what was acknowledged. */
  refused?: string
}

/** The proof that a record is in an audit log (RFC 9162, section 2.1.3). */
export interface AuditProof {
  log: string
  /** The leaf index, from 0. */
  index: number
  /** The size of the tree that the proof is for. */
  size: number
  /** SHA-256(0x00 ‖ record). */
  leafHash: Uint8Array
  /** The audit path, from the leaf up: 32 bytes each. */
  proof: Uint8Array[]
  /** A signed note (C2SP) that holds the root at `size`. */
  checkpoint: string
  /** The record itself, unless it was pruned. */
  record?: Uint8Array
}

/** How often a proof is asked for until a checkpoint covers it. */
const MOST_WAITS = 5

/** The proof that an older log is a prefix of a newer one (RFC 9162, section 2.1.4). */
export interface ConsistencyProof {
  /** The size of the older tree. */
  old: number
  /** The size of the newer one. */
  new: number
  /** 32 bytes each. */
  proof: Uint8Array[]
}

/** The audit log of an open service. Every call may be made at any time. */
export class AuditLog {
  readonly #native: NativeKms

  /** Made by `Kms.open`. */
  constructor(native: NativeKms) {
    this.#native = native
  }

  /** How it is. */
  status(): AuditStatus {
    const { checkpointAtMs, device, unsealed, refused, kind, ...rest } = attempt(() =>
      this.#native.auditStatus(),
    )
    return {
      ...rest,
      kind: kind as AuditStatus['kind'],
      ...(checkpointAtMs != null && { checkpointAt: new Date(checkpointAtMs) }),
      ...(device != null && { device }),
      ...(unsealed != null && { unsealed }),
      ...(refused != null && { refused }),
    }
  }

  /**
   * The last checkpoint: a signed note as C2SP defines it. Log and anchor were durable before it was given to anyone.
   *
   * @throws KmsError `Unsupported` without a log in a directory.
   */
  checkpoint(): string {
    return attempt(() => this.#native.auditCheckpoint())
  }

  /**
   * The proof that a record is in the log. Where no checkpoint covers it yet, one is made.
   *
   * @param index The index that an operation was answered with.
   * @throws KmsError (as a rejection) `NotFound`; `Unsupported` without a log in a directory.
   */
  async proof(index: number): Promise<AuditProof> {
    return toProof(await this.proofJson(index))
  }

  /**
   * As {@link AuditLog.proof}, in the JSON of the HTTP API; with a tenant, of records of that tenant only, and with a
   * grant of what that covers.
   */
  async proofJson(index: number, tenant?: string, grant?: number): Promise<string> {
    for (let wait = 0; ; wait += 1) {
      try {
        return await attemptAsync(() => this.#native.auditProof(index, tenant, grant))
      } catch (error) {
        // A checkpoint that covers the record is made soon; only so many are made a second.
        const { code, retryAfterMs } = error as KmsError
        if (code !== 'Backpressure' || retryAfterMs === undefined || wait === MOST_WAITS) throw error
        await setTimeout(retryAfterMs)
      }
    }
  }

  /**
   * The proof that the first `old` records are a prefix of the first `newer`.
   *
   * @throws KmsError (as a rejection) `NotFound` unless 0 < `old` ≤ `newer` ≤ the records there are; `Unsupported`.
   */
  async consistency(old: number, newer: number): Promise<ConsistencyProof> {
    const json = await attemptAsync(() => this.#native.auditPrefixProof(old, newer))
    const dto = JSON.parse(json) as { old: number; new: number; proof_b64: string[] }
    return { old: dto.old, new: dto.new, proof: dto.proof_b64.map(fromBase64) }
  }

  /**
   * Ends the use of sealed files (16 MiB each) that hold only records below `before`: they are moved into `archive`, a directory of the
   * same file system, or removed. What was taken is recorded, and proofs go on: hashes stay.
   *
   * @returns The first record that is still there.
   * @throws KmsError (as a rejection) `Unsupported` without a log in a directory; `StoreUnavailable`.
   */
  prune(before: number, options: { archive?: string } = {}): Promise<number> {
    return attemptAsync(() => this.#native.auditPrune(before, options.archive))
  }

  /** Counts a request that was refused before anybody knew whose it was; counts become one record a second. */
  refused(code: KmsError['code']): void {
    attempt(() => this.#native.auditRefused(code))
  }
}

/** The answer to a request for a proof. */
interface ProofDto {
  log: string
  index: number
  size: number
  leaf_hash_b64: string
  proof_b64: string[]
  checkpoint: string
  record_b64?: string
}

/**
 * The options as the addon takes them.
 *
 * @throws KmsError `BadRequest` naming the field of a wrong type.
 */
export function auditOptions(options: AuditOptions): NativeAudit {
  requireObject(options, 'audit')
  const { log, dir, rootKey: key, anchor, durability, onFull, verify, sealing } = options
  requireString(log, 'audit.log')
  for (const [field, text] of Object.entries({ dir, anchor, durability, onFull, verify, sealing })) {
    if (text !== undefined) requireString(text, `audit.${field}`)
  }
  const { flushIntervalMs, checkpointIntervalOps, checkpointIntervalMs, keyGeneration } = options
  for (const [field, number] of Object.entries({
    flushIntervalMs,
    checkpointIntervalOps,
    checkpointIntervalMs,
    keyGeneration,
  })) {
    if (number === undefined) continue
    if (!Number.isSafeInteger(number) || number < 1 || number > 0xffff_ffff) {
      throw new KmsError('BadRequest', 'must be a whole number from 1', { field: `audit.${field}` })
    }
  }
  return {
    log,
    ...(dir !== undefined && { dir }),
    ...(key !== undefined && { rootKey: rootKey(key, 'audit.rootKey') }),
    ...(anchor !== undefined && { anchor }),
    ...(durability !== undefined && { durability }),
    ...(onFull !== undefined && { onFull }),
    ...(flushIntervalMs !== undefined && { flushIntervalMs }),
    ...(checkpointIntervalOps !== undefined && { checkpointIntervalOps }),
    ...(checkpointIntervalMs !== undefined && { checkpointIntervalMs }),
    ...(verify !== undefined && { verify }),
    ...(sealing !== undefined && { sealing }),
    ...(keyGeneration !== undefined && { keyGeneration }),
    hybrid: options.hybrid === true,
    acceptOlder: options.acceptOlder === true,
    acceptKeys: options.acceptKeys === true,
  }
}

/** A proof from its JSON. */
export function toProof(json: string): AuditProof {
  const { leaf_hash_b64, proof_b64, record_b64, ...rest } = JSON.parse(json) as ProofDto
  return {
    ...rest,
    leafHash: fromBase64(leaf_hash_b64),
    proof: proof_b64.map(fromBase64),
    ...(record_b64 !== undefined && { record: fromBase64(record_b64) }),
  }
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'base64'))
}
