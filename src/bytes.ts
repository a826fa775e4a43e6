/** Checks and packs the bytes that callers give. */
import { isUint8Array } from 'node:util/types'
import { KmsError } from './errors.js'

/** Messages of one batch are addressed with 32-bit offsets. */
const MAX_BATCH_BYTES = 2 ** 32 - 1

/**
 * Refuses what is not a `Uint8Array` (a `Buffer` is one), and one whose memory is gone.
 *
 * @throws KmsError `BadRequest` naming `field`.
 */
export function requireBytes(value: unknown, field: string): asserts value is Uint8Array {
  if (!isBytes(value)) throw notBytes(field)
  if (value.length === 0) requireAttached(value, field)
}

/**
 * A buffer that was transferred, or shrunk below its view, reads as empty: a signature of it would be one of the
 * empty message. Both are told from an empty view by any method of the view: it throws.
 */
function requireAttached(empty: Uint8Array, field: string): void {
  try {
    Uint8Array.prototype.at.call(empty, 0)
  } catch {
    throw new KmsError('BadRequest', 'its buffer was detached', { field })
  }
}

/** True for a `Uint8Array` of any realm, and for a `Buffer`; false for a proxy of one, unlike `instanceof`. */
const isBytes: (value: unknown) => value is Uint8Array = isUint8Array

function notBytes(field: string): KmsError {
  return new KmsError('BadRequest', 'must be a Uint8Array', { field })
}

/**
 * Refuses what is not a string.
 *
 * @throws KmsError `BadRequest` naming `field`.
 */
export function requireString(value: unknown, field: string): asserts value is string {
  if (typeof value !== 'string') throw new KmsError('BadRequest', 'must be a string', { field })
}

/**
 * Refuses what is not an object.
 *
 * @throws KmsError `BadRequest` naming `field`.
 */
export function requireObject(value: unknown, field: string): asserts value is object {
  if (typeof value !== 'object' || value === null) {
    throw new KmsError('BadRequest', 'must be an object', { field })
  }
}

/** One item of a batch, as far as packing goes. */
export interface SignedMessage {
  message: Uint8Array
  signature: Uint8Array
}

/** Signatures of 64 bytes and messages end to end, with n + 1 offsets into the messages. */
export interface PackedMessages {
  signatures: Uint8Array
  messages: Uint8Array
  offsets: Uint32Array
}

/**
 * Packs the messages and signatures of a batch. A signature of another length than 64 bytes becomes
 * 64 bytes of 0xff, whose S is out of range, so that it is invalid and spoils nothing.
 *
 * @throws KmsError `BadRequest` naming the item, `TooLarge` over 4 GiB of messages.
 */
export function packMessages(items: readonly SignedMessage[]): PackedMessages {
  if (!Array.isArray(items)) throw new KmsError('BadRequest', 'must be an array', { field: 'items' })
  const offsets = new Uint32Array(items.length + 1)
  let total = 0
  for (let i = 0; i < offsets.length - 1; i++) {
    const item = items[i] as SignedMessage | null | undefined
    const message = item?.message
    if (!isBytes(message)) throw notBytes(`items[${i}].message`)
    if (!isBytes(item?.signature)) throw notBytes(`items[${i}].signature`)
    if (message.length === 0) requireAttached(message, `items[${i}].message`)
    total += message.length
    if (total > MAX_BATCH_BYTES) throw new KmsError('TooLarge', 'over 4 GiB of messages', { field: 'items' })
    offsets[i + 1] = total
  }
  const count = offsets.length - 1
  const signatures = new Uint8Array(count * 64)
  const messages = new Uint8Array(total)
  for (let i = 0; i < count; i++) {
    const item = items[i] as SignedMessage | null | undefined
    const message = item?.message
    const signature = item?.signature
    // Getters, and what they do to other items, may have changed what was checked.
    if (!isBytes(message) || !isBytes(signature)) throw changed(i)
    const start = offsets[i] as number
    if (message.length !== (offsets[i + 1] as number) - start) throw changed(i)
    messages.set(message, start)
    if (signature.length === 64) signatures.set(signature, i * 64)
    else signatures.fill(0xff, i * 64, i * 64 + 64)
  }
  return { signatures, messages, offsets }
}

function changed(i: number): KmsError {
  return new KmsError('BadRequest', 'changed while it was read', { field: `items[${i}]` })
}
