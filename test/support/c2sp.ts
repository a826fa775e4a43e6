// Signed notes and proofs as C2SP and RFC 9162 have them, by node:crypto alone: what a stranger would write.
import { createHash, createPublicKey, verify } from 'node:crypto'

const sha256 = (...parts: (Uint8Array | string)[]) => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** SHA-256(0x00 ‖ record). */
export const leafHash = (record: Uint8Array): Buffer => sha256(Uint8Array.of(0), record)
const nodeHash = (left: Uint8Array, right: Uint8Array) => sha256(Uint8Array.of(1), left, right)

/** The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2), or `undefined` where it cannot be one. */
export function rootOf(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
): Buffer | undefined {
  let [fn, sn, hash] = [BigInt(index), BigInt(size) - 1n, Buffer.from(leaf)]
  for (const sibling of path) {
    if (sn === 0n) return undefined
    if (fn % 2n === 1n || fn === sn) {
      hash = nodeHash(sibling, hash)
      while (fn % 2n === 0n && fn !== 0n) [fn, sn] = [fn / 2n, sn / 2n]
    } else {
      hash = nodeHash(hash, sibling)
    }
    ;[fn, sn] = [fn / 2n, sn / 2n]
  }
  return sn === 0n ? hash : undefined
}

/** The roots of both trees by a consistency proof (RFC 9162, section 2.1.4.2); `undefined` where it cannot be one. */
export function rootsOf(old: number, size: number, oldRoot: Uint8Array, path: readonly Uint8Array[]) {
  const rest = [...path]
  // A whole old tree is not in the proof.
  if (Number.isInteger(Math.log2(old))) rest.unshift(oldRoot)
  let [fn, sn] = [BigInt(old) - 1n, BigInt(size) - 1n]
  while (fn % 2n === 1n) [fn, sn] = [fn / 2n, sn / 2n]
  const first = rest.shift()
  if (!first) return undefined
  let [before, after] = [Buffer.from(first), Buffer.from(first)]
  for (const hash of rest) {
    if (sn === 0n) return undefined
    if (fn % 2n === 1n || fn === sn) {
      before = nodeHash(hash, before)
      after = nodeHash(hash, after)
      while (fn % 2n === 0n && fn !== 0n) [fn, sn] = [fn / 2n, sn / 2n]
    } else {
      after = nodeHash(after, hash)
    }
    ;[fn, sn] = [fn / 2n, sn / 2n]
  }
  return sn === 0n ? { old: before, new: after } : undefined
}

/** Name, key id and key of a verifier key: `<name>+<id>+<base64 of type ‖ key>`. */
export function parseVerifierKey(vkey: string) {
  const [name = '', id = '', ...rest] = vkey.split('+')
  const key = Buffer.from(rest.join('+'), 'base64')
  const expected = sha256(name, '\n', key).subarray(0, 4).toString('hex')
  if (expected !== id) throw new Error('the key id is not of the key')
  return { name, id, type: key[0], key: key.subarray(1) }
}

/** Opens a note by an Ed25519 key, and gives origin, size and root of the checkpoint in it. */
export function openCheckpoint(note: string, vkey: string) {
  const { name, id, type, key } = parseVerifierKey(vkey)
  if (type !== 1) throw new Error('not a key of Ed25519')
  const border = note.lastIndexOf('\n\n')
  const [text, lines] = [
    note.slice(0, border + 1),
    note
      .slice(border + 2)
      .trimEnd()
      .split('\n'),
  ]
  const line = lines.find(each => {
    const [dash, signer, signature = ''] = each.split(' ')
    return (
      dash === '—' &&
      signer === name &&
      Buffer.from(signature, 'base64').subarray(0, 4).toString('hex') === id
    )
  })
  const signature = Buffer.from(line?.split(' ')[2] ?? '', 'base64').subarray(4)
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key])
  const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  if (!verify(null, Buffer.from(text), publicKey, signature)) throw new Error('the signature is not valid')
  const [origin = '', size = '', root = ''] = text.split('\n')
  return { origin, size: Number(size), root: Buffer.from(root, 'base64') }
}
