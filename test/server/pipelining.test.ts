// Requests that come before the answer to the one before is out: HTTP/1.1 allows it (RFC 9112 section 9.3.2).
import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { Pipelines } from '../../src/server/pipelining.js'
import { type Service, start, TOKEN } from './support.js'

let service: Service | undefined
let socket: Socket | undefined
afterEach(async () => {
  socket?.destroy()
  await service?.close()
  service = undefined
})

const corr = (i: number) => `0b2e7c1e-2f4b-7c8e-9a51-${String(i).padStart(12, '0')}`
function request(i: number, path: string, body?: string) {
  const head = [
    `${body === undefined ? 'GET' : 'POST'} ${path} HTTP/1.1`,
    'Host: x',
    `Authorization: Bearer ${TOKEN}`,
    `X-Corr-ID: ${corr(i)}`,
    ...(body === undefined ? [] : ['Content-Type: application/json', `Content-Length: ${body.length}`]),
  ]
  return `${head.join('\r\n')}\r\n\r\n${body ?? ''}`
}

function open(to: Service) {
  const { hostname, port } = new URL(to.apiUrl)
  socket = connect(Number(port), hostname).on('error', () => {})
  let text = ''
  socket.setEncoding('latin1').on('data', chunk => {
    text += chunk
  })
  return {
    socket,
    /** The answers so far: status and correlation id. */
    answers: () =>
      [...text.matchAll(/HTTP\/1\.1 (\d+)[\s\S]*?x-corr-id: (\S+)/gi)].map(([, status, id]) => [
        Number(status),
        id,
      ]),
  }
}

const WISH = JSON.stringify({ tenant: 'core', purpose: 'p', alg: 'ed25519' })

/** A service whose `create` does not end before it is told to; how many began so far. */
async function gated(settings: Parameters<typeof start>[0] = {}) {
  const gates: (() => void)[] = []
  const running = await start(settings, kms => ({
    dispatch: (op, ...rest) => (op === 'create' ? null : kms.dispatch(op, ...rest)),
    dispatchAsync: async (...call) => {
      await new Promise<void>(resolve => gates.push(resolve))
      return kms.dispatchAsync(...call)
    },
  }))
  service = running
  return { service: running, begun: () => gates.length, letGo: (i: number) => gates[i]?.() }
}

describe('pipelined requests', () => {
  it('are answered in the order in which they came, whatever each is and however it is cut', async () => {
    service = await start()
    const { socket, answers } = open(service)
    const paths = ['/nope', '/v1/kms/keys', '/openapi.json', '/v1/kms/sign', '/v1/kms/keys?tenant=core']
    const all = Array.from({ length: 300 }, (_, i) => {
      const path = paths[i % paths.length] as string
      return request(i, path, path === '/v1/kms/keys' ? WISH : path === '/v1/kms/sign' ? '{}' : undefined)
    }).join('')
    for (let at = 0; at < all.length; at += 777) socket.write(all.slice(at, at + 777))
    await expect.poll(() => answers().length, { timeout: 20_000 }).toBe(300)
    const statuses = [404, 200, 200, 400, 200]
    expect(answers()).toEqual(Array.from({ length: 300 }, (_, i) => [statuses[i % 5], corr(i)]))
  })

  it('are begun one after the other, so that a connection has no more than one in any queue', async () => {
    const { service, begun, letGo } = await gated({ 'queue.max_inflight_sign': '1' })
    const { socket, answers } = open(service)
    socket.write([0, 1, 2].map(i => request(i, '/v1/kms/keys', WISH)).join('') + request(3, '/nope'))
    for (let i = 0; i < 3; i += 1) {
      await expect.poll(begun).toBe(i + 1)
      expect(answers()).toHaveLength(i)
      letGo(i)
    }
    await expect.poll(answers).toEqual([200, 200, 200, 404].map((status, i) => [status, corr(i)]))
  })

  it('are answered where they had begun when the service drains; those behind were not begun, and the first is told so', async () => {
    const { service, begun, letGo } = await gated()
    const { socket, answers } = open(service)
    socket.write([0, 1, 2].map(i => request(i, '/v1/kms/keys', WISH)).join(''))
    await expect.poll(begun).toBe(1)
    const closing = service.close()
    letGo(0)
    await closing
    await expect.poll(answers).toEqual([
      [200, corr(0)],
      [503, corr(1)],
    ])
    expect(begun()).toBe(1)
  })

  it('are not read while one is under way, and a connection with too many of them is cut off', async () => {
    const { service, begun } = await gated()
    const { socket } = open(service)
    let isCut = false
    socket.on('close', () => {
      isCut = true
    })
    socket.write(request(0, '/v1/kms/keys', WISH))
    await expect.poll(begun).toBe(1)
    // Some 100 bytes each: all that is read at once is far below the bound.
    const few = request(1, '/nope')
    const sent = Buffer.from(few.repeat(50_000))
    socket.write(sent)
    await new Promise(resolve => setTimeout(resolve, 500))
    // What the kernels keep is megabytes; the rest waits here.
    expect(socket.writableLength).toBeGreaterThan(0)
    expect(isCut).toBe(false)
    const other = open(service)
    other.socket.write(request(0, '/v1/kms/keys', WISH))
    await expect.poll(begun).toBe(2)
    other.socket.write('GET / HTTP/1.1\r\n\r\n'.repeat(3000))
    await expect.poll(() => other.socket.destroyed, { timeout: 5000 }).toBe(true)
  })

  it('leave nothing behind on their connection', async () => {
    service = await start()
    const { socket, answers } = open(service)
    const warnings: string[] = []
    const onWarning = ({ name }: Error) => warnings.push(name)
    process.on('warning', onWarning)
    for (let i = 0; i < 40; i += 2) {
      socket.write(request(i, '/nope') + request(i + 1, '/nope'))
      await expect.poll(() => answers().length).toBe(i + 2)
    }
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
  })

  it.each([
    ['ask for what nobody does', 'GET / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n', 417],
    ['ask for a tunnel', 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n', 405],
    ['are none', 'hello\r\n\r\n', 400],
  ])('that %s are refused behind the answers before theirs', async (_name, text, status) => {
    const { service, begun, letGo } = await gated()
    const { socket, answers } = open(service)
    socket.write(request(0, '/v1/kms/keys', WISH) + text)
    await expect.poll(begun).toBe(1)
    await new Promise(resolve => setTimeout(resolve, 100))
    expect(answers()).toEqual([])
    letGo(0)
    await expect.poll(() => answers().map(([status]) => status)).toEqual([200, status])
  })

  it('of somebody who takes no answer are not begun and not read, and the connection is cut', async () => {
    service = await start({ write_timeout: '300ms' })
    const { hostname, port } = new URL(service.apiUrl)
    let isCut = false
    socket = connect(Number(port), hostname)
    socket.on('close', () => {
      isCut = true
    })
    socket.on('error', () => {})
    socket.pause()
    const answered = () =>
      (service as Service).metric('http_requests_total', { route: '/openapi.json', status: '200' })
    socket.write(request(0, '/openapi.json').repeat(10_000))
    await expect.poll(answered).toBeGreaterThan(1)
    // What the kernels of both sides keep is megabytes; an answer is a hundred thousand bytes.
    await expect
      .poll(
        () => {
          socket?.write('x')
          return isCut
        },
        { timeout: 20_000, interval: 100 },
      )
      .toBe(true)
    expect(await answered()).toBeLessThan(500)
    expect((await service.ask('GET', '/nope')).status).toBe(404)
  })
})

describe('held requests', () => {
  it('of a connection that is lost are forgotten', async () => {
    const pipelines = new Pipelines({ hold: () => {}, letGo: () => {} })
    const connection = Object.assign(new EventEmitter(), { destroyed: false })
    const answer = () => Object.assign(new EventEmitter(), { writableFinished: false })
    const begun: number[] = []
    const [first, second] = [answer(), answer()]
    const take = (outgoing: object, i: number) =>
      pipelines.take(connection as unknown as Socket, outgoing as ServerResponse, () => begun.push(i))
    take(first, 0)
    take(second, 1)
    connection.destroyed = true
    connection.emit('close')
    first.emit('close')
    await new Promise(resolve => setImmediate(resolve))
    expect(begun).toEqual([0])
  })
})
