// TLS 1.3, client certificates and the Unix socket of svc-passport, which are those of the key service.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/passport/service/load.js'
import { type Certificate, certificate } from '../support/certificates.js'
import { type Service, type Settings, start } from './support.js'

const root = certificate('root of servers')
const clients = certificate('root of clients')
const [first, second] = [certificate('first', { issuer: root }), certificate('second', { issuer: root })]

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
function install({ cert, key }: Certificate, prefix = '') {
  writeFileSync(at(`${prefix}cert.pem`), cert, { mode: 0o600 })
  writeFileSync(at(`${prefix}key.pem`), key, { mode: 0o600 })
}
const TLS = (prefix = ''): Settings => ({
  'tls.enabled': 'true',
  'tls.cert_path': at(`${prefix}cert.pem`),
  'tls.key_path': at(`${prefix}key.pem`),
})

/** The status of a request on a connection of its own, and the name in the certificate that it saw. */
function ask(options: RequestOptions = {}): Promise<{ status: number; name: string }> {
  const { hostname, port } = new URL(service?.url ?? '')
  return new Promise((resolve, reject) => {
    const where = { host: hostname, port, path: '/.well-known/jwks.json', ca: root.cert, agent: false }
    httpsRequest({ ...where, ...options }, answer => {
      const { subject } = (answer.socket as TLSSocket).getPeerCertificate()
      answer.resume().on('end', () => resolve({ status: answer.statusCode ?? 0, name: String(subject.CN) }))
    })
      .on('error', reject)
      .end()
  })
}

describe('the API over TLS', () => {
  it('speaks TLS 1.3 and nothing below', async () => {
    install(first)
    service = await start(TLS())
    expect(service.url).toMatch(/^https:/)
    expect(await ask()).toEqual({ status: 200, name: 'first' })
    await expect(ask({ maxVersion: 'TLSv1.2' })).rejects.toThrow()
  })

  it('takes only clients with a certificate under client_ca, where there is one', async () => {
    install(first)
    writeFileSync(at('ca.pem'), clients.cert)
    service = await start({ ...TLS(), 'tls.client_ca': at('ca.pem') })
    await expect(ask()).rejects.toThrow()
    const own = certificate('client', { issuer: clients })
    expect((await ask({ cert: own.cert, key: own.key })).status).toBe(200)
    const strange = certificate('stranger', { issuer: root })
    await expect(ask({ cert: strange.cert, key: strange.key })).rejects.toThrow()
  })

  it('takes another certificate while it serves, and the metric says until when', async () => {
    install(first)
    install(second, 'other-')
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
