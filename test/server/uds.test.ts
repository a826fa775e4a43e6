// The API on a Unix socket.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Key } from '../../src/config/schema.js'
import { attempt } from '../../src/errors.js'
import { requireNative } from '../../src/native.js'
import { BindError } from '../../src/server/bind-error.js'
import { refusal } from '../support/refusal.js'
import { closed, type Service, start, TOKEN } from './support.js'

const me = process.geteuid?.() ?? -1

let dir: string
let path: string
let service: Service | undefined
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-uds-'))
  path = join(dir, 'run/kms.sock')
})
afterEach(async () => {
  await service?.close()
  service = undefined
  rmSync(dir, { recursive: true })
})

async function serve(more: Partial<Record<Key, string>> = {}): Promise<Service> {
  service = await start({ 'uds.path': path, ...more })
  return service
}

/** The status of a request through the socket. */
function ask(socketPath = path): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${TOKEN}`, connection: 'close' }
    httpRequest({ socketPath, path: '/v1/kms/keys/a', headers, agent: false }, answer => {
      answer.resume().on('end', () => resolve(answer.statusCode ?? 0))
    })
      .on('error', reject)
      .end()
  })
}

const mode = (of: string) => statSync(of).mode & 0o777

describe.skipIf(process.platform === 'win32')('a Unix socket', () => {
  it('serves beside TCP, in a private directory, and is gone afterwards', async () => {
    const kms = await serve()
    expect([mode(join(dir, 'run')), mode(path)]).toEqual([0o700, 0o600])
    expect(await ask()).toBe(400)
    expect((await kms.ask('GET', '/v1/kms/keys/a')).status).toBe(400)
    await kms.close()
    expect(existsSync(path)).toBe(false)
  })

  it('takes connections of the users that are allowed, and of nobody else', async () => {
    const kms = await serve({ 'uds.allow_uids': `${me + 1}` })
    await expect(ask()).rejects.toThrow()
    expect(await kms.metric('rejected_total', { reason: 'uds_peer' })).toBe(1)
    const line = kms.log.find(({ event }) => event === 'connection_refused')
    expect(line).toMatchObject({ status: 403, code: 'NoCapability' })
    await kms.close()
    await serve({ 'uds.allow_uids': `${me},${me + 1}` })
    expect(await ask()).toBe(400)
  })

  it.skipIf(me !== 0)('keeps other users out by its directory, before it hears of them', async () => {
    await serve({ 'uds.allow_uids': '65534' })
    const script = `require('net').connect(${JSON.stringify(path)}).on('error', e => console.log(e.code)).on('connect', () => console.log('connected'))`
    const { stdout } = spawnSync(process.execPath, ['-e', script], { uid: 65_534, encoding: 'utf8' })
    expect(stdout.trim()).toBe('EACCES')
  })

  it('takes the place of one that a killed process left', async () => {
    mkdirSync(join(dir, 'run'), { mode: 0o700 })
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`
    const other = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(other.stdout, 'data')
    await expect(serve()).rejects.toThrow(new BindError(`uds.path = ${path}: the address is in use`))
    other.kill('SIGKILL')
    await once(other, 'exit')
    expect(existsSync(path)).toBe(true)
    await serve()
    expect(await ask()).toBe(400)
  })

  it('removes nothing that is no socket, and leaves nothing bound where it fails', async () => {
    mkdirSync(join(dir, 'run'), { mode: 0o700 })
    writeFileSync(path, 'mine')
    await expect(serve()).rejects.toThrow(new BindError(`uds.path = ${path}: another file has this name`))
    expect(readFileSync(path, 'utf8')).toBe('mine')
  })

  it('is nothing that another descriptor passes for', async () => {
    const kms = await serve()
    const tcp = connect(Number(new URL(kms.apiUrl).port), '127.0.0.1')
    await once(tcp, 'connect')
    const { fd } = (tcp as unknown as { _handle: { fd: number } })._handle
    for (const other of [fd, -1, 999_999]) {
      expect(await refusal(() => attempt(() => requireNative().peerUid(other)))).toBe('BadRequest fd')
    }
    tcp.destroy()
  })

  it('is held to the same limits', async () => {
    await serve({ read_timeout: '200ms' })
    const socket = connect(path)
    const heard: Buffer[] = []
    socket.on('data', chunk => heard.push(chunk))
    await closed(socket)
    expect(Buffer.concat(heard).toString()).toMatch(/^HTTP\/1.1 408 /)
  })
})
