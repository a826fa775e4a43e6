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
  requireAttached(value, field)
}

/**
 * A buffer that was transferred, or shrunk below its view, reads as empty: a signature of it would be one of the
 * empty message. Both are told from an empty view by a method of the view: it throws.
 *
 * The length does not tell: the compiler of Node 20 (V8 11.3) reads that of a detached view as what it was, in
 * functions that have seen resizable buffers.
 */
function requireAttached(view: Uint8Array, field: string): void {
  try {
    Uint8Array.prototype.at.call(view, 0)
  } catch {
    throw detached(field)
  }
}

/** Copies a part of a batch to its place. Of a detached buffer there is nothing to copy, whatever length it shows. */
function copyTo(target: Uint8Array, at: number, view: Uint8Array, item: number, name: string): void {
  try {
    target.set(view, at)
  } catch {
    throw detached(`items[${item}].${name}`)
  }
}

function detached(field: string): KmsError {
  return new KmsError('BadRequest', 'its buffer was detached', { field })
}

/** True for a `Uint8Array` of any realm, and for a `Buffer`; false for a proxy of one, unlike `instanceof`. */
const isBytes: (value: unknown) => value is Uint8Array = isUint8Array

function notBytes(field: string): KmsError {
  return new KmsError('BadRequest', 'must be a Uint8Array', { field })
}

/**
 * Refuses what is not a `Uint8Array` of exactly `length` bytes.
 *
 * @throws KmsError `BadRequest` naming `field`.
 */
export function requireLength(value: unknown, length: number, field: string): asserts value is Uint8Array {
  requireBytes(value, field)
  if (value.length !== length) throw new KmsError('BadRequest', `must be ${length} bytes`, { field })
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

/** Messages end to end, with n + 1 offsets into them. */
export interface PackedMessages {
  messages: Uint8Array
  offsets: Uint32Array
}

/**
 * Packs the messages of a batch.
 *
 * @throws KmsError `BadRequest` naming the item, `TooLarge` over 4 GiB of messages.
 */
export function packMessages(items: readonly { message: Uint8Array }[]): PackedMessages {
  if (!Array.isArray(items)) throw new KmsError('BadRequest', 'must be an array', { field: 'items' })
  const offsets = new Uint32Array(items.length + 1)
  let total = 0
  for (let i = 0; i < offsets.length - 1; i++) {
    const message = (items[i] as { message: unknown } | null | undefined)?.message
    if (!isBytes(message)) throw notBytes(`items[${i}].message`)
    if (message.length === 0) requireAttached(message, `items[${i}].message`)
    total += message.length
    if (total > MAX_BATCH_BYTES) throw new KmsError('TooLarge', 'over 4 GiB of messages', { field: 'items' })
    offsets[i + 1] = total
  }
  const messages = new Uint8Array(total)
  for (let i = 0; i < offsets.length - 1; i++) {
    const message = (items[i] as { message: unknown } | null | undefined)?.message
    const start = offsets[i] as number
    // Getters, and what they do to other items, may have changed what was checked.
    if (!isBytes(message) || message.length !== (offsets[i + 1] as number) - start) throw changed(i)
    copyTo(messages, start, message, i, 'message')
  }
  return { messages, offsets }
}

/** Signatures end to end: of 64 bytes each where there are no offsets, else with n + 1 offsets into them. */
export interface PackedSignatureBytes {
  signatures: Uint8Array
  signatureOffsets: Uint32Array
}

const NO_OFFSETS = new Uint32Array(0)

/**
 * Packs the first `count` signatures of a batch, of any lengths.
 *
 * @throws KmsError `BadRequest` naming the item, `TooLarge` over 4 GiB of signatures.
 */
export function packSignatures(
  items: readonly { signature: Uint8Array }[],
  count: number,
): PackedSignatureBytes {
  const signatures = new Uint8Array(count * 64)
  for (let i = 0; i < count; i++) {
    const signature = signatureOf(items, i)
    // The length is read once: another one does not fit and is seen below.
    if (signature.length !== 64) return packLong(items, count)
    copyTo(signatures, i * 64, signature, i, 'signature')
  }
  return { signatures, signatureOffsets: NO_OFFSETS }
}

function packLong(items: readonly { signature: Uint8Array }[], count: number): PackedSignatureBytes {
  const all = Array.from({ length: count }, (_, i) => signatureOf(items, i))
  const signatureOffsets = new Uint32Array(count + 1)
  let total = 0
  all.forEach((signature, i) => {
    const { length } = signature
    // A later getter may have detached what an earlier one gave.
    if (length === 0) requireAttached(signature, `items[${i}].signature`)
    total += length
    if (total > MAX_BATCH_BYTES)
      throw new KmsError('TooLarge', 'over 4 GiB of signatures', { field: 'items' })
    signatureOffsets[i + 1] = total
  })
  const signatures = new Uint8Array(total)
  all.forEach((signature, i) => {
    const start = signatureOffsets[i] as number
    if (signature.length !== (signatureOffsets[i + 1] as number) - start) throw changed(i)
    copyTo(signatures, start, signature, i, 'signature')
  })
  return { signatures, signatureOffsets }
}

/**
 * Packs the first `count` Ed25519 signatures of a batch. One of another length than 64 bytes becomes 64 bytes of 0xff,
 * whose S is out of range, so that it is invalid and spoils nothing.
 *
 * @throws KmsError `BadRequest` naming the item.
 */
export function packEd25519Signatures(
  items: readonly { signature: Uint8Array }[],
  count: number,
): Uint8Array {
  const signatures = new Uint8Array(count * 64)
  for (let i = 0; i < count; i++) {
    const signature = signatureOf(items, i)
    if (signature.length === 64) copyTo(signatures, i * 64, signature, i, 'signature')
    else signatures.fill(0xff, i * 64, i * 64 + 64)
  }
  return signatures
}

function signatureOf(items: readonly { signature: Uint8Array }[], i: number): Uint8Array {
  const signature = (items[i] as { signature: unknown } | null | undefined)?.signature
  if (!isBytes(signature)) throw notBytes(`items[${i}].signature`)
  if (signature.length === 0) requireAttached(signature, `items[${i}].signature`)
  return signature
}

function changed(i: number): KmsError {
  return new KmsError('BadRequest', 'changed while it was read', { field: `items[${i}]` })
}
