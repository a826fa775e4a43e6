/** The audit log of a key service: how it is opened, and what it answers. */
import type { AuditOptions as NativeAudit } from '../index.js'
import { requireObject, requireString } from './bytes.js'
import { KmsError } from './errors.js'
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
   * cut at most those of the last flush interval. `fsync`: it is on disk. Synchronous calls then block for
   * that, and asynchronous ones share one sync with all that are under way.
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
  /** Goes on with a log that is older than its anchor, or disagrees with it. The decision is recorded in the log. */
  acceptOlder?: boolean
  /** Goes on with audit keys that those before them did not sign. That is recorded too. */
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
  const { log, dir, rootKey: key, anchor, durability, onFull, verify } = options
  requireString(log, 'audit.log')
  for (const [field, text] of Object.entries({ dir, anchor, durability, onFull, verify })) {
    if (text !== undefined) requireString(text, `audit.${field}`)
  }
  const { flushIntervalMs, checkpointIntervalOps, checkpointIntervalMs } = options
  for (const [field, number] of Object.entries({
    flushIntervalMs,
    checkpointIntervalOps,
    checkpointIntervalMs,
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
