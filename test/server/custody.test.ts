// Keys and log in files under a real service: what its operator does, and what happens to the files behind its back.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { expectProblem, send } from './support.js'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

let dir: string
let children: ChildProcess[]

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-served-'))
  children = []
  for (const name of ['first.key', 'second.key']) writeFileSync(at(name), randomBytes(32))
  configure('first.key')
})

afterEach(async () => {
  for (const child of children) await end(child)
  rmSync(dir, { recursive: true })
})

const at = (name: string) => join(dir, name)

function configure(rootKey: string, ...lines: string[]) {
  const base = ['bind_addr = "127.0.0.1:0"', 'metrics_addr = "127.0.0.1:0"']
  const files = ['[backends.file]', `dir = "${at('data')}"`, '[root_key]', `file = "${at(rootKey)}"`]
  writeFileSync(at('kms.toml'), [...base, ...files, ...lines, ''].join('\n'))
}

async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM') {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill(signal)
  await once(child, 'exit')
}

async function serve(...flags: string[]) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('RON_KMS_')))
  const argv = [main, 'serve', '--dev', '--backend', 'file', '--config', at('kms.toml'), ...flags]
  const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  const log: Record<string, unknown>[] = []
  const plain: string[] = []
  createInterface(child.stderr).on('line', line => {
    if (line.startsWith('{')) log.push(JSON.parse(line))
    else plain.push(line)
  })
  let token = ''
  for await (const line of createInterface(child.stdout)) {
    token ||= /Bearer (\S+)/.exec(line)?.[1] ?? ''
    if (token) break
  }
  if (token === '') {
    if (child.exitCode === null) await once(child, 'exit')
    return { child, log, plain, exit: child.exitCode }
  }
  const started = await event(log, 'server_started')
  const headers = { authorization: `Bearer ${token}` }
  return {
    ...{ child, log, plain, exit: undefined },
    post: (path: string, body: unknown = {}) =>
      send(`http://${started.api_addr}`, 'POST', `/v1/kms${path}`, { body, headers }),
    get: (path: string) => send(`http://${started.api_addr}`, 'GET', `/v1/kms${path}`, { headers }),
    ops: (path: string) => send(`http://${started.metrics_addr}`, 'GET', path, { anonymous: true }),
  }
}

/** One that runs. */
async function running(...flags: string[]) {
  const service = await serve(...flags)
  if (service.exit !== undefined) throw new Error(`it ended: ${service.plain.join('\n')}`)
  return service
}

const event = (log: Record<string, unknown>[], name: string) =>
  vi.waitUntil(() => log.find(each => each.event === name), { timeout: 10_000 })

const wish = { tenant: 'core', purpose: 'orders', alg: 'ed25519', signs: 'message' }
const payload = { message_b64: Buffer.from('a message').toString('base64') }

describe.skipIf(process.platform === 'win32')('a service with its keys in files', () => {
  it('moves to another root key on SIGHUP, while it signs', async () => {
    const service = await running()
    const { kid } = (await service.post('/keys', wish)).json
    const sign = () => service.post('/sign', { kid_or_set: { kid }, ...payload })
    const { sigs } = (await sign()).json
    configure('second.key')
    let signing = true
    const signed = (async () => {
      let count = 0
      for (; signing; count += 1) expect((await sign()).status).toBe(200)
      return count
    })()
    service.child.kill('SIGHUP')
    await event(service.log, 'config_reloaded')
    signing = false
    expect(await signed).toBeGreaterThan(0)
    expect(service.log).toContainEqual(expect.objectContaining({ event: 'store_rekeyed' }))
    await end(service.child, 'SIGKILL')

    const again = await running()
    expect((await again.post('/verify', { kid, ...payload, sigs })).json.ok).toBe(true)
    await end(again.child)
    configure('first.key')
    const refused = await serve()
    expect(refused.exit).toBe(1)
    expect(refused.plain).toEqual([expect.stringMatching(/^ron-kms: the root key does not open this store/)])
  })

  it('warns of a root key that others can read', async () => {
    chmodSync(at('first.key'), 0o640)
    const loose = await running()
    expect(await event(loose.log, 'root_key_readable')).toMatchObject({ level: 'WARN', mode: '640' })
    await end(loose.child)
    chmodSync(at('first.key'), 0o600)
    const tight = await running()
    await tight.post('/keys', wish)
    expect(tight.log).not.toContainEqual(expect.objectContaining({ event: 'root_key_readable' }))
  })

  it('stays with its root key where the other one cannot be read', async () => {
    const service = await running()
    configure('nothing.key')
    service.child.kill('SIGHUP')
    expect(await event(service.log, 'config_refused')).toMatchObject({
      first: expect.stringContaining('root_key'),
    })
    await end(service.child)
    configure('first.key')
    await running()
  })

  it('only verifies after an older copy was put back, until an operator decides', async () => {
    const before = await running()
    const { kid } = (await before.post('/keys', wish)).json
    const { sigs } = (await before.post('/sign', { kid_or_set: { kid }, ...payload })).json
    await end(before.child)
    cpSync(at('data'), at('yesterday'), { recursive: true })
    const today = await running()
    expect((await today.post('/keys', wish)).status).toBe(200)
    await end(today.child)
    rmSync(at('data'), { recursive: true })
    cpSync(at('yesterday'), at('data'), { recursive: true })

    const older = await running()
    const { reason } = await event(older.log, 'audit_integrity_failed')
    expect(reason).toMatch(/^audit log refused: log older than its anchor: \d+ records, the anchor saw \d+$/)
    const ready = await older.ops('/readyz')
    expect(ready).toMatchObject({
      status: 503,
      json: { missing: ['audit_ready'], audit: { refused: reason } },
    })
    expect((await older.ops('/metrics')).text).toContain('\nkms_audit_integrity_failed_total 1\n')
    expect((await older.post('/verify', { kid, ...payload, sigs })).json.ok).toBe(true)
    expectProblem(await older.post('/sign', { kid_or_set: { kid }, ...payload }), 503, 'StoreUnavailable')
    expectProblem(await older.post('/keys', wish), 503, 'StoreUnavailable')
    await end(older.child)

    const decided = await running('--accept-older-store')
    expect(await event(decided.log, 'audit_overridden')).toMatchObject({
      reason: expect.stringContaining('older'),
    })
    expect((await decided.ops('/readyz')).status).toBe(200)
    expect((await decided.post('/sign', { kid_or_set: { kid }, ...payload })).status).toBe(200)
    await end(decided.child)
    const after = await running()
    expect((await after.ops('/readyz')).status).toBe(200)
    expect(after.log).not.toContainEqual(expect.objectContaining({ event: 'audit_overridden' }))
  })
})
