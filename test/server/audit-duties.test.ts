// Where the audit log goes: to a receiver of its records and to witnesses of its checkpoints, as strangers would write them.
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kms } from 'ron-kms'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { addonStatus } from '../../src/cli/addon.js'
import { loadConfig } from '../../src/config/load.js'
import type { Key } from '../../src/config/schema.js'
import { requireNative } from '../../src/native.js'
import { Exporter } from '../../src/server/audit-export.js'
import { retain } from '../../src/server/retention.js'
import { type Witness, Witnesses } from '../../src/server/witness.js'
import { keyId, openNote, parseCheckpoint, parseVkey, rootsOfPrefix } from '../support/c2sp.js'
import { start } from './support.js'

const LOG = 'ron-kms/test'
const COSIGNATURE = 4
const wish = { tenant: 'core', purpose: 'orders', alg: 'ed25519', signs: 'message' } as const
const message = new TextEncoder().encode('message')

let dir: string
let kms: Kms
let kid: string
let servers: Server[]
let stops: (() => unknown)[]

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-duties-'))
  servers = []
  stops = []
  writeFileSync(at('root.key'), Buffer.alloc(32, 3))
  const rootKey = { kind: 'key-file', file: at('root.key') } as const
  const audit = { log: LOG, dir: at('audit'), rootKey, anchor: at('anchor'), checkpointIntervalMs: 20 }
  kms = await Kms.open({ backend: 'inmem', audit })
  kid = (await kms.createKey(wish)).kid
})

afterEach(async () => {
  for (const stop of stops) await stop()
  kms.close()
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
  }
  rmSync(dir, { recursive: true })
})

const at = (name: string) => join(dir, name)

async function listen(answer: (request: IncomingMessage, body: string) => { status: number; text?: string }) {
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { status, text = '' } = answer(request, body)
    response.writeHead(status).end(text)
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A receiver that answers what it is told to. */
async function receiver() {
  const state = { status: 200, lines: [] as { seq: number }[], requests: 0 }
  const url = await listen(({ headers }, body) => {
    state.requests += 1
    if (state.status !== 200) return { status: state.status }
    const lines = body
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    expect(headers['x-audit-log']).toBe(LOG)
    expect(lines[0].seq).toBe(Number(headers['x-audit-first']))
    expect(lines.at(-1).seq).toBe(Number(headers['x-audit-next']) - 1)
    state.lines.push(...lines)
    return { status: 204 }
  })
  return { ...{ url, state } }
}

function exporter(url: string) {
  const open = (from: number) => new (requireNative().AuditRecords)(at('audit'), from)
  const made = new Exporter({ log: LOG, url, positionFile: at('position'), open })
  made.start(10)
  stops.push(() => made.stop())
  return made
}

/** A witness as tlog-witness has it: one checkpoint after the other, each a prefix of the next. */
async function witness(name = 'witness.example/one') {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const key = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)
  const typed = Buffer.concat([Uint8Array.of(COSIGNATURE), key])
  const vkey = `${name}+${keyId(name, COSIGNATURE, key).toString('hex')}+${typed.toString('base64')}`
  const state = { size: 0, root: Buffer.alloc(0), forged: false, status: 200 }
  const url = await listen(({ url: path }, body) => {
    if (path !== '/w/add-checkpoint') return { status: 404 }
    if (state.status !== 200) return { status: state.status }
    const end = body.indexOf('\n\n')
    const [first = '', ...hashes] = body.slice(0, end).split('\n')
    const note = body.slice(end + 2)
    const old = Number(/^old (\d+)$/.exec(first)?.[1])
    const { origin, size, root } = parseCheckpoint(openNote(note, [logKey()]))
    expect(origin).toBe(LOG)
    if (old !== state.size) return { status: 409, text: `${state.size}\n` }
    if (old > 0) {
      const path = hashes.map(hash => Buffer.from(hash, 'base64'))
      const [before, after] = rootsOfPrefix(old, size, state.root, path)
      if (!before.equals(state.root) || !after.equals(root)) return { status: 422 }
    }
    Object.assign(state, { size, root })
    return { status: 200, text: cosignature(note, name, key, state.forged ? otherKey() : privateKey) }
  })
  return { url: `${url}/w`, key: vkey, state }
}

const logKey = () => parseVkey(readFileSync(at('audit/keys'), 'utf8').split('\n')[0] ?? '')
const otherKey = () => generateKeyPairSync('ed25519').privateKey

function cosignature(note: string, name: string, key: Buffer, privateKey: KeyObject): string {
  const text = note.slice(0, note.lastIndexOf('\n\n') + 1)
  const time = Math.floor(Date.now() / 1000)
  const stamp = Buffer.alloc(8)
  stamp.writeBigUInt64BE(BigInt(time))
  const signature = sign(null, Buffer.from(`cosignature/v1\ntime ${time}\n${text}`), privateKey)
  const line = Buffer.concat([keyId(name, COSIGNATURE, key), stamp, signature])
  return `— ${name} ${line.toString('base64')}\n`
}

function witnesses(...all: Witness[]) {
  const made = new Witnesses(kms.audit, all)
  made.start(10)
  stops.push(() => made.stop())
  return made
}

const signMany = (count: number) => {
  for (let i = 0; i < count; i += 1) kms.sign(kid, message)
}

describe.skipIf(!addonStatus().loaded)('the export of an audit log', () => {
  it('sends every record in order, and goes on where it was', async () => {
    const { url, state } = await receiver()
    const first = exporter(url)
    signMany(100)
    // One that is stopped before it has heard back sends what was under way again.
    await vi.waitUntil(() => first.status().next === kms.audit.status().size, { timeout: 5000 })
    await first.stop()
    signMany(100)
    const second = exporter(url)
    await vi.waitUntil(() => second.status().next === kms.audit.status().size, { timeout: 5000 })
    expect(state.lines.map(({ seq }) => seq)).toEqual(Array.from({ length: 203 }, (_, seq) => seq))
  })

  it('tries again what was not taken, and counts that', async () => {
    const { url, state } = await receiver()
    state.status = 500
    const sent = exporter(url)
    await vi.waitUntil(() => sent.status().failures > 0)
    expect(sent.status().next).toBe(0)
    state.status = 200
    await vi.waitUntil(() => sent.status().next === kms.audit.status().size, { timeout: 10_000 })
    expect(state.lines[0]).toMatchObject({ seq: 0 })
  })

  it('refuses a position that it did not write', async () => {
    writeFileSync(at('position'), 'far')
    expect(() => exporter('http://127.0.0.1:9')).toThrow(expect.objectContaining({ code: 'BadRequest' }))
  })
})

describe.skipIf(!addonStatus().loaded)('witnesses of an audit log', () => {
  it('cosign each checkpoint, after they saw that the log only grew', async () => {
    const one = await witness()
    const two = await witness('witness.example/two')
    const all = witnesses(one, two)
    for (let round = 0; round < 3; round += 1) {
      signMany(5)
      const { size } = kms.audit.status()
      await vi.waitUntil(() => all.status().every(each => each.size >= size), { timeout: 5000 })
      const times = (note: string) => [one, two].map(({ key }) => requireNative().auditCosignedAt(note, key))
      // A checkpoint may be younger than its cosignatures.
      const note = await vi.waitUntil(() => {
        const note = all.checkpoint()
        return times(note).every(time => time !== null) && note
      })
      for (const time of times(note)) expect(Math.abs(Date.now() / 1000 - (time ?? 0))).toBeLessThan(60)
      expect(parseCheckpoint(openNote(note, [logKey()])).size).toBeGreaterThanOrEqual(size)
    }
    expect(all.status().map(({ failures }) => failures)).toEqual([0, 0])
  })

  it('are told from where they know the log', async () => {
    const one = await witness()
    const first = witnesses(one)
    await vi.waitUntil(() => first.status()[0]?.size === kms.audit.status().size)
    await first.stop()
    signMany(3)
    // A new process knows of no size: the witness says which.
    const second = witnesses(one)
    const { size } = kms.audit.status()
    await vi.waitUntil(() => (second.status()[0]?.size ?? 0) >= size, { timeout: 5000 })
    expect(second.status()[0]?.failures).toBe(0)
  })

  it('add nothing with a signature that does not hold, and hold nothing up', async () => {
    const [forger, silent] = [
      await witness('witness.example/forger'),
      await witness('witness.example/silent'),
    ]
    forger.state.forged = true
    silent.state.status = 503
    const all = witnesses(forger, silent, { url: 'http://127.0.0.1:1/w', key: forger.key })
    await vi.waitUntil(() => all.status().every(({ failures }) => failures > 0), { timeout: 5000 })
    expect(all.checkpoint()).toBe(kms.audit.checkpoint())
    expect(kms.sign(kid, message)).toHaveLength(64)
  })
})

describe.skipIf(!addonStatus().loaded)('a service', () => {
  // More than one thread serves, and one alone does all this.
  it.each(['1', '2'])(
    'exports and has cosigned what its settings say, and shows it; workers: %s',
    async workers => {
      const { url, state } = await receiver()
      const one = await witness()
      const settings: Partial<Record<Key, string>> = {
        workers,
        'audit.dir': at('audit'),
        'audit.export': url,
        'audit.instance': 'test',
        'service.amnesia': 'false',
        'audit.witnesses': JSON.stringify({ one: { url: one.url, key: one.key } }),
        'root_key.file': at('root.key'),
      }
      const service = await start(settings, undefined, kms)
      try {
        await vi.waitUntil(() => state.lines.length >= 3 && one.state.size > 0, { timeout: 10_000 })
        const shown = await vi.waitUntil(
          async () => {
            const { text } = await service.ask('GET', '/v1/kms/audit/checkpoint')
            return requireNative().auditCosignedAt(text, one.key) !== null && text
          },
          { timeout: 5000 },
        )
        expect(parseCheckpoint(openNote(shown, [logKey()])).origin).toBe(LOG)
        expect(await service.metric('kms_audit_exported_records')).toBeGreaterThanOrEqual(3)
        const witness = { witness: 'witness.example/one' }
        expect(await service.metric('kms_audit_witness_size', witness)).toBe(one.state.size)
        expect(await service.metric('kms_audit_witness_failures_total', witness)).toBe(0)
      } finally {
        await service.close()
      }
      expect(existsSync(at('audit.export'))).toBe(true)
    },
  )

  it('names what a witness lacks, and what is no URL', () => {
    const witnesses = JSON.stringify({ one: { url: 'http://127.0.0.1:1/' } })
    const flags = { 'audit.witnesses': witnesses, 'audit.export': 'ftp://x' }
    const keys = loadConfig({ dev: true, env: {}, flags }).faults.map(({ key }) => key)
    expect(keys).toEqual(['audit.export'])
    const credentials = loadConfig({ dev: true, env: {}, flags: { 'audit.export': 'http://user:pw@host/' } })
    expect(credentials.faults.map(({ key }) => key)).toEqual(['audit.export'])
    const { faults } = loadConfig({ dev: true, env: {}, flags: { 'audit.witnesses': witnesses } })
    expect(faults.map(({ key }) => key)).toEqual(['audit.witnesses.one.key'])
  })

  it('gives old files up from time to time', { timeout: 60_000 }, async () => {
    const items = Array.from({ length: 1000 }, () => ({ kid, message }))
    while (!existsSync(at('audit/log-00000002'))) kms.signBatch(items)
    const failed: unknown[] = []
    let sent = 0
    const retention = { records: 1000, archive: '', unsent: () => sent }
    stops.push(retain(kms.audit, retention, { unexpected: event => failed.push(event) }, 20))
    await new Promise(resolve => setTimeout(resolve, 200))
    expect(existsSync(at('audit/log-00000000')), 'not before it was exported').toBe(true)
    sent = kms.audit.status().size
    await vi.waitUntil(() => !existsSync(at('audit/log-00000000')), { timeout: 10_000 })
    expect(failed).toEqual([])
    expect(kms.sign(kid, message)).toHaveLength(64)
  })
})
