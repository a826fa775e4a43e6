// A tenant's migration by configuration alone: a real service, whose file is rewritten and which is told to read it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { expectProblem, send } from './support.js'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'ron-kms-phases-'))
const file = join(dir, 'kms.toml')
// Windows has no signal that a process could be sent to read its settings again.
const hasSighup = process.platform !== 'win32'

const BASE = ['bind_addr = "127.0.0.1:0"', 'metrics_addr = "127.0.0.1:0"']
const configure = (...lines: string[]) => writeFileSync(file, [...BASE, ...lines, ''].join('\n'))

let child: ChildProcess
let [api, ops, token] = ['', '', '']
const log: Record<string, unknown>[] = []

beforeAll(async () => {
  configure('[pq.tenants.acme]', 'produce_hybrid = false', 'verify_mode = "or"')
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('RON_KMS_')))
  child = spawn(process.execPath, [main, 'serve', '--dev', '--config', file], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const { stdout, stderr } = child
  if (!stdout || !stderr) throw new Error('no pipes')
  createInterface(stderr).on('line', line => log.push(JSON.parse(line)))
  for await (const line of createInterface(stdout)) {
    token ||= /Bearer (\S+)/.exec(line)?.[1] ?? ''
    if (token) break
  }
  const started = await vi.waitUntil(() => log.find(({ event }) => event === 'server_started'))
  api = `http://${started.api_addr}`
  ops = `http://${started.metrics_addr}`
})

afterAll(async () => {
  if (child.exitCode === null) {
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
  rmSync(dir, { recursive: true })
})

const post = (path: string, body: unknown) =>
  send(api, 'POST', `/v1/kms${path}`, { body, headers: { authorization: `Bearer ${token}` } })

/** Tells the service to read its file again, and waits for what it says of that. */
async function reload(): Promise<Record<string, unknown>> {
  const before = log.length
  child.kill('SIGHUP')
  return vi.waitUntil(() => log.slice(before).find(({ event }) => /^config_re/.test(String(event))))
}

async function series(name: string): Promise<Record<string, number>> {
  const { text } = await send(ops, 'GET', '/metrics', { anonymous: true })
  const lines = [...text.matchAll(new RegExp(`^${name}(\\{.*\\})? (\\S+)$`, 'gm'))]
  return Object.fromEntries(lines.map(([, labels = '', value]) => [labels, Number(value)]))
}

async function counted(): Promise<{ classicalOnly: number; refused: number }> {
  const classical = await series('kms_hybrid_classical_only_total')
  const refused = await series('kms_reject_total')
  return { classicalOnly: classical['{tenant="acme"}'] ?? 0, refused: refused['{reason="pq_policy"}'] ?? 0 }
}

interface Sig {
  alg: string
  signature_b64: string
}

const payload = { message_b64: Buffer.from('a message').toString('base64') }

async function newKey(tenant: string, alg: string): Promise<string> {
  const { status, json } = await post('/keys', { tenant, purpose: 'audit', alg, signs: 'message' })
  expect(status).toBe(200)
  return json.kid
}

async function sign(kid: string, policy = {}): Promise<Sig[]> {
  const { status, json } = await post('/sign', { kid_or_set: { kid }, ...payload, policy })
  expect(status).toBe(200)
  return json.sigs
}

async function verify(kid: string, sigs: Sig[]): Promise<boolean> {
  const { status, json } = await post('/verify', { kid, ...payload, sigs })
  expect(status).toBe(200)
  return json.ok
}

/** One phase: its settings, what is made in it, what it accepts, and what that counts. */
interface Phase {
  phase: number
  settings: string[]
  /** What a hybrid key signs with. */
  signs: string[]
  /** The classical half, the post-quantum one, both, a classical key's, a post-quantum key's. */
  accepts: boolean[]
  counts: { classicalOnly: number; refused: number }
  /** Whether a classical key signs and is made. */
  classicalKeys: boolean
}

const or = 'verify_mode = "or"'
const and = 'verify_mode = "and"'
const PHASES: Phase[] = [
  {
    phase: 0,
    settings: ['produce_hybrid = false', or],
    signs: ['ed25519'],
    accepts: [true, true, true, true, true],
    counts: { classicalOnly: 2, refused: 0 },
    classicalKeys: true,
  },
  {
    phase: 1,
    settings: ['produce_hybrid = true', or],
    signs: ['ed25519', 'ml-dsa'],
    accepts: [true, true, true, true, true],
    counts: { classicalOnly: 2, refused: 0 },
    classicalKeys: true,
  },
  {
    phase: 2,
    settings: [and],
    signs: ['ed25519', 'ml-dsa'],
    accepts: [false, false, true, true, true],
    counts: { classicalOnly: 1, refused: 2 },
    classicalKeys: true,
  },
  {
    phase: 3,
    settings: ['verify_mode = "pq_only"'],
    signs: ['ed25519', 'ml-dsa'],
    accepts: [false, true, true, false, true],
    counts: { classicalOnly: 0, refused: 2 },
    classicalKeys: false,
  },
]
// There and back.
const PATH = [0, 1, 2, 3, 2, 1, 0].map(phase => PHASES[phase] as Phase)

describe.skipIf(!hasSighup)('a tenant', () => {
  it('moves through the phases and back by configuration alone', { timeout: 60_000 }, async () => {
    const kids = {
      hybrid: await newKey('acme', 'hybrid'),
      classical: await newKey('acme', 'ed25519'),
      pq: await newKey('acme', 'ml-dsa'),
      other: await newKey('other', 'hybrid'),
    }
    const both = await sign(kids.hybrid, { produce_hybrid: true })
    const [first, second] = [both.slice(0, 1), both.slice(1)]
    const sigs = { classical: await sign(kids.classical), pq: await sign(kids.pq) }
    const others = (await sign(kids.other)).slice(0, 1)

    for (const { phase, settings, signs, accepts, counts, classicalKeys } of PATH) {
      configure('[pq.tenants.acme]', ...settings)
      expect(await reload()).toMatchObject({ level: 'INFO', event: 'config_reloaded', restart_needed: [] })

      expect((await sign(kids.hybrid)).map(({ alg }) => alg)).toEqual(signs)
      const before = await counted()
      const verdicts = [
        await verify(kids.hybrid, first),
        await verify(kids.hybrid, second),
        await verify(kids.hybrid, both),
        await verify(kids.classical, sigs.classical),
        await verify(kids.pq, sigs.pq),
      ]
      expect([phase, verdicts]).toEqual([phase, accepts])
      const after = await counted()
      expect([phase, after.classicalOnly - before.classicalOnly, after.refused - before.refused]).toEqual([
        phase,
        counts.classicalOnly,
        counts.refused,
      ])

      // The tenant's phase is shown; the service's mode and other tenants are as they were.
      expect(await series('kms_pq_phase')).toEqual({
        '{tenant="*",phase="2"}': 1,
        [`{tenant="acme",phase="${phase}"}`]: 1,
      })
      expect(await series('kms_pq_mode')).toEqual({
        '{mode="or"}': 0,
        '{mode="and"}': 1,
        '{mode="pq_only"}': 0,
      })
      expect(await verify(kids.other, others)).toBe(false)

      const signed = await post('/sign', { kid_or_set: { kid: kids.classical }, ...payload })
      const made = await post('/keys', { tenant: 'acme', purpose: 'audit', alg: 'ed25519' })
      if (classicalKeys) expect([signed.status, made.status]).toEqual([200, 200])
      else {
        expectProblem(signed, 400, 'Unsupported', 'kid_or_set.kid')
        expectProblem(made, 400, 'Unsupported', 'alg')
      }
    }
  })

  it('keeps its classical keys under pq_only within the grace, and not after', async () => {
    const kid = await newKey('acme', 'ed25519')
    const sigs = await sign(kid)
    const rule = ['[pq.tenants.acme]', 'verify_mode = "pq_only"']
    configure(...rule, `legacy_grace = ${new Date(Date.now() + 3_600_000).toISOString()}`)
    expect(await reload()).toMatchObject({ event: 'config_reloaded' })
    const before = await counted()
    expect(await verify(kid, sigs)).toBe(true)
    expect((await counted()).classicalOnly).toBe(before.classicalOnly + 1)
    configure(...rule, 'legacy_grace = "2020-01-01T00:00:00Z"')
    expect(await reload()).toMatchObject({ event: 'config_reloaded' })
    expect(await verify(kid, sigs)).toBe(false)
    // A tenant without a grace has none, though the service has one.
    const graced = ['[pq]', `legacy_grace = ${new Date(Date.now() + 3_600_000).toISOString()}`]
    configure(...graced, ...rule, 'legacy_grace = "none"')
    await reload()
    expect(await verify(kid, sigs)).toBe(false)
    configure(...graced, ...rule)
    await reload()
    expect(await verify(kid, sigs)).toBe(true)
  })
})

describe.skipIf(!hasSighup)('the service', () => {
  it('moves as a whole, and shows its mode and its part of all keys', async () => {
    for (const [settings, mode, phase, percent] of [
      [['verify_mode = "pq_only"'], 'pq_only', 3, 100],
      [['verify_mode = "or"', 'produce_hybrid = false', 'rollout_percent = 30'], 'or', 0, 30],
      [['rollout_percent = 0'], 'and', 2, 0],
    ] as const) {
      configure('[pq]', ...settings)
      await reload()
      expect((await series('kms_pq_mode'))[`{mode="${mode}"}`]).toBe(1)
      expect(await series('kms_pq_phase')).toEqual({ [`{tenant="*",phase="${phase}"}`]: 1 })
      expect(await series('kms_pq_rollout_percent')).toEqual({ '': percent })
    }
    // Nobody is in the part: keys sign as before the migration.
    expect(await sign(await newKey('acme', 'hybrid'))).toHaveLength(1)
  })

  it('keeps its settings when the new ones are at fault, and says which one is', async () => {
    configure('[pq]', 'verify_mode = "or"')
    await reload()
    const kid = await newKey('acme', 'hybrid')
    const classical = (await sign(kid)).slice(0, 1)
    const bad: [string[], string][] = [
      [['[pq]', 'verify_mode = "none"'], 'pq.verify_mode'],
      [['[pq]', 'verify_mode = "and"', 'produce_hybrid = false'], 'pq.produce_hybrid'],
      [
        ['[pq.tenants.acme]', 'verify_mode = "and"', 'produce_hybrid = false'],
        'pq.tenants.acme.produce_hybrid',
      ],
      [['[pq]', 'rollout_percent = 101'], 'pq.rollout_percent'],
      [['[pq]', 'legacy_grace = "soon"'], 'pq.legacy_grace'],
      [['[pq.tenants.acme]', 'verify_mod = "and"'], 'pq.tenants'],
      [['[pq.tenants."a b"]', 'verify_mode = "and"'], 'pq.tenants'],
      [['[pq]', 'verify_mode = "pq_only"', '[nonsense]', 'x = 1'], 'nonsense'],
      [['[pq'], '--config'],
    ]
    for (const [lines, key] of bad) {
      configure(...lines)
      const said = await reload()
      expect(said).toMatchObject({ level: 'ERROR', event: 'config_refused', faults: 1 })
      expect(said.first).toMatch(new RegExp(`^config: ${key.replaceAll('.', '\\.')} = `))
      expect(await verify(kid, classical)).toBe(true)
      expect((await series('kms_pq_mode'))['{mode="or"}']).toBe(1)
    }
    rmSync(file)
    expect(await reload()).toMatchObject({ event: 'config_refused' })
    expect(await verify(kid, classical)).toBe(true)
    configure('[pq]', 'verify_mode = "and"')
    expect(await reload()).toMatchObject({ event: 'config_reloaded' })
    expect(await verify(kid, classical)).toBe(false)
  })

  it('names what needs a restart, until there is one', async () => {
    configure('[destroy]', 'min_delay = "1h"', '[pq]', 'verify_mode = "or"', '[log]', 'format = "text"')
    const restart_needed = ['destroy.min_delay', 'log.format']
    expect(await reload()).toMatchObject({ event: 'config_reloaded', restart_needed })
    expect((await series('kms_pq_mode'))['{mode="or"}']).toBe(1)
    expect(await reload()).toMatchObject({ event: 'config_reloaded', restart_needed })
    configure()
    expect(await reload()).toMatchObject({ event: 'config_reloaded', restart_needed: [] })
  })
})

describe('the settings of the service', () => {
  it('leave SLH-DSA out unless it is allowed', async () => {
    const wish = { tenant: 'acme', purpose: 'audit', alg: 'slh-dsa-sha2-128f' }
    expectProblem(await post('/keys', wish), 400, 'Unsupported', 'alg')
  })
})
