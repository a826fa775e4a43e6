import { describe, expect, it } from 'vitest'
import { isUuid, requestId, uuidv7 } from '../../src/ids.js'
import { createLog, errorName } from '../../src/logging/log.js'

const FAILED = {
  requestId: 'r-1',
  corrId: 'c',
  peerAddr: undefined,
  tenant: undefined,
  route: '/v1/kms/sign',
  method: 'POST',
  op: 'sign',
  status: 500,
  code: 'Internal',
  kidHash: undefined,
  latencyMs: 1.23456,
  errorName: undefined,
} as const

function capture(level: 'debug' | 'info' | 'error', format: 'json' | 'text') {
  const lines: string[] = []
  return { lines, log: createLog({ level, format, write: line => lines.push(line) }) }
}

describe('the log', () => {
  it('is one JSON object a line with ts, level, service and event', () => {
    const { lines, log } = capture('info', 'json')
    log.shutdownStarted({ signal: 'SIGTERM' })
    expect(lines[0]).toMatch(/^\{[^\n]*\}\n$/)
    expect(JSON.parse(lines[0] ?? '')).toEqual({
      ts: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      level: 'INFO',
      service: 'ron-kms',
      event: 'shutdown_started',
      signal: 'SIGTERM',
    })
  })

  it('drops fields that an event does not have, whatever an object brings along', () => {
    const { lines, log } = capture('debug', 'json')
    log.requestFailed({ ...FAILED, token: 'canary' } as typeof FAILED)
    log.serverStarted({
      apiAddr: 'a',
      metricsAddr: 'm',
      version: 'v',
      backend: 'b',
      cpuTier: 'c',
      dev: true,
      ...{ token: 'canary' },
    })
    log.configAlias({ old: 'KMS_BIND', name: 'RON_KMS_BIND_ADDR', ...{ value: 'canary' } })
    const changed = [{ key: 'read_timeout', from: '5s', to: '2s', ...{ raw: 'canary' } }]
    log.configReloaded({ version: 2, changed, restartNeeded: ['bind_addr'], ...{ values: 'canary' } })
    log.configRefused({ faults: 1, first: 'config: …', ...{ file: 'canary' } })
    expect(lines).toHaveLength(5)
    expect(lines.join('')).not.toContain('canary')
  })

  it('says of new settings whether they are in force, and what needs a restart', () => {
    const { lines, log } = capture('debug', 'json')
    const changed = [{ key: 'read_timeout', from: '5s', to: '2s' }]
    log.configReloaded({ version: 2, changed, restartNeeded: ['bind_addr'] })
    log.configRefused({ faults: 2, first: 'config: max_conns = many: must be a number' })
    expect(lines.map(line => JSON.parse(line))).toMatchObject([
      { level: 'INFO', event: 'config_reloaded', version: 2, changed, restart_needed: ['bind_addr'] },
      {
        level: 'ERROR',
        event: 'config_refused',
        faults: 2,
        first: 'config: max_conns = many: must be a number',
      },
    ])
  })

  it('keeps to its level', () => {
    const { lines, log } = capture('error', 'json')
    log.requestFailed({ ...FAILED, status: 400 })
    log.readyChanged({ ready: true, missing: [], degraded: [] })
    expect(lines).toEqual([])
    log.requestFailed(FAILED)
    expect(lines).toHaveLength(1)
  })

  it('can be text for people', () => {
    const { lines, log } = capture('info', 'text')
    log.requestFailed(FAILED)
    expect(lines[0]).toMatch(
      /^\d{4}-\S+Z ERROR request_failed corr_id="c" request_id="r-1" route=.* latency_ms=1\.235\n$/,
    )
  })

  it('names exceptions by class only, and only by names that are names', () => {
    class Odd extends Error {}
    Object.defineProperty(Odd, 'name', { value: 'secret token 123' })
    expect(errorName(new TypeError('secret'))).toBe('TypeError')
    expect(errorName(new Odd('secret'))).toBe('Error')
    expect(errorName('secret')).toBe('string')
  })
})

describe('ids', () => {
  it('are UUIDs of version 7 that never repeat and sort by time', () => {
    const ids = Array.from({ length: 5000 }, uuidv7)
    expect(new Set(ids).size).toBe(ids.length)
    for (const id of ids)
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    const times = ids.map(id => id.slice(0, 13))
    expect(times).toEqual([...times].sort())
    expect(new Set(ids.map(id => id[19]))).toEqual(new Set(['8', '9', 'a', 'b']))
  })

  it('of requests never repeat', () => {
    const ids = Array.from({ length: 5000 }, requestId)
    expect(new Set(ids).size).toBe(ids.length)
  })

  it('tell a UUID from anything else', () => {
    expect(isUuid('0B2E7C1E-2f4b-4c8e-9a51-6f3d2a7b8c90')).toBe(true)
    expect(isUuid(uuidv7())).toBe(true)
    for (const text of [
      '',
      'x',
      '0b2e7c1e-2f4b-4c8e-ca51-6f3d2a7b8c90',
      '0b2e7c1e2f4b4c8e9a516f3d2a7b8c90',
      `${uuidv7()}\n`,
    ]) {
      expect(isUuid(text)).toBe(false)
    }
  })
})
