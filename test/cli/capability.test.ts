// `ronctl cap`, and a service that takes what it mints: no development mode.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { capabilityCommand } from '../../src/cli/capability/command.js'
import { send } from '../server/support.js'
import { runCommand } from '../support/command.js'

const program = (name: string) => fileURLToPath(new URL(`../../dist/cli/${name}.js`, import.meta.url))

let dir: string
let children: ChildProcess[]

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-cap-'))
  children = []
  vi.stubEnv('TEST_ROOT', '5a'.repeat(32))
})
afterEach(async () => {
  vi.unstubAllEnvs()
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
  rmSync(dir, { recursive: true })
})

const at = (name: string) => join(dir, name)

vi.mock('node:fs', async original => {
  const fs = await original<typeof import('node:fs')>()
  const readFileSync = (...args: Parameters<typeof fs.readFileSync>) =>
    args[0] === 0 ? standardInput : fs.readFileSync(...args)
  return { ...fs, readFileSync }
})
let standardInput = ''

function ronctl(args: readonly string[], input = '') {
  standardInput = input
  return runCommand(capabilityCommand(), args)
}

function ok(args: readonly string[], input?: string): string {
  const { status, stdout, stderr } = ronctl(args, input)
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout.trimEnd()
}

/** What a capability needs, in flags. */
const READER = ['--scope', 'kms:read', '--tenant', 'core', '--ttl', '1h']

const mint = (...more: string[]) =>
  ok(['mint', '--root-key-file', at('root.keys'), '--tenant', 'core', '--ttl', '1h', ...more])

/** A service outside development mode; its addresses. */
async function serve(...flags: string[]) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('RON_KMS_')))
  const argv = ['serve', '--backend', 'inmem', '--bind', '127.0.0.1:0', '--metrics', '127.0.0.1:0']
  const root = ['--capability-root-key-file', at('root.keys')]
  const child = spawn(process.execPath, [program('main'), ...argv, ...root, ...flags], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  children.push(child)
  const log: Record<string, string>[] = []
  createInterface(child.stderr).on('line', line => log.push(JSON.parse(line)))
  await expect.poll(() => log.some(({ event }) => event === 'server_started'), { timeout: 20_000 }).toBe(true)
  const url = `http://${log.find(({ event }) => event === 'server_started')?.api_addr}`
  const ask = (token: string, method: string, path: string, body?: unknown) =>
    send(url, method, `/v1/kms${path}`, {
      headers: { authorization: `Bearer ${token}` },
      anonymous: true,
      ...(body !== undefined && { body }),
    })
  return { child, log, ask }
}

const WISH = { tenant: 'core', purpose: 'audit', alg: 'ed25519' }

describe('ronctl cap', () => {
  it('makes a root key that its owner alone can read, and never over another file', () => {
    ok(['root-key', 'new', at('root.keys')])
    const first = readFileSync(at('root.keys'), 'utf8')
    expect(first).toMatch(/^[0-9a-f]{64}\n$/)
    if (process.platform !== 'win32') expect(statSync(at('root.keys')).mode & 0o777).toBe(0o600)
    const again = ronctl(['root-key', 'new', at('root.keys')])
    expect(again).toMatchObject({ status: 1, stderr: expect.stringContaining('EEXIST') })
    ok(['root-key', 'rotate', at('root.keys')])
    const both = readFileSync(at('root.keys'), 'utf8')
    expect(both).toMatch(/^([0-9a-f]{64}\n){2}$/)
    expect(both.startsWith(first)).toBe(true)
    if (process.platform !== 'win32') expect(statSync(at('root.keys')).mode & 0o777).toBe(0o600)
    ok(['root-key', 'retire', at('root.keys')])
    expect(readFileSync(at('root.keys'), 'utf8')).toBe(both.slice(65))
    writeFileSync(at('other'), 'hello\n')
    for (const verb of ['rotate', 'retire']) {
      expect(ronctl(['root-key', verb, at('other')])).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('not a file of'),
      })
    }
    expect(readFileSync(at('other'), 'utf8')).toBe('hello\n')
  })

  it('mints, narrows and shows', () => {
    const flags = ['--scope', 'kms:sign', '--tenant', 'core', '--ttl', '15m', '--name', 'ci']
    const json = JSON.parse(ok(['mint', '--root-key-env', 'TEST_ROOT', ...flags, '--json']))
    expect(json).toEqual({
      token: expect.stringMatching(/^[A-Za-z0-9_-]+$/),
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      identifier: expect.stringMatching(/^v1:[0-9a-f]{8}:[0-9a-f-]{36}:ci$/),
      exp: expect.any(Number),
    })
    const narrower = ok(
      ['attenuate', '--kid', 'core/audit', '--rps', '5', '--caveat', 'purpose = audit'],
      `${json.token}\n`,
    )
    const shown = JSON.parse(ok(['inspect'], narrower))
    expect(shown).toEqual({
      location: 'ron-kms',
      identifier: json.identifier,
      caveats: [
        'scope = kms:sign',
        'tenant = core',
        `exp = ${json.exp}`,
        'kid = core/audit',
        'rps = 5',
        'purpose = audit',
      ],
      capability: {
        id: json.id,
        minted_with: [],
        root_key: json.identifier.slice(3, 11),
        name: 'ci',
        minted_ms: expect.any(Number),
      },
    })
  })

  it('is part of ronctl, and reads a token from a pipe', () => {
    const argv = [program('ronctl'), 'cap', 'inspect']
    const token = ok(['mint', '--root-key-env', 'TEST_ROOT', ...READER])
    const printed = execFileSync(process.execPath, argv, { input: `${token}\n`, encoding: 'utf8' })
    expect(printed.trimEnd()).toBe(ok(['inspect'], token))
  })

  it('says what is at fault, and never shows a key or a token', () => {
    const root = ['--root-key-env', 'TEST_ROOT']
    const fault = (args: readonly string[], input?: string) => {
      const { status, stdout, stderr } = ronctl(args, input)
      expect(status).not.toBe(0)
      expect(stdout).toBe('')
      expect(stderr).not.toContain('5a5a')
      return stderr
    }
    expect(fault(['mint', '--scope', 'kms:sign'])).toContain('--root-key-file or --root-key-env')
    expect(fault(['mint', ...root, '--scope', 'kms:sign', '--tenant', 'core'])).toContain(
      'must have scope, tenant and exp',
    )
    expect(fault(['mint', ...root, '--scope', 'kms:all'])).toContain('caveats[0]: is not a caveat')
    expect(fault(['mint', ...root, '--ttl', '31d'])).toContain('must be a duration')
    expect(fault(['mint', ...root, '--exp', 'tomorrow'])).toContain('must be a moment')
    expect(fault(['mint', '--root-key-file', at('none')])).toContain('capability.root_key_file')
    expect(fault(['attenuate', '--rps', '5'], 'nonsense')).toContain('token: is not a capability')
    expect(fault(['inspect'], 'nonsense')).toContain('token: is not a macaroon')
    expect(fault(['revoke', at('list'), 'nonsense'])).toContain('an id is a UUID')
  })

  it('keeps a list of what is revoked, a line each, whatever was there before', () => {
    const token = ok(['mint', '--root-key-env', 'TEST_ROOT', ...READER])
    const { id } = JSON.parse(ok(['inspect'], token)).capability
    expect(ok(['revoke', at('list')], token)).toContain(`${id} is revoked`)
    writeFileSync(at('list'), `${readFileSync(at('list'), 'utf8')}# no line feed`)
    ok(['revoke', at('list'), id])
    expect(readFileSync(at('list'), 'utf8')).toBe(`${id}\n# no line feed\n${id}\n`)
  })
})

describe('serve without --dev', () => {
  it('takes what ronctl mints, through a rotation of the root key, until it is revoked', async () => {
    ok(['root-key', 'new', at('root.keys')])
    writeFileSync(at('revoked'), '')
    const { child, log, ask } = await serve('--capability-revocation-file', at('revoked'))
    const old = mint('--scope', 'kms:rotate,kms:sign')
    const made = await ask(old, 'POST', '/keys', WISH)
    expect(made.status).toBe(200)
    expect((await ask('x', 'POST', '/keys', WISH)).status).toBe(401)
    const narrower = ok(['attenuate', '--scope', 'kms:sign'], old)
    expect((await ask(narrower, 'POST', '/keys', WISH)).status).toBe(403)

    const reloaded = async (times: number) => {
      child.kill('SIGHUP')
      await expect.poll(() => log.filter(({ event }) => event === 'config_reloaded').length).toBe(times)
    }
    ok(['root-key', 'rotate', at('root.keys')])
    const next = mint('--scope', 'kms:rotate')
    expect((await ask(next, 'POST', '/keys', WISH)).status).toBe(401)
    await reloaded(1)
    expect((await ask(next, 'POST', '/keys', WISH)).status).toBe(200)
    expect((await ask(old, 'POST', '/keys', WISH)).status).toBe(200)
    ok(['root-key', 'retire', at('root.keys')])
    await reloaded(2)
    expect((await ask(old, 'POST', '/keys', WISH)).status).toBe(401)
    expect((await ask(next, 'POST', '/keys', WISH)).status).toBe(200)
    rmSync(at('root.keys'))
    child.kill('SIGHUP')
    await expect.poll(() => log.some(({ event }) => event === 'config_refused')).toBe(true)
    expect((await ask(next, 'POST', '/keys', WISH)).status).toBe(200)

    ok(['revoke', at('revoked')], next)
    await expect
      .poll(async () => (await ask(next, 'POST', '/keys', WISH)).status, { timeout: 5000 })
      .toBe(401)
  })
})
