// The memory of another process of this user, as the kernel shows it (Linux).
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

export interface Mapping {
  start: number
  end: number
  permissions: string
  name: string
  /** Bytes that are in RAM. */
  rss: number
  /** `VmFlags`, see proc_pid_smaps(5): `lo` locked, `dd` not dumped, `wf` wiped on fork. */
  flags: string[]
}

export function mappingsOf(pid: number): Mapping[] {
  const mappings: Mapping[] = []
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)$/.exec(line)
    if (head) {
      const [, start = '', end = '', permissions = '', name = ''] = head
      const bounds = { start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) }
      mappings.push({ ...bounds, permissions, name, rss: 0, flags: [] })
      continue
    }
    const last = mappings.at(-1)
    const [key, ...words] = line.trim().split(/\s+/)
    if (last && key === 'Rss:') last.rss = Number(words[0]) * 1024
    if (last && key === 'VmFlags:') last.flags = words
  }
  return mappings
}

/** Whether a mapping is one of ours for secrets. */
export const isArena = ({ flags }: Mapping): boolean => flags.includes('dd') && flags.includes('wf')

const CHUNK = 16 * 1024 * 1024

/** The bytes of mappings that are in RAM, piece by piece. A mapping that went away meanwhile is left out. */
export function* memoryOf(pid: number, mappings: Mapping[]): Generator<{ mapping: Mapping; bytes: Buffer }> {
  const file = openSync(`/proc/${pid}/mem`, 'r')
  try {
    for (const mapping of mappings) {
      if (!mapping.permissions.startsWith('r') || mapping.rss === 0) continue
      for (let at = mapping.start; at < mapping.end; at += CHUNK) {
        const bytes = Buffer.alloc(Math.min(CHUNK, mapping.end - at))
        try {
          yield { mapping, bytes: bytes.subarray(0, readSync(file, bytes, 0, bytes.length, at)) }
        } catch {
          break
        }
      }
    }
  } finally {
    closeSync(file)
  }
}

/**
 * Looks for parts of secrets: every word of eight bytes of each, at every address that is a multiple of four, so that a
 * copy is found that lies in two registers' spills; and each whole secret at any address.
 */
export class Finder {
  readonly #names = new Map<bigint, string>()
  readonly #whole: [string, Buffer][] = []
  /** By the low 16 bits of a word: whether one of ours begins so. */
  readonly #begins = new Uint8Array(65_536)

  constructor(secrets: Record<string, Uint8Array>) {
    for (const [name, secret] of Object.entries(secrets)) {
      const bytes = Buffer.from(secret)
      this.#whole.push([name, bytes])
      for (let at = 0; at + 8 <= bytes.length; at += 8) {
        this.#names.set(bytes.readBigUInt64LE(at), name)
        this.#begins[bytes.readUInt16LE(at)] = 1
      }
    }
  }

  /** The secrets of which something is there, each with the offset of its first find. */
  find(bytes: Buffer): Map<string, number> {
    const found = new Map<string, number>()
    const note = (name: string, at: number) => found.has(name) || found.set(name, at)
    for (const [name, secret] of this.#whole) {
      const at = bytes.indexOf(secret)
      if (at >= 0) note(name, at)
    }
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
    const begins = this.#begins
    for (let i = 0; i + 1 < words.length; i += 1) {
      const low = words[i] as number
      if (begins[low & 0xffff] === 0) continue
      const name = this.#names.get((BigInt(words[i + 1] as number) << 32n) | BigInt(low))
      if (name) note(name, 4 * i)
    }
    return found
  }
}
