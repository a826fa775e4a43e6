// The log of a real process, from start to end: every line fits the schema, and none holds what it must not.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EVENTS, expectLogLine } from '../support/log-schema.js'
import { type LoggedProcess, serveLogged } from '../support/logged-process.js'

const CANARY = 'canary-7f3c'
const HELLO_B3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24'

describe('the log of a service', () => {
  const dir = mkdtempSync(join(tmpdir(), 'ron-kms-log-'))
  const settings = join(dir, 'settings.toml')
  let service: LoggedProcess
  let kid = ''

  beforeAll(async () => {
    writeFileSync(settings, '[log]\nlevel = "debug"\n')
    const args = ['--backend', 'inmem', '--metrics', '127.0.0.1:0', '--config', settings]
    service = await serveLogged('main.js', args, { KMS_BACKEND: 'inmem' })
    const { ask } = service
    kid = (await ask('POST', '/v1/kms/keys', { tenant: 'acme', purpose: 'mail', alg: 'ed25519' })).json.kid
    const signed = await ask('POST', '/v1/kms/sign', { kid_or_set: { kid }, payload_b3: HELLO_B3 })
    await ask('POST', '/v1/kms/verify', { kid, payload_b3: HELLO_B3, sigs: signed.json.sigs })
    await ask('GET', `/v1/kms/keys/${encodeURIComponent(kid)}`)
    await ask('GET', `/v1/kms/keys/${CANARY}`)
    await ask('GET', `/${CANARY}?${CANARY}`)
    await ask(CANARY.toUpperCase(), '/v1/kms/sign')
    await ask('POST', '/v1/kms/sign', CANARY, { 'x-corr-id': CANARY })
    await ask('POST', '/v1/kms/keys', { tenant: CANARY, purpose: CANARY, alg: CANARY })
    await ask('POST', '/v1/kms/sign', '{}', { authorization: `Bearer ${CANARY}` })
    await ask('POST', `/v1/kms/keys/${kid.split('#')[0]}/export`, CANARY)
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
    expect(service.lines().length).toBeGreaterThan(15)
    for (const line of service.lines()) expectLogLine(line)
  })

  it('tells the story from start to end', () => {
    const events = service.lines().map(({ event }) => event)
    expect(events).toEqual(
      expect.arrayContaining(['config_alias', 'server_started', 'readyz_true', 'sign_result']),
    )
    expect(events).toEqual(expect.arrayContaining(['verify_result', 'request_failed', 'readyz_false']))
    expect(events.at(-1)).toBe('shutdown_finished')
    expect(events.filter(event => !EVENTS.has(event))).toEqual([])
  })

  it('has the required fields of a signature', () => {
    const line = service.lines().find(({ event }) => event === 'sign_result')
    expect(line).toMatchObject({
      level: 'DEBUG',
      service: 'ron-kms',
      peer_addr: '127.0.0.1',
      route: '/v1/kms/sign',
      method: 'POST',
      op: 'sign',
      result: 'ok',
    })
  })

  it('shows a kid by its hash', () => {
    const line = service.lines().find(({ event }) => event === 'describe_result')
    expect(line.kid_hash).toMatch(/^[0-9a-f]{8}$/)
  })

  it('holds no token, no kid, no payload and nothing that a peer wrote', () => {
    const { token } = service
    expect(token.length).toBeGreaterThan(20)
    for (const secret of [token, kid, kid.split('/')[3]?.split('#')[0] ?? '', HELLO_B3, CANARY]) {
      expect(service.errors().toLowerCase()).not.toContain(secret.toLowerCase())
    }
  })
})
