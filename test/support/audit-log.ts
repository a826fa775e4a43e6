// Writes audit logs by the description of their format (crates/kms-audit/src/{layout,record,codec}.rs) and by C2SP, without
// our Rust: what reads them must agree with a stranger about every byte, and tests can write what no service would.
import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js'
import { cosignedMessage, ED25519, keyId, leafHash, ML_DSA_44, sha256, treeRoot } from './c2sp.js'

const PAGE = 4096
const RECORD = 1
const END = 2
const CHECKPOINT = 3

export const ORIGIN = 'ron-kms/test'

const u8 = (value: number) => Buffer.from([value])
const u16 = (value: number) => Buffer.from([value >> 8, value & 0xff])
const u32 = (value: number) => {
  const out = Buffer.alloc(4)
  out.writeUInt32BE(value)
  return out
}
const u64 = (value: number) => {
  const out = Buffer.alloc(8)
  out.writeBigUInt64BE(BigInt(value))
  return out
}
const text = (value: string) => Buffer.concat([u8(Buffer.byteLength(value)), Buffer.from(value)])
const bytes = (value: Uint8Array) => Buffer.concat([u16(value.length), value])

export interface Track {
  alg: string
  bytes: Uint8Array
}

export const tracks = (list: readonly Track[]): Buffer =>
  Buffer.concat([u8(list.length), ...list.flatMap(track => [text(track.alg), bytes(track.bytes)])])

/** Who signs checkpoints. */
export interface Signer {
  name: string
  type: number
  publicKey: Uint8Array
  vkey: string
  /** The bare signature of these bytes. */
  sign(message: Uint8Array): Uint8Array
}

function signer(type: number, publicKey: Uint8Array, signs: Signer['sign'], name: string): Signer {
  const key = Buffer.concat([u8(type), publicKey]).toString('base64')
  const id = keyId(name, type, publicKey).toString('hex')
  return { name, type, publicKey, vkey: `${name}+${id}+${key}`, sign: signs }
}

/** Ed25519 of a seed of these bytes. */
export function ed25519Of(seed: number) {
  const pkcs8 = Buffer.concat([
    Buffer.from('302e020100300506032b657004220420', 'hex'),
    Buffer.alloc(32, seed),
  ])
  const secret = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  const spki = createPublicKey(secret).export({ format: 'der', type: 'spki' })
  return { publicKey: spki.subarray(-32), sign: (message: Uint8Array) => sign(null, message, secret) }
}

export function ed25519Signer(seed: number, name = ORIGIN): Signer {
  const { publicKey, sign: signs } = ed25519Of(seed)
  return signer(ED25519, publicKey, signs, name)
}

export function mlDsaSigner(seed: number, name = ORIGIN): Signer {
  const { publicKey, secretKey } = ml_dsa44.keygen(new Uint8Array(32).fill(seed))
  return signer(ML_DSA_44, publicKey, message => ml_dsa44.sign(message, secretKey), name)
}

/** A checkpoint as a note. */
export function checkpointNote(
  signers: readonly Signer[],
  size: number,
  root: Buffer,
  origin = ORIGIN,
): string {
  const body = `${origin}\n${size}\n${root.toString('base64')}\n`
  const lines = signers.map(({ name, type, publicKey, sign: signs }) => {
    const time = 1_764_000_000n
    const [stamp, message] =
      type === ED25519
        ? [Buffer.alloc(0), Buffer.from(body)]
        : [u64(Number(time)), cosignedMessage(name, time, { origin, size, root })]
    const line = Buffer.concat([keyId(name, type, publicKey), stamp, signs(message)])
    return `— ${name} ${line.toString('base64')}\n`
  })
  return `${body}\n${lines.join('')}`
}

function frame(kind: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(8)
  const word = kind * 2 ** 24 + payload.length
  head.writeUInt32LE(word)
  head.writeUInt32LE(~word >>> 0, 4)
  const padding = Buffer.alloc((8 - (payload.length % 8)) % 8)
  return Buffer.concat([head, payload, padding, leafHash(payload).subarray(0, 7), u8(0xa5)])
}

/** The roots of the complete subtrees, the largest first. */
function peaks(leaves: readonly Buffer[]): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0, bit = 2 ** 31; bit >= 1; bit /= 2) {
    if (Math.floor(leaves.length / bit) % 2 === 1) {
      found.push(treeRoot(leaves.slice(at, at + bit)))
      at += bit
    }
  }
  return found
}

export class LogWriter {
  readonly leaves: Buffer[] = []
  /** Where each record begins: segment and byte. */
  readonly places: { file: string; offset: number }[] = []
  signers: readonly Signer[]
  readonly #segments: Buffer[] = []
  readonly #checkpoints: Buffer[] = []
  readonly #segmentBytes: number
  #frames: Buffer[] = []
  #at = PAGE
  #last: { size: number; root: Buffer } = { size: 0, root: Buffer.alloc(32) }
  #header: Buffer

  /** Begins with the record that names the keys. */
  constructor(signers: readonly Signer[], segmentBytes = 256 * 1024) {
    this.signers = signers
    this.#segmentBytes = segmentBytes
    this.#header = this.#newHeader()
    this.changeKeys(signers, [])
  }

  #newHeader(): Buffer {
    const number = this.#segments.length
    const parts = [Buffer.from('ronkms\0A'), u32(1), u32(number), u64(this.#segmentBytes)]
    const page = Buffer.concat([...parts, u64(this.leaves.length), ...peaks(this.leaves)])
    const padded = Buffer.concat([page, Buffer.alloc(PAGE - 32 - page.length)])
    return Buffer.concat([padded, sha256(padded)])
  }

  /** Appends a record of a kind; gives its index. */
  append(kind: number, body: Uint8Array, seq = this.leaves.length): number {
    const header = [u8(1), u8(kind), u64(seq), u64(1_764_000_000_000 + seq), u64(seq)]
    const record = Buffer.concat([...header, body])
    const framed = frame(RECORD, record)
    if (this.#at + framed.length + 64 + 16 > this.#segmentBytes) this.#roll()
    this.places.push({ file: `log-${String(this.#segments.length).padStart(8, '0')}`, offset: this.#at })
    this.#frames.push(framed)
    this.#at += framed.length
    return this.leaves.push(leafHash(record)) - 1
  }

  #roll(): void {
    this.#frames.push(frame(END, new Uint8Array(0)))
    this.#segments.push(this.#segment())
    this.#header = this.#newHeader()
    this.#frames = []
    this.#at = PAGE
  }

  #segment(): Buffer {
    const used = Buffer.concat([this.#header, ...this.#frames])
    return Buffer.concat([used, Buffer.alloc(this.#segmentBytes - used.length)])
  }

  /** An operation without a key; `actor` makes it longer. */
  operation(requestId: string, actor = 'test', seq = this.leaves.length): number {
    const parts = [text('sign'), u8(0), text(requestId), text(actor), u8(0), text('core')]
    return this.append(1, Buffer.concat([...parts, u8(1), Buffer.alloc(32, 7), u8(0), u8(0)]), seq)
  }

  /** Says that of these leaves only hashes are left. */
  dropped(first: number, count: number): number {
    return this.append(7, Buffer.concat([u64(first), u64(count)]))
  }

  /** From this record on others sign; `by` are the signatures of those before. */
  changeKeys(signers: readonly Signer[], by?: readonly Uint8Array[]): number {
    const keys = signers.map(it => Buffer.concat([u8(it.type), bytes(it.publicKey)]))
    const statement = Buffer.concat([text(ORIGIN), u8(keys.length), ...keys])
    const signed = Buffer.concat([Buffer.from('ron-kms/audit-key/v1\0'), statement])
    const signatures = by ?? this.signers.map(it => it.sign(signed))
    this.signers = signers
    return this.append(5, Buffer.concat([statement, u8(signatures.length), ...signatures.map(bytes)]))
  }

  /** From this record on a device seals the log, or none where it is given up; by the audit keys, and the device before. */
  seal(device: Signer | undefined, before: readonly Signer[] = []): number {
    const named = device
      ? [u8(1), u8(device.type), bytes(device.publicKey), text('pkcs11-x'), u8(1), text('slot'), text('3')]
      : [u8(0)]
    const fields = Buffer.concat([text(ORIGIN), u64(this.#last.size), this.#last.root, ...named])
    const statement = Buffer.concat([Buffer.from('ron-kms/audit-device/v1\0'), fields])
    const signatures = [...this.signers, ...before].map(it => bytes(it.sign(statement)))
    return this.append(9, Buffer.concat([fields, u8(signatures.length), ...signatures]))
  }

  /** The version before `to` vouches for it. */
  continuity(
    kid: { tenant: string; purpose: string; alg: string; uuid: string; from: number; to: number },
    fromPublic: readonly Track[],
    toPublic: readonly Track[],
    signs: (statement: Buffer, kid: string) => Track[],
  ): number {
    const { tenant, purpose, alg, uuid, from, to } = kid
    const name = `${tenant}/${purpose}/${alg}/${uuid}`
    const said = `ron-kms/continuity/v1\0${name}#v${from}\0${name}#v${to}\0`
    const statement = Buffer.concat([Buffer.from(said), tracks(fromPublic), tracks(toPublic)])
    const id = Buffer.from(uuid.replaceAll('-', ''), 'hex')
    const written = [text('test'), text(tenant), text(purpose), text(alg), id, u32(from), u32(to)]
    const signatures = tracks(signs(statement, `${name}#v${from}`))
    return this.append(4, Buffer.concat([...written, tracks(fromPublic), tracks(toPublic), signatures]))
  }

  root(size = this.leaves.length): Buffer {
    return treeRoot(this.leaves.slice(0, size))
  }

  /** Signs the tree as it is, or something else; gives the note. */
  checkpoint(note = checkpointNote(this.signers, this.leaves.length, this.root())): string {
    this.#checkpoints.push(frame(CHECKPOINT, Buffer.from(note)))
    this.#last = { size: this.leaves.length, root: this.root() }
    return note
  }

  /** Writes the files that a service would leave, the spare segment among them. */
  write(dir: string): void {
    mkdirSync(dir, { recursive: true })
    const segments = [...this.#segments, this.#segment(), Buffer.alloc(this.#segmentBytes)]
    for (const [number, segment] of segments.entries()) {
      writeFileSync(join(dir, `log-${String(number).padStart(8, '0')}`), segment)
    }
    writeFileSync(join(dir, 'checkpoints'), Buffer.concat(this.#checkpoints))
    writeFileSync(join(dir, 'keys'), this.signers.map(({ vkey }) => `${vkey}\n`).join(''))
    writeFileSync(join(dir, 'hashes-00'), Buffer.concat(this.leaves))
    writeFileSync(join(dir, 'lock'), '')
  }
}
