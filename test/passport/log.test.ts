// The log of a real svc-passport, from start to end: every line fits the schema, and none holds what it must not.
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { send } from '../server/support.js'
import { expectLogLine } from '../support/log-schema.js'

const CLI = fileURLToPath(new URL('../../dist/cli/passport-main.js', import.meta.url))
const CANARY = 'canary-7f3c'

describe('the log of svc-passport', () => {
  const dir = mkdtempSync(join(tmpdir(), 'ron-kms-passport-log-'))
  const settings = join(dir, 'settings.toml')
  let child: ChildProcess
  let [output, errors, passport, token] = ['', '', '', '']
  const until = async (what: () => boolean) => {
    for (let i = 0; !what(); i += 1) {
      if (i === 800) throw new Error(`nothing came:\n${output}\n${errors}`)
      await new Promise(resolve => setTimeout(resolve, 25))
    }
  }
  const lines = () =>
    errors
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line))

  beforeAll(async () => {
    writeFileSync(settings, '[log]\nlevel = "debug"\n')
    const args = ['serve', '--dev', '--bind', '127.0.0.1:0', '--config', settings]
    child = spawn(process.execPath, [CLI, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH ?? '' },
    })
    child.stdout?.on('data', chunk => {
      output += chunk
    })
    child.stderr?.on('data', chunk => {
      errors += chunk
    })
    await until(() => output.includes('WARNING: the token'))
    const url = /^API +(http:\S+)\/v1\/passport$/m.exec(output)?.[1] ?? ''
    token = /Bearer ([\w-]+)/.exec(output)?.[1] ?? ''
    const ask = (method: string, path: string, body?: unknown, bearer = token) =>
      send(url, method, path, {
        anonymous: true,
        headers: { authorization: `Bearer ${bearer}` },
        ...(body !== undefined && { body }),
      })

    const issued = await ask('POST', '/v1/passport/issue', { sub: CANARY, aud: [CANARY], scopes: [] })
    passport = issued.json.msg
    await ask('POST', '/v1/passport/verify', issued.json)
    await ask('POST', '/v1/passport/verify', CANARY)
    await ask('POST', '/v1/passport/issue', { [CANARY]: CANARY })
    await ask('POST', '/v1/passport/issue', '{}', CANARY)
    await ask('POST', '/admin/distrust', { kid: CANARY })
    await ask('POST', '/.well-known/jwks.json')
    await ask('GET', `/${CANARY}?${CANARY}`)
    await ask('POST', '/admin/rotate', {})
    child.kill('SIGHUP')
    await until(() => errors.includes('config_reloaded'))
    writeFileSync(settings, '[log]\nlevel = "loud"\n')
    child.kill('SIGHUP')
    await until(() => errors.includes('config_refused'))
    child.kill('SIGTERM')
    await until(() => child.exitCode !== null)
  })
  afterAll(() => {
    child.kill('SIGKILL')
    rmSync(dir, { recursive: true })
  })

  it('is a line of the schema each', () => {
    for (const line of lines()) {
      expectLogLine(line)
      expect(line.service).toBe('svc-passport')
    }
  })

  it('tells the story from start to end', () => {
    const events = lines().map(({ event }) => event)
    expect(events).toEqual(
      expect.arrayContaining(['config_loaded', 'passport_head', 'server_started', 'request_failed']),
    )
    expect(events.at(-1)).toBe('shutdown_finished')
    const failed = lines().filter(({ event }) => event === 'request_failed')
    expect(failed.map(({ status }) => status)).toEqual([400, 400, 401, expect.any(Number), 405, 404])
  })

  it('has no passport, no token and nothing that was sent', () => {
    expect(passport.length).toBeGreaterThan(100)
    for (const secret of [passport, token, CANARY]) expect(errors).not.toContain(secret)
  })
})
