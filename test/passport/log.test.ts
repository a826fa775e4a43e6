// The log of a real svc-passport, from start to end: every line fits the schema, and none holds what it must not.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectLogLine } from '../support/log-schema.js'
import { type LoggedProcess, serveLogged } from '../support/logged-process.js'

const CANARY = 'canary-7f3c'

describe('the log of svc-passport', () => {
  const dir = mkdtempSync(join(tmpdir(), 'ron-kms-passport-log-'))
  const settings = join(dir, 'settings.toml')
  let service: LoggedProcess
  let passport = ''

  beforeAll(async () => {
    writeFileSync(settings, '[log]\nlevel = "debug"\n')
    service = await serveLogged('passport-main.js', ['--config', settings])
    const { ask } = service
    const issued = await ask('POST', '/v1/passport/issue', { sub: CANARY, aud: [CANARY], scopes: [] })
    passport = issued.json.msg
    await ask('POST', '/v1/passport/verify', issued.json)
    await ask('POST', '/v1/passport/verify', CANARY)
    await ask('POST', '/v1/passport/issue', { [CANARY]: CANARY })
    await ask('POST', '/v1/passport/issue', '{}', { authorization: `Bearer ${CANARY}` })
    await ask('POST', '/admin/distrust', { kid: CANARY })
    await ask('POST', '/.well-known/jwks.json')
    await ask('GET', `/${CANARY}?${CANARY}`)
    await ask('POST', '/admin/rotate', {})
    await service.signal('SIGHUP', 'config_reloaded')
    writeFileSync(settings, '[log]\nlevel = "loud"\n')
    await service.signal('SIGHUP', 'config_refused')
    await service.stop()
  })
  afterAll(() => {
    service?.kill()
    rmSync(dir, { recursive: true })
  })

  it('is a line of the schema each', () => {
    for (const line of service.lines()) {
      expectLogLine(line)
      expect(line.service).toBe('svc-passport')
    }
  })

  it('tells the story from start to end', () => {
    const events = service.lines().map(({ event }) => event)
    expect(events).toEqual(
      expect.arrayContaining(['config_loaded', 'passport_head', 'server_started', 'request_failed']),
    )
    expect(events.at(-1)).toBe('shutdown_finished')
    const failed = service.lines().filter(({ event }) => event === 'request_failed')
    expect(failed.map(({ status }) => status)).toEqual([400, 400, 401, expect.any(Number), 405, 404])
  })

  it('has no passport, no token and nothing that was sent', () => {
    expect(passport.length).toBeGreaterThan(100)
    for (const secret of [passport, service.token, CANARY]) expect(service.errors()).not.toContain(secret)
  })
})
