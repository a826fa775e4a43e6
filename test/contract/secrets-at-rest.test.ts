// What another process of the same user finds of a service's secrets: in its memory, its heap snapshots, its core dumps.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { type HeldKey, secretsOf } from '../support/known-secrets.js'
import { part } from '../support/parts.js'
import { Finder, isArena, type Mapping, mappingsOf, memoryOf } from '../support/process-memory.js'

const memory = part('process-memory')
const cores = part('core-dumps')
const dist = new URL('../../dist/', import.meta.url).href
const program = fileURLToPath(new URL('fixtures/holds-secrets.mjs', import.meta.url))
const ALGORITHMS = [
  'ed25519',
  'ml-dsa',
  'slh-dsa-sha2-128f',
  'hybrid',
  'x25519:kem',
  'ml-kem:kem',
  'hybrid:kem',
]

let child: Holder | undefined
afterEach(async () => {
  await child?.end()
  child = undefined
})

/** A process that holds keys and has used them, in a directory of its own. */
class Holder {
  readonly folder = mkdtempSync(join(tmpdir(), 'ron-kms-secrets-'))
  readonly #process: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(lanes: object) {
    // A shell, for the limit of core dumps.
    const script = 'ulimit -c unlimited 2>/dev/null; exec "$@"'
    const args = [process.execPath, program, dist, ALGORITHMS.join(), JSON.stringify(lanes)]
    this.#process = spawn('sh', ['-c', script, 'sh', ...args], {
      cwd: this.folder,
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    const { stdout } = this.#process
    if (!stdout) throw new Error('no output')
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  }

  get pid(): number {
    return this.#process.pid as number
  }

  async keys(): Promise<HeldKey[]> {
    return JSON.parse((await this.#lines.next()).value).keys
  }

  async tell(command: string): Promise<void> {
    this.#process.stdin?.write(`${command}\n`)
    expect((await this.#lines.next()).value).toBe('done')
  }

  async abort(): Promise<void> {
    this.#process.stdin?.write('abort\n')
    await once(this.#process, 'exit')
  }

  async end(): Promise<void> {
    const { exitCode, signalCode } = this.#process
    if (exitCode === null && signalCode === null) {
      this.#process.kill('SIGKILL')
      await once(this.#process, 'exit')
    }
    rmSync(this.folder, { recursive: true })
  }

  /** The bytes of all mappings that hold secrets. */
  arena(): Buffer[] {
    return [...memoryOf(this.pid, mappingsOf(this.pid).filter(isArena))].map(({ bytes }) => bytes)
  }

  /** What of `wanted` is in those mappings that `where` picks. */
  search(wanted: Record<string, Uint8Array>, where: (mapping: Mapping) => boolean): string[] {
    const finder = new Finder(wanted)
    const found = new Set<string>()
    for (const { bytes } of memoryOf(this.pid, mappingsOf(this.pid).filter(where))) {
      for (const name of finder.find(bytes).keys()) found.add(name)
    }
    return [...found].sort()
  }
}

const outside = (mapping: Mapping): boolean => !isArena(mapping)
const anywhere = (): boolean => true

/** What must be found, or the search is blind. */
const publicHalves = (keys: HeldKey[]): Record<string, Uint8Array> =>
  Object.fromEntries(
    keys.map(({ publicKey }, i) => [`public ${i}`, Buffer.from(publicKey, 'hex').subarray(0, 16)]),
  )

describe.skipIf(!memory.available)('the memory of a service', () => {
  it('has no part of a seed or an expanded key outside of secret memory, and none anywhere once closed', async () => {
    child = new Holder({})
    const keys = await child.keys()
    const secrets = secretsOf(keys, child.arena())
    expect(Object.keys(secrets).length).toBeGreaterThan(20)
    expect(child.search(secrets, isArena).length).toBeGreaterThan(15)
    expect(child.search(publicHalves(keys), outside)).toHaveLength(keys.length)
    expect(child.search(secrets, outside)).toEqual([])
    await child.tell('close')
    expect(child.search(secrets, anywhere)).toEqual([])
    expect(child.arena().every(bytes => bytes.every(byte => byte === 0))).toBe(true)
  }, 60_000)

  it('has, in the lanes dalek and rustcrypto, what one crate boxes, and nothing once closed', async () => {
    child = new Holder({ sign: 'dalek', pq: 'rustcrypto' })
    const secrets = secretsOf(await child.keys(), child.arena())
    // The crate `ml-kem` puts d and z into boxes of its own, which it wipes when they are dropped.
    const boxed = Object.keys(secrets).filter(name => /^(ml-kem|x-wing) \d [dz]$/.test(name))
    expect(child.search(secrets, outside).filter(name => !boxed.includes(name))).toEqual([])
    await child.tell('close')
    expect(child.search(secrets, anywhere)).toEqual([])
  }, 60_000)

  it('has what lane ring leaves behind, which never wipes: the search is not blind', async () => {
    child = new Holder({ sign: 'ring' })
    const secrets = secretsOf(await child.keys(), child.arena())
    expect(child.search(secrets, outside)).toContain('ed25519 0 prefix')
    await child.tell('close')
    const left = child.search(secrets, anywhere)
    expect(left.length).toBeGreaterThan(0)
    expect(left.filter(name => !name.startsWith('ed25519 '))).toEqual([])
  }, 60_000)

  it('shows nothing in a heap snapshot', async () => {
    child = new Holder({})
    const secrets = secretsOf(await child.keys(), child.arena())
    const path = join(child.folder, 'heap')
    await child.tell(`snapshot ${path}`)
    const snapshot = readFileSync(path)
    expect(snapshot.includes('holds-secrets.mjs')).toBe(true)
    expect([...new Finder(secrets).find(snapshot).keys()]).toEqual([])
    for (const [name, secret] of Object.entries(secrets)) {
      const bytes = Buffer.from(secret)
      for (const text of [bytes.toString('hex'), bytes.toString('base64').slice(0, 20), bytes.join()]) {
        expect(snapshot.includes(text), name).toBe(false)
      }
    }
  }, 60_000)

  it.skipIf(!cores.available)(
    'is not in its core dump',
    async () => {
      child = new Holder({})
      const keys = await child.keys()
      const secrets = secretsOf(keys, child.arena())
      await child.abort()
      const [core] = readdirSync(child.folder).filter(name => name.startsWith('core'))
      const hidden = new Finder(secrets)
      const shown = new Finder(publicHalves(keys))
      const found = new Set<string>()
      const seen = new Set<string>()
      for await (const chunk of createReadStream(join(child.folder, core as string), {
        highWaterMark: 1 << 24,
      })) {
        for (const name of hidden.find(chunk as Buffer).keys()) found.add(name)
        for (const name of shown.find(chunk as Buffer).keys()) seen.add(name)
      }
      expect(seen.size).toBe(keys.length)
      expect([...found]).toEqual([])
    },
    60_000,
  )
})

describe('the search', () => {
  it('finds a secret at any address, and eight bytes of one at every fourth', () => {
    const secret = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex')
    const finder = new Finder({ secret })
    for (let at = 0; at < 64; at += 1) {
      const bytes = Buffer.alloc(1024, 0xff)
      secret.copy(bytes, 100 + at)
      expect([...finder.find(bytes).keys()]).toEqual(['secret'])
      const half = Buffer.alloc(1024, 0xff)
      secret.copy(half, 100 + 4 * at, 8)
      expect([...finder.find(half).keys()]).toEqual(['secret'])
      expect(finder.find(Buffer.alloc(1024, 0xff)).size).toBe(0)
    }
  })
})
