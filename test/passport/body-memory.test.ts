// The bodies of all requests under way come to a bounded sum, counted by what each may hold.
import { connect, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { mostBytes } from '../../src/passport/service/app.js'
import { AUDIENCE, expectProblem, type Service, start } from './support.js'

const LIMITS = { maxBodyBytes: 100_000, readTimeoutMs: 1000, decompressRatioCap: 10 }
const BATCH = '/v1/passport/verify_batch'

describe('what a body may hold', () => {
  it('is as much as it says; the limit where it does not say; and what it decodes to beside that', () => {
    expect(mostBytes('identity', '300', LIMITS)).toBe(300)
    expect(mostBytes('identity', undefined, LIMITS)).toBe(100_000)
    expect(mostBytes('gzip', '300', LIMITS)).toBe(100_300)
    expect(mostBytes('br', undefined, LIMITS)).toBe(200_000)
  })
})

describe('bodies under way', () => {
  let service: Service
  let sockets: Socket[]
  beforeEach(async () => {
    service = await start({ 'limits.max_body_bytes': '128KiB' })
    sockets = []
  })
  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    await service.close()
  })

  /** A request of which the head and some bytes of the body came. */
  function begin(...headers: string[]) {
    const { hostname, port } = new URL(service.url)
    const socket = connect(Number(port), hostname)
    const head = [`POST ${BATCH} HTTP/1.1`, 'Host: x', 'Content-Type: application/json', ...headers, '', '']
    socket.write(head.join('\r\n'))
    sockets.push(socket)
    return socket
  }
  const ask = () => service.ask('POST', BATCH, [])

  it('that do not say how long they are count as the longest, until they are read or lost', async () => {
    for (let i = 0; i < 16; i += 1) begin('Transfer-Encoding: chunked').write('1\r\n[\r\n')
    await vi.waitFor(async () => expectProblem(await ask(), { status: 429, code: 'Backpressure' }))
    sockets[0]?.write('1\r\n]\r\n0\r\n\r\n')
    await vi.waitFor(async () => expect((await ask()).status).toBe(200))
    for (const socket of sockets) socket.destroy()
    await vi.waitFor(async () => expect((await ask()).status).toBe(200))
  })

  it('that are encoded count as what they are and what they may become', async () => {
    for (let i = 0; i < 15; i += 1) begin('Content-Length: 100', 'Content-Encoding: gzip')
    const body = gzipSync('[]')
    const encoded = { 'content-encoding': 'gzip' }
    await vi.waitFor(async () => {
      const answer = await service.ask('POST', BATCH, new Uint8Array(body), encoded)
      expectProblem(answer, { status: 429, code: 'Backpressure' })
    })
    // Fifteen limits and 1,500 bytes are taken: there is room for what says that it is short.
    expect((await ask()).status).toBe(200)
  })

  it('of any form leave nothing behind in the sum', async () => {
    const envelope = await service.issue()
    const item = { ...envelope, ...AUDIENCE }
    for (let round = 0; round < 40; round += 1) {
      const answers = await Promise.all([
        service.ask('POST', BATCH, [item]),
        service.ask('POST', BATCH, new Uint8Array(gzipSync(JSON.stringify([item]))), {
          'content-encoding': 'gzip',
        }),
        service.ask('POST', BATCH, new Uint8Array(200_000)),
        service.ask('POST', '/v1/passport/verify', item),
      ])
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 413, 200])
    }
    for (let i = 0; i < 15; i += 1) begin('Transfer-Encoding: chunked').write('1\r\n[\r\n')
    expect((await ask()).status).toBe(200)
  })
})
