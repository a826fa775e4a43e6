// The threads that serve, as the first thread has them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { loadConfig } from '../../src/config/load.js'
import { Kms } from '../../src/kms.js'
import { createLog } from '../../src/logging/log.js'
import { ReloadError } from '../../src/server/api-listeners.js'
import { partOf } from '../../src/server/front.js'
import { startService } from '../../src/server/service.js'
import { certificate } from '../support/certificates.js'
import { type Service, send, start } from './support.js'

describe('the parts of a bound', () => {
  it('add up to it, and none is 0 where it suffices', () => {
    for (const [whole, of] of [
      [512, 3],
      [7, 7],
      [64, 64],
      [0xffff_ffff, 64],
    ] as const) {
      const parts = Array.from({ length: of }, (_, index) => partOf(whole, { index, of }))
      expect(parts.reduce((sum, part) => sum + part)).toBe(whole)
      expect(Math.min(...parts)).toBeGreaterThan(0)
      expect(Math.max(...parts) - Math.min(...parts)).toBeLessThanOrEqual(1)
    }
  })
})

// Windows has no descriptors to hand over.
describe.skipIf(process.platform === 'win32')('a service with several threads', () => {
  let service: Service | undefined
  afterEach(() => service?.close())

  const configOf = (flags: object) => {
    const { config, faults } = loadConfig({ dev: true, env: {}, flags })
    if (!config) throw new Error(JSON.stringify(faults))
    return config
  }
  const BASE = { bind_addr: '127.0.0.1:0', metrics_addr: '127.0.0.1:0', workers: '2' }

  it('serves, counts, and measures every event loop', async () => {
    service = await start({ workers: '2' })
    const wish = { tenant: 'acme', purpose: 'p', alg: 'ed25519' }
    for (let i = 0; i < 6; i += 1)
      expect((await service.ask('POST', '/v1/kms/keys', { body: wish })).status).toBe(200)
    expect((await service.ask('POST', '/v1/kms/keys', { body: {} })).status).toBe(400)
    expect(await service.metric('http_requests_total', { route: '/v1/kms/keys', status: '200' })).toBe(6)
    expect(await service.metric('http_requests_total', { route: '/v1/kms/keys', status: '400' })).toBe(1)
    expect(await service.metric('kms_http_threads')).toBe(2)
    expect(await service.metric('kms_http_thread_failures_total')).toBe(0)
    // That of this process is some megabytes; two more are beside it.
    expect(await service.metric('nodejs_heap_size_used_bytes')).toBeGreaterThan(
      process.memoryUsage().heapUsed / 2,
    )
    expect(await service.metric('nodejs_eventloop_lag_p99_seconds')).toBeGreaterThan(0)
    expect(service.log.filter(({ event }) => event === 'request_failed')).toHaveLength(1)
  })

  it('takes other settings on all threads, and refuses a queue that cannot be shared', async () => {
    service = await start({ workers: '2' })
    const small = configOf({ ...BASE, 'limits.max_body_bytes': '1KiB', 'log.level': 'debug' })
    await service.prepare(small).commit()
    const body = { pad: 'x'.repeat(2000) }
    const asked = Array.from({ length: 4 }, () => service?.ask('POST', '/v1/kms/keys', { body }))
    expect((await Promise.all(asked)).map(answer => answer?.status)).toEqual([413, 413, 413, 413])
    const starved = configOf({ ...BASE, workers: '1', 'queue.max_inflight_sign': '1' })
    expect(() => service?.prepare(starved)).toThrow(ReloadError)
  })

  it('holds as many connections as it may', async () => {
    service = await start({ workers: '2', max_conns: '1' })
    const { apiUrl } = service
    const silent = service.raw('')
    await expect(send(apiUrl, 'GET', '/nope')).rejects.toThrow()
    expect(await service.metric('rejected_total', { reason: 'max_conns' })).toBe(1)
    await service.close()
    await silent
  })

  it('starts another thread where one fails, over TLS too, and counts on', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'ron-kms-threads-'))
    process.env.NODE_TEST_CRASH_DIR = dir
    try {
      const { cert, key } = certificate('a service')
      writeFileSync(join(dir, 'cert.pem'), cert)
      writeFileSync(join(dir, 'key.pem'), key, { mode: 0o600 })
      const tls = { 'tls.cert_path': join(dir, 'cert.pem'), 'tls.key_path': join(dir, 'key.pem') }
      service = await start({ workers: '2', 'tls.enabled': 'true', ...tls })
      const { apiUrl, log } = service
      const refused = () =>
        new Promise<string>(resolve => {
          const { hostname: host, port } = new URL(apiUrl)
          const socket = tlsConnect({
            host,
            port: Number(port),
            ca: cert,
            checkServerIdentity: () => undefined,
          })
          socket.on('error', error => resolve(error.message))
          socket.write('GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
          socket.once('data', chunk => resolve(String(chunk).slice(0, 12)))
        })
      for (let i = 0; i < 4; i += 1) expect(await refused()).toBe('HTTP/1.1 404')
      for (const index of [0, 1]) writeFileSync(join(dir, `throw-${index}`), '')
      // While none serves, connections wait for one.
      await vi.waitUntil(() => log.some(({ event }) => event === 'readyz_false'), { timeout: 10_000 })
      expect(await refused()).toBe('HTTP/1.1 404')
      await vi.waitUntil(() => log.filter(({ event }) => event === 'thread_started').length === 2, {
        timeout: 10_000,
      })
      expect(await service.metric('kms_http_thread_failures_total')).toBe(2)
      expect(await service.metric('kms_http_threads')).toBe(2)
      expect(await service.metric('http_requests_total', { route: 'other', status: '404' })).toBe(5)
    } finally {
      delete process.env.NODE_TEST_CRASH_DIR
      rmSync(dir, { recursive: true })
    }
  })

  it('does not start where a thread does not', async () => {
    const kms = await Kms.open({ backend: 'inmem' })
    const parts = {
      config: configOf(BASE),
      kms,
      authenticate: () => ({ actor: 'test' }),
      log: createLog({ level: 'error', format: 'json', write: () => {} }),
      cpuTier: 'test',
    }
    const threads = {
      share: () => ({ kms: kms.share(), capabilities: 'nobody has this' }),
      writeLine: () => {},
      program: new URL('fixtures/thread.mjs', import.meta.url),
    }
    await expect(startService({ ...parts, threads })).rejects.toThrow(/handle/)
    await expect(startService(parts)).rejects.toThrow(TypeError)
    kms.close()
  })
})

describe('settings of threads', () => {
  const faults = (flags: object, env = {}) =>
    loadConfig({ dev: true, env, flags }).faults.map(({ key }) => key)

  it('name what is at fault', () => {
    for (const workers of ['0', '65', '-1', '1.5', 'all', ''])
      expect(faults({ workers })).toEqual(['workers'])
    expect(faults({}, { RON_KMS_WORKERS: '0' })).toEqual(['workers'])
    for (const workers of ['1', '2', '64']) expect(faults({ workers })).toEqual([])
    const small = { 'queue.max_inflight_sign': '3', 'queue.max_inflight_verify': '4' }
    expect(faults({ workers: '4', ...small })).toEqual(['queue.max_inflight_sign'])
    expect(faults({ workers: '5', ...small })).toEqual(Object.keys(small))
    expect(faults({ workers: '1', ...small })).toEqual([])
  })

  it('are refused by name where no thread can hand a connection over', () => {
    const platform = Object.getOwnPropertyDescriptor(process, 'platform') as PropertyDescriptor
    Object.defineProperty(process, 'platform', { ...platform, value: 'win32' })
    try {
      expect(faults({ workers: '2' })).toEqual(['workers'])
      expect(faults({ workers: '1' })).toEqual([])
    } finally {
      Object.defineProperty(process, 'platform', platform)
    }
  })
})
