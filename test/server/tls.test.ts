// The API over TLS: which versions and clients it takes, and certificates that change under it.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/config/load.js'
import type { Config, Key } from '../../src/config/schema.js'
import { type Certificate, certificate } from '../support/certificates.js'
import { askTls, clients, first, install, place, root, second, tlsSettings } from '../support/tls.js'
import { type Answer, closed, expectProblem, parseRaw, type Service, start, TOKEN } from './support.js'

let dir: string
let service: Service | undefined
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-tls-'))
})
afterEach(async () => {
  await service?.close()
  service = undefined
  rmSync(dir, { recursive: true })
})

const at = (name: string) => join(dir, name)
const put = (name: string, text: string) => writeFileSync(at(name), text, { mode: 0o600 })
const SETTINGS = (more: Partial<Record<Key, string>>): Partial<Record<Key, string>> => ({
  ...tlsSettings(dir),
  ...more,
})

async function serve(more: Partial<Record<Key, string>> = {}): Promise<Service> {
  service = await start(SETTINGS(more))
  return service
}

const portOf = (url: string) => Number(new URL(url).port)
const ask = (to: Service, options: ConnectionOptions = {}) => askTls(to.apiUrl, '/v1/kms/keys/x', options)

/** What a raw TLS connection answers until it is closed; `write` gets the socket once it is secure. */
async function rawTls(to: Service, write: (socket: Socket) => void): Promise<Answer> {
  const socket = tlsConnect(place(to.apiUrl)).on('error', () => {})
  await once(socket, 'secureConnect')
  const heard: Buffer[] = []
  socket.on('data', chunk => heard.push(chunk))
  write(socket)
  await closed(socket)
  return parseRaw(Buffer.concat(heard).toString())
}

function logged(event: string): Record<string, unknown>[] {
  return (service?.log ?? []).filter(line => line.event === event)
}

const failures = (of: Service) => of.metric('tls_handshake_failures_total')

describe('the API over TLS', () => {
  it('speaks TLS 1.3 and no older one; the metrics address stays without', async () => {
    install(dir, first)
    const kms = await serve()
    expect(kms.apiUrl).toMatch(/^https:/)
    const socket = tlsConnect(place(kms.apiUrl))
    await once(socket, 'secureConnect')
    expect([socket.getProtocol(), socket.authorized]).toEqual(['TLSv1.3', true])
    // Not before the server has finished, too.
    socket.write('GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    socket.resume()
    await closed(socket)
    expect(await ask(kms)).toEqual({ status: 401, name: 'first' })
    await expect(ask(kms, { maxVersion: 'TLSv1.2' })).rejects.toThrow(/alert protocol version|ECONNRESET/)
    expect((await kms.ops('GET', '/healthz')).status).toBe(200)
    await expect.poll(() => failures(kms)).toBe(1)
    const until = await kms.metric('tls_certificate_not_after_seconds')
    expect(until * 1000).toBeGreaterThan(Date.now())
    expect(logged('certificate_loaded')).toHaveLength(1)
  })

  it('gives no answer to what is not TLS, and counts it', async () => {
    install(dir, first)
    const kms = await serve()
    const socket = connect(portOf(kms.apiUrl), '127.0.0.1').on('error', () => {})
    const heard: Buffer[] = []
    socket.on('data', chunk => heard.push(chunk))
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await closed(socket)
    expect(Buffer.concat(heard).toString()).not.toContain('HTTP/1.1')
    expect(await kms.metric('rejected_total', { reason: 'tls_handshake' })).toBe(1)
    expect(logged('connection_refused')).toMatchObject([{ status: 400, code: 'BadRequest' }])
  })
})

describe('client certificates', () => {
  const client = certificate('client', { issuer: clients })
  const asClient = ({ cert, key }: Certificate) => ({ cert, key })

  it('are needed once there are roots for them', async () => {
    install(dir, first)
    put('clients.pem', clients.cert)
    const kms = await serve({ 'tls.client_ca': at('clients.pem') })
    expect(await ask(kms, asClient(client))).toEqual({ status: 401, name: 'first' })
    const strangers = [
      {},
      asClient(certificate('client', { issuer: root })),
      asClient(certificate('client')),
      asClient(certificate('client', { issuer: clients, notAfter: new Date(Date.now() - 86_400_000) })),
    ]
    for (const stranger of strangers) await expect(ask(kms, stranger)).rejects.toThrow()
    await expect.poll(() => failures(kms)).toBe(strangers.length)
  })

  it('of roots that are no longer in the file are refused, resumed sessions too', async () => {
    install(dir, first)
    put('clients.pem', clients.cert)
    const kms = await serve({ 'tls.client_ca': at('clients.pem') })
    const socket = tlsConnect({ ...place(kms.apiUrl), ...asClient(client) })
    let session: Buffer | undefined
    socket.on('session', ticket => {
      session = ticket
    })
    socket.resume()
    await expect.poll(() => session).toBeDefined()
    socket.destroy()
    const others = certificate('other root of clients')
    put('clients.pem', others.cert)
    await expect.poll(() => logged('certificate_loaded').length, { timeout: 10_000 }).toBe(2)
    await expect(ask(kms, { ...asClient(client), ...(session && { session }) })).rejects.toThrow()
    expect((await ask(kms, asClient(certificate('client', { issuer: others })))).status).toBe(401)
  })
})

describe('certificates that change', () => {
  it('are in use soon after their files were replaced, and connections go on', async () => {
    install(dir, first)
    const kms = await serve()
    const open = tlsConnect(place(kms.apiUrl))
    await once(open, 'secureConnect')
    install(dir, second)
    await expect.poll(async () => (await ask(kms)).name, { timeout: 10_000 }).toBe('second')
    open.write('GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    const [chunk] = await once(open, 'data')
    expect(String(chunk)).toMatch(/^HTTP\/1.1 404 /)
  })

  it('stay as they are while the files do not fit together, which is said once', async () => {
    install(dir, first)
    const kms = await serve()
    put('cert.pem', second.cert)
    await expect.poll(() => logged('certificate_refused').length, { timeout: 10_000 }).toBe(1)
    expect(logged('certificate_refused')[0]?.first).toMatch(
      /^config: tls\.key_path = .*: must hold the private key of/,
    )
    expect((await ask(kms)).name).toBe('first')
    put('key.pem', second.key)
    await expect.poll(async () => (await ask(kms)).name, { timeout: 10_000 }).toBe('second')
    expect(logged('certificate_refused')).toHaveLength(1)
  })

  it('come from other files on a reload, whole or not at all', async () => {
    install(dir, first)
    const kms = await serve()
    const others = (more: Partial<Record<Key, string>>) => {
      const flags = { bind_addr: '127.0.0.1:0', metrics_addr: '127.0.0.1:0', ...SETTINGS(more) }
      return loadConfig({ dev: true, env: {}, flags }).config as Config
    }
    install(dir, second, 'other-')
    const next = others(tlsSettings(dir, 'other-'))
    rmSync(at('other-key.pem'))
    expect(() => kms.prepare(next)).toThrow(/^config: tls\.key_path = .*: cannot be read \(ENOENT\)$/)
    expect((await ask(kms)).name).toBe('first')
    put('other-key.pem', second.key)
    kms.prepare(next).abort()
    expect((await ask(kms)).name).toBe('first')
    kms.prepare(next).commit()
    expect((await ask(kms)).name).toBe('second')
  })
})

describe('a slow client over TLS', () => {
  const HEAD = `POST /v1/kms/sign HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Type: application/json\r\n`

  it('is closed where it does not shake hands, and stops no shutdown', async () => {
    install(dir, first)
    const kms = await serve({ read_timeout: '200ms' })
    const silent = connect(portOf(kms.apiUrl), '127.0.0.1').on('error', () => {})
    await closed(silent)
    await expect.poll(() => failures(kms)).toBe(1)
    const patient = await start(SETTINGS({ read_timeout: '24h' }))
    const other = connect(portOf(patient.apiUrl), '127.0.0.1').on('error', () => {})
    await once(other, 'connect')
    const gone = closed(other)
    await Promise.all([patient.close(), gone])
  })

  it('is 408 where headers or body come a byte at a time, and others are served meanwhile', async () => {
    install(dir, first)
    const kms = await serve({ read_timeout: '400ms' })
    const drip = (text: string) => (socket: Socket) => {
      let sent = 0
      const timer = setInterval(() => socket.write(text.charAt(sent++) || ' '), 20)
      socket.once('close', () => clearInterval(timer))
    }
    const slow = [
      rawTls(kms, drip(HEAD.repeat(20))),
      rawTls(kms, socket => {
        socket.write(`${HEAD}Content-Length: 1000\r\n\r\n`)
        drip('{')(socket)
      }),
    ]
    for (let i = 0; i < 10; i += 1) expect((await ask(kms)).status).toBe(401)
    for (const answer of await Promise.all(slow)) expectProblem(answer, 408, 'Timeout')
  })
})
