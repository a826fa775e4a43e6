// TLS 1.3, client certificates and the Unix socket of svc-passport, which are those of the key service.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import type { RequestOptions } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/passport/service/load.js'
import { certificate } from '../support/certificates.js'
import { askTls, clients, first, install, root, second, tlsSettings } from '../support/tls.js'
import { type Service, type Settings, start } from './support.js'

let dir: string
let service: Service | undefined
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-passport-'))
})
afterEach(async () => {
  await service?.close()
  service = undefined
  rmSync(dir, { recursive: true })
})

const at = (name: string) => join(dir, name)
const TLS = (prefix = ''): Settings => tlsSettings(dir, prefix)
const ask = (options: RequestOptions = {}) => askTls(service?.url ?? '', '/.well-known/jwks.json', options)

describe('the API over TLS', () => {
  it('speaks TLS 1.3 and nothing below', async () => {
    install(dir, first)
    service = await start(TLS())
    expect(service.url).toMatch(/^https:/)
    expect(await ask()).toEqual({ status: 200, name: 'first' })
    await expect(ask({ maxVersion: 'TLSv1.2' })).rejects.toThrow()
  })

  it('takes only clients with a certificate under client_ca, where there is one', async () => {
    install(dir, first)
    writeFileSync(at('ca.pem'), clients.cert)
    service = await start({ ...TLS(), 'tls.client_ca': at('ca.pem') })
    await expect(ask()).rejects.toThrow()
    const own = certificate('client', { issuer: clients })
    expect((await ask({ cert: own.cert, key: own.key })).status).toBe(200)
    const strange = certificate('stranger', { issuer: root })
    await expect(ask({ cert: strange.cert, key: strange.key })).rejects.toThrow()
  })

  it('takes another certificate while it serves, and the metric says until when', async () => {
    install(dir, first)
    install(dir, second, 'other-')
    service = await start({ ...TLS(), admin_addr: '127.0.0.1:0' })
    const { config } = loadConfig({ dev: true, env: {}, flags: TLS('other-') })
    if (!config) throw new Error('refused')
    await service.prepare(config).commit()
    expect((await ask()).name).toBe('second')
    const metrics = await (await fetch(`${service.adminUrl}/metrics`)).text()
    expect(metrics).toMatch(/^tls_certificate_not_after_seconds [1-9]/m)
  })

  it.each([
    [{ 'tls.enabled': 'true' }, ['tls.cert_path', 'tls.key_path']],
    [{ 'tls.client_ca': 'x' }, ['tls.client_ca']],
    [{ 'tls.enabled': 'true', 'tls.cert_path': 'none', 'tls.key_path': 'none' }, ['tls.cert_path']],
    [{ 'uds.allow_uids': '1' }, ['uds.allow_uids']],
    [{ 'uds.path': `/${'x'.repeat(120)}` }, ['uds.path']],
  ] as const)('is refused with %j before anything binds', (flags, keys) => {
    const { faults } = loadConfig({ dev: true, env: {}, flags })
    expect(faults.map(({ key }) => key)).toEqual(keys)
  })
})

describe.skipIf(process.platform === 'win32')('the API on a Unix socket', () => {
  const status = (socketPath: string) =>
    new Promise<number>((resolve, reject) => {
      httpRequest({ socketPath, path: '/.well-known/jwks.json', agent: false }, answer => {
        answer.resume().on('end', () => resolve(answer.statusCode ?? 0))
      })
        .on('error', reject)
        .end()
    })

  it('serves the user of the service, and nobody else where others are named', async () => {
    const path = at('run/passport.sock')
    service = await start({ 'uds.path': path })
    expect(await status(path)).toBe(200)
    await service.close()
    service = await start({ 'uds.path': path, 'uds.allow_uids': '4294967294' })
    await expect(status(path)).rejects.toThrow()
  })

  it('binds nothing where the directory is not private', async () => {
    mkdirSync(at('open'), { mode: 0o755 })
    const { faults } = loadConfig({ dev: true, env: {}, flags: { 'uds.path': at('open/passport.sock') } })
    expect(faults.map(({ key }) => key)).toEqual(['uds.path'])
  })
})
