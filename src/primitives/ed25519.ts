/** Ed25519 verification of public data. */
import { isUint32Array } from 'node:util/types'
import type { Ed25519PublicKey as NativePublicKey } from '../../index.js'
import { packEd25519Signatures, packMessages, requireBytes, requireLength } from '../bytes.js'
import { attempt, KmsError, toKmsError } from '../errors.js'
import * as noble from '../lanes/noble.js'
import { native, requireNative } from '../native.js'
import { isShort } from '../short-work.js'
import { Lanes, NOBLE } from './lanes.js'

/**
 * An implementation of Ed25519 verification. Every lane but `dalek-batch` gives the strict verdict.
 *
 * - `auto`: the fastest strict lane of this machine, which is `simd` where there is a native binary.
 * - `simd`: our accelerated verifier: tables of the keys in use, several signatures side by side.
 * - `dalek`: ed25519-dalek, one independent equation a signature.
 * - `dalek-batch`: its multiscalar batch. Faster, not strict: it accepts some crafted signatures whose
 *   R or A carries torsion, depending on what else is in the batch. Never for signatures of strangers.
 * - `aws-lc`: AWS-LC's assembly, behind the same byte filters.
 * - `ring`: ring, behind the same byte filters.
 * - `noble`: pure JavaScript.
 */
export type VerifyLane = 'auto' | 'simd' | 'dalek' | 'dalek-batch' | 'aws-lc' | 'ring' | 'noble'

/** Who verifies. */
export interface VerifyOptions {
  /** The lane; `auto` by default. */
  lane?: VerifyLane
}

/** Who verifies, and with how many threads. */
export interface VerifyBatchAsyncOptions extends VerifyOptions {
  /** Most threads to use; by default one for each processor. */
  threads?: number
}

/** One signature to check. */
export interface VerifyItem {
  /** 32 bytes, or a key from {@link ed25519.importKey}. */
  publicKey: Uint8Array | PublicKey
  /** What was signed, of any length. */
  message: Uint8Array
  /** 64 bytes; any other length is invalid. */
  signature: Uint8Array
}

/** A batch in four buffers, which costs least to hand over. */
export interface PackedItems {
  /** n keys of 32 bytes. */
  publicKeys: Uint8Array
  /** n signatures of 64 bytes. */
  signatures: Uint8Array
  /** All messages end to end. */
  messages: Uint8Array
  /** n + 1 offsets into `messages`, ascending from 0 to its length. */
  offsets: Uint32Array
  /** Where the n verdicts go; a new array by default. Unused by the asynchronous form. */
  out?: Uint8Array
}

/** A public key that decoded, ready for many verifications. */
class PublicKey {
  readonly #bytes: Uint8Array
  /** @internal */
  readonly native: NativePublicKey | undefined
  /** Names the key in native batches; 0 without a binary. */
  readonly #number: number

  /** @internal Made by {@link ed25519.importKey}. */
  constructor(bytes: Uint8Array) {
    requireLength(bytes, 32, 'publicKey')
    this.#bytes = Uint8Array.from(bytes)
    if (native) {
      this.native = attempt(() => new (requireNative().Ed25519PublicKey)(this.#bytes))
    } else if (!noble.isPublicKey(this.#bytes)) {
      throw new KmsError('BadRequest', 'not a canonical Ed25519 public key of large order', {
        field: 'publicKey',
      })
    }
    this.#number = this.native?.number ?? 0
  }

  /** A copy of the 32 bytes. */
  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes)
  }

  /** @internal The 32 bytes themselves. */
  static bytesOf(key: Uint8Array | PublicKey, field: string): Uint8Array {
    if (PublicKey.is(key)) return key.#bytes
    requireLength(key, 32, field)
    return key
  }

  /** @internal Names the key in native batches; 0 for bytes. */
  static numberOf(key: Uint8Array | PublicKey): number {
    return PublicKey.is(key) ? key.#number : 0
  }

  /** @internal Unlike `instanceof`, false for what only has the prototype. */
  static is(key: unknown): key is PublicKey {
    return typeof key === 'object' && key !== null && #bytes in key
  }
}

export type { PublicKey }

/** Ed25519 (RFC 8032), strict verification; see SECURITY.md for the rule. */
export const ed25519 = Object.freeze({
  /**
   * The verdict on one signature. A signature of a wrong length, or a key that does not decode, is
   * `false`.
   *
   * @throws KmsError `BadRequest` for a wrong type, a key of a wrong length or an unknown lane.
   */
  verify(
    publicKey: Uint8Array | PublicKey,
    message: Uint8Array,
    signature: Uint8Array,
    options?: VerifyOptions,
  ): boolean {
    // First: reading options runs the caller's getters, which may take a buffer away.
    const lane = LANES.number(options?.lane)
    requireBytes(message, 'message')
    requireBytes(signature, 'signature')
    if (lane === NOBLE) {
      return noble.verify(PublicKey.bytesOf(publicKey, 'publicKey'), message, signature)
    }
    try {
      if (PublicKey.is(publicKey) && publicKey.native) {
        return publicKey.native.verify(lane, message, signature)
      }
      const bytes = PublicKey.bytesOf(publicKey, 'publicKey')
      return requireNative().ed25519Verify(lane, bytes, message, signature)
    } catch (error) {
      throw toKmsError(error)
    }
  },

  /**
   * The verdicts on many signatures: 1 valid, 0 invalid, in order. Each is {@link ed25519.verify}'s and
   * depends on nothing else in the batch, except in lane `dalek-batch`.
   *
   * @throws KmsError `BadRequest` naming what has a wrong type or length.
   */
  verifyBatch(items: readonly VerifyItem[] | PackedItems, options?: VerifyOptions): Uint8Array {
    const lane = LANES.number(options?.lane)
    const packed = pack(items)
    return verifyPacked(lane, packed, packed.out ?? new Uint8Array(packed.offsets.length - 1))
  },

  /**
   * As {@link ed25519.verifyBatch}, off the event loop and on all cores. The inputs are copied before
   * this returns, so they may be changed at once. Unless `threads` is given, a batch of a tenth of a millisecond (some
   * 50 small messages) is verified at once: the way to another thread would cost more.
   *
   * @throws KmsError (as a rejection) `BadRequest` naming what has a wrong type or length.
   */
  async verifyBatchAsync(
    items: readonly VerifyItem[] | PackedItems,
    options?: VerifyBatchAsyncOptions,
  ): Promise<Uint8Array> {
    const lane = LANES.number(options?.lane)
    const threads = options?.threads ?? 0
    if (!Number.isInteger(threads) || threads < 0 || threads > 1024) {
      throw new KmsError('BadRequest', 'must be a whole number from 0 to 1024', { field: 'threads' })
    }
    const packed = pack(items)
    const count = packed.offsets.length - 1
    const short = options?.threads === undefined && isShort('verify', count, packed.messages.length)
    if (lane === NOBLE || short) return verifyPacked(lane, packed, new Uint8Array(count))
    try {
      return await requireNative().ed25519VerifyBatchAsync(
        lane,
        packed.publicKeys,
        packed.keyNumbers,
        packed.signatures,
        packed.messages,
        packed.offsets,
        threads,
      )
    } catch (error) {
      throw toKmsError(error)
    }
  },

  /**
   * Decodes a public key once, for many verifications; usable wherever a public key is.
   *
   * @throws KmsError `BadRequest` for a wrong length and for a key under which nothing verifies: not
   * canonical, off the curve, of small order.
   */
  importKey(publicKey: Uint8Array): PublicKey {
    return new PublicKey(publicKey)
  },

  /**
   * Bounds the memory for tables of the public keys in use, for the whole process; 64 MiB unless set. A table
   * makes verification several times as fast and takes 97 KiB, or 387 KiB where there is room.
   *
   * @param bytes 0 (no tables) to 4 GiB - 1. Without a native binary there are no tables, and this does nothing.
   * @throws KmsError `BadRequest`.
   */
  setTableCacheBytes(bytes: number): void {
    if (!Number.isInteger(bytes) || bytes < 0 || bytes > 0xffff_ffff) {
      throw new KmsError('BadRequest', 'must be a whole number from 0 to 4294967295', { field: 'bytes' })
    }
    native?.setEd25519TableCacheBytes(bytes)
  },

  /** The lanes of this process. */
  lanes(): readonly VerifyLane[] {
    return LANES.names()
  },
})

const LANES = new Lanes<VerifyLane>(native?.ed25519VerifyLanes())

/** What the addon takes: packed items, and which keys are imported ones. */
interface Packed extends PackedItems {
  /** Empty where no key is. */
  keyNumbers: Uint32Array
}

const NO_NUMBERS = new Uint32Array(0)

function pack(items: readonly VerifyItem[] | PackedItems): Packed {
  if (!Array.isArray(items)) return { ...checkPacked(items as PackedItems), keyNumbers: NO_NUMBERS }
  const packed = packMessages(items)
  const count = packed.offsets.length - 1
  const publicKeys = new Uint8Array(count * 32)
  let keyNumbers = NO_NUMBERS
  for (let i = 0; i < count; i++) {
    const key = (items[i] as VerifyItem | undefined)?.publicKey as VerifyItem['publicKey']
    if (PublicKey.is(key)) {
      if (keyNumbers === NO_NUMBERS) keyNumbers = new Uint32Array(count)
      keyNumbers[i] = PublicKey.numberOf(key)
    } else if (key?.length !== 32) requireLength(key, 32, `items[${i}].publicKey`)
    publicKeys.set(PublicKey.bytesOf(key, 'publicKey'), i * 32)
  }
  return { publicKeys, keyNumbers, signatures: packEd25519Signatures(items, count), ...packed }
}

function verifyPacked(lane: number, packed: Packed, out: Uint8Array): Uint8Array {
  if (lane === NOBLE) return verifyEach(packed, out)
  const { publicKeys, keyNumbers, signatures, messages, offsets } = packed
  attempt(() =>
    requireNative().ed25519VerifyBatch(lane, publicKeys, keyNumbers, signatures, messages, offsets, out),
  )
  return out
}

function checkPacked(packed: PackedItems): PackedItems {
  if (typeof packed !== 'object' || packed === null) {
    throw new KmsError('BadRequest', 'must be an array or packed buffers', { field: 'items' })
  }
  // Each is read once, so that what was checked is what is used.
  const { publicKeys, signatures, messages, offsets, out } = packed
  requireBytes(publicKeys, 'publicKeys')
  requireBytes(signatures, 'signatures')
  requireBytes(messages, 'messages')
  if (!isUint32Array(offsets)) {
    throw new KmsError('BadRequest', 'must be a Uint32Array', { field: 'offsets' })
  }
  if (offsets.length === 0) {
    throw new KmsError('BadRequest', 'length must be one more than the number of items', { field: 'offsets' })
  }
  if (out !== undefined) requireBytes(out, 'out')
  return { publicKeys, signatures, messages, offsets, ...(out && { out }) }
}

/** The packed batch in pure JavaScript, with the layout checks that the addon makes. */
function verifyEach(packed: PackedItems, out: Uint8Array): Uint8Array {
  const { publicKeys, signatures, messages, offsets } = packed
  const count = offsets.length - 1
  requireLength(publicKeys, count * 32, 'publicKeys')
  requireLength(signatures, count * 64, 'signatures')
  requireLength(out, count, 'out')
  const ascending = offsets.every((end, i) => i === 0 || end >= (offsets[i - 1] as number))
  if (!ascending || offsets[0] !== 0 || offsets[count] !== messages.length) {
    throw new KmsError('BadRequest', 'must ascend from 0 to the length of messages', { field: 'offsets' })
  }
  // Not into `out` at once: it may lie over the inputs.
  const verdicts = new Uint8Array(count)
  for (let i = 0; i < count; i++) {
    const valid = noble.verify(
      publicKeys.subarray(i * 32, i * 32 + 32),
      messages.subarray(offsets[i], offsets[i + 1]),
      signatures.subarray(i * 64, i * 64 + 64),
    )
    verdicts[i] = valid ? 1 : 0
  }
  out.set(verdicts)
  return out
}
