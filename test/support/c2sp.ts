// Signed notes, checkpoints and Merkle proofs, checked as C2SP (signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof,
// tlog-witness) and RFC 9162 describe them, by node:crypto and @noble/post-quantum: a stranger to our Rust.
import { createHash, createPublicKey, verify } from 'node:crypto'
import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js'

export const ED25519 = 1
export const ML_DSA_44 = 6

export interface NoteKey {
  name: string
  id: Buffer
  type: number
  key: Buffer
}

export interface Checkpoint {
  origin: string
  size: number
  root: Buffer
}

export const sha256 = (...parts: (Uint8Array | string)[]): Buffer =>
  createHash('sha256')
    .update(Buffer.concat(parts.map(part => Buffer.from(part))))
    .digest()

export const keyId = (name: string, type: number, key: Uint8Array): Buffer =>
  sha256(`${name}\n`, Uint8Array.of(type), key).subarray(0, 4)

/** `<name>+<id>+<base64 of type and key>`. */
export function parseVkey(vkey: string): NoteKey {
  const [, name, id, rest] = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(vkey) ?? []
  if (name === undefined || id === undefined || rest === undefined) throw new Error('no verifier key')
  const bytes = Buffer.from(rest, 'base64')
  const key = { name, id: Buffer.from(id, 'hex'), type: bytes[0] ?? 0, key: bytes.subarray(1) }
  if (!keyId(name, key.type, key.key).equals(key.id)) throw new Error('another key id')
  return key
}

/** The text of a note that all of the keys signed. */
export function openNote(note: string, keys: readonly NoteKey[]): string {
  const end = note.lastIndexOf('\n\n') + 1
  const text = note.slice(0, end)
  const lines = note.slice(end + 1).split('\n')
  if (end === 0 || lines.pop() !== '') throw new Error('no note')
  const signed = lines.map(line => {
    const [, name, rest] = /^— (\S+) (\S+)$/.exec(line) ?? []
    if (name === undefined || rest === undefined) throw new Error('no signature line')
    const bytes = Buffer.from(rest, 'base64')
    return { name, id: bytes.subarray(0, 4), signature: bytes.subarray(4) }
  })
  for (const key of keys) {
    const line = signed.find(({ name, id }) => name === key.name && id.equals(key.id))
    if (!line || !holds(key, text, line.signature)) throw new Error('not signed')
  }
  return text
}

function holds({ name, type, key }: NoteKey, text: string, signature: Buffer): boolean {
  if (type === ED25519) {
    const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key])
    const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    return verify(null, Buffer.from(text), publicKey, signature)
  }
  const time = signature.readBigUInt64BE()
  const message = cosignedMessage(name, time, parseCheckpoint(text))
  return ml_dsa44.verify(signature.subarray(8), message, key)
}

/** `cosigned_message` of tlog-cosignature, for the whole tree. */
export function cosignedMessage(name: string, time: bigint, { origin, size, root }: Checkpoint): Buffer {
  const u64 = (value: bigint) => {
    const out = Buffer.alloc(8)
    out.writeBigUInt64BE(value)
    return out
  }
  const short = (text: string) => Buffer.concat([Uint8Array.of(Buffer.byteLength(text)), Buffer.from(text)])
  const start = u64(0n)
  const parts = [short(name), u64(time), short(origin), start, u64(BigInt(size)), root]
  return Buffer.concat([Buffer.from('subtree/v1\n\0'), ...parts])
}

export function parseCheckpoint(text: string): Checkpoint {
  const [origin, size, root, rest, ...more] = text.split('\n')
  if (!origin || !/^(0|[1-9]\d*)$/.test(size ?? '') || rest !== '' || more.length > 0) {
    throw new Error('no checkpoint')
  }
  return { origin, size: Number(size), root: Buffer.from(root ?? '', 'base64') }
}

export const leafHash = (bytes: Uint8Array): Buffer => sha256(Uint8Array.of(0), bytes)
const nodeHash = (left: Uint8Array, right: Uint8Array): Buffer => sha256(Uint8Array.of(1), left, right)

/** The root of a tree, straight from its definition (RFC 9162, section 2.1.1). */
export function treeRoot(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 0) return sha256()
  if (leaves.length === 1) return leaves[0] as Buffer
  const split = splitOf(leaves.length)
  return nodeHash(treeRoot(leaves.slice(0, split)), treeRoot(leaves.slice(split)))
}

function splitOf(size: number): number {
  let split = 1
  while (split * 2 < size) split *= 2
  return split
}

/** The root that a path from leaf `index` of `size` leads to; it must be used up. */
export function rootOfPath(leaf: Buffer, index: number, size: number, path: readonly Buffer[]): Buffer {
  if (size === 1) {
    if (path.length > 0) throw new Error('the path is too long')
    return leaf
  }
  const sibling = path.at(-1)
  if (!sibling) throw new Error('the path is too short')
  const [split, rest] = [splitOf(size), path.slice(0, -1)]
  return index < split
    ? nodeHash(rootOfPath(leaf, index, split, rest), sibling)
    : nodeHash(sibling, rootOfPath(leaf, index - split, size - split, rest))
}

/** The roots of the first `old` and of all `size` leaves that a consistency proof leads to (section 2.1.4). */
export function rootsOfPrefix(
  old: number,
  size: number,
  oldRoot: Buffer,
  path: readonly Buffer[],
  whole = true,
): [Buffer, Buffer] {
  if (old === size) {
    const node = whole ? oldRoot : path[0]
    if (!node || path.length !== (whole ? 0 : 1)) throw new Error('the path does not fit')
    return [node, node]
  }
  const sibling = path.at(-1)
  if (!sibling) throw new Error('the path is too short')
  const [split, rest] = [splitOf(size), path.slice(0, -1)]
  if (old <= split) {
    const [left, right] = rootsOfPrefix(old, split, oldRoot, rest, whole)
    return [left, nodeHash(right, sibling)]
  }
  const [left, right] = rootsOfPrefix(old - split, size - split, oldRoot, rest, false)
  return [nodeHash(sibling, left), nodeHash(sibling, right)]
}

/** Head lines, hashes and note of the text of a proof. */
export function parseProof(text: string): { head: string[]; path: Buffer[]; note: string } {
  const end = text.indexOf('\n\n')
  const lines = text.slice(0, end).split('\n')
  const heads = lines[0] === 'c2sp.org/tlog-proof@v1' ? 2 : 1
  return {
    head: lines.slice(0, heads),
    path: lines.slice(heads).map(line => Buffer.from(line, 'base64')),
    note: text.slice(end + 2),
  }
}
