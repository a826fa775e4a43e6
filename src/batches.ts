/** Batches under kids: how they are packed for the addon, and how its answers are read. */
import type { BatchSignatures as NativeSignatures, SignedRest } from '../index.js'
import { type PackedMessages, packMessages, packSignatures } from './bytes.js'
import { type ErrorRecord, fromRecord, type KmsError } from './errors.js'
import type { BatchSignatures, BatchVerdicts, KidSignItem, KidVerifyItem } from './kms-types.js'
import type { KnownKids } from './known-kids.js'

/** A batch to sign; `kids` are those of the items whose number is 0, in order. */
export interface PackedKids extends PackedMessages {
  readonly kids: string[]
  readonly kidNumbers: Uint32Array
}

/** A batch to verify; `signatureOffsets` is empty where every signature has 64 bytes. */
export interface PackedSignatures extends PackedKids {
  readonly signatures: Uint8Array
  readonly signatureOffsets: Uint32Array
}

/** Packs messages, and their kids by number. */
export function packSignItems(items: readonly KidSignItem[], known: KnownKids): PackedKids {
  const packed = packMessages(items)
  const kidNumbers = new Uint32Array(packed.offsets.length - 1)
  const kids: string[] = []
  known.trim()
  for (let i = 0; i < kidNumbers.length; i++) {
    const kid = (items[i] as KidSignItem | undefined)?.kid as string
    const number = known.numberOf(kid, i)
    if (number === 0) kids.push(kid)
    kidNumbers[i] = number
  }
  return { kids, kidNumbers, ...packed }
}

/** As {@link packSignItems}, with the signatures. */
export function packVerifyItems(items: readonly KidVerifyItem[], known: KnownKids): PackedSignatures {
  const packed = packSignItems(items, known)
  return { ...packed, ...packSignatures(items, packed.kidNumbers.length) }
}

/** The verdicts of a batch with the errors of items that were not checked. */
export function toVerdicts(verdicts: Uint8Array, json: string | null | undefined): BatchVerdicts {
  return Object.defineProperty(verdicts, 'errors', { value: itemErrors(json) }) as BatchVerdicts
}

/** The signatures of a batch: those of Ed25519 from one buffer, and the rest. */
export function toSignatures({ signatures: packed, rest }: NativeSignatures): BatchSignatures {
  const errors = itemErrors(rest?.errors)
  const signatures: (Uint8Array | null)[] = []
  for (let i = 0; i < packed.length / 64; i++) signatures.push(packed.subarray(i * 64, i * 64 + 64))
  for (const item of errors.keys()) signatures[item] = null
  addLong(signatures, rest)
  return Object.defineProperty(signatures, 'errors', { value: errors }) as BatchSignatures
}

function addLong(signatures: (Uint8Array | null)[], rest: SignedRest | undefined): void {
  rest?.items.forEach((item, i) => {
    signatures[item] = rest.signatures[i] ?? null
  })
}

function itemErrors(json: string | null | undefined): Map<number, KmsError> {
  if (!json) return new Map()
  const records = JSON.parse(json) as [number, ErrorRecord][]
  return new Map(records.map(([item, record]) => [item, fromRecord(record)]))
}
