import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BindError } from '../../src/server/bind-error.js'
import { closed, expectProblem, parseRaw, type Service, start, TOKEN } from './support.js'

let service: Service
beforeAll(async () => {
  service = await start({ read_timeout: '300ms', 'limits.max_body_bytes': '64KiB', max_conns: '50' })
})
afterAll(() => service.close())

const CAP = 65_536
const POST = `POST /v1/kms/sign HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n`
const AUTH = `Authorization: Bearer ${TOKEN}\r\n`

/** One request on a connection of its own, as bytes; the answer that came last. */
const raw = async (...parts: string[]) => parseRaw(await service.raw(...parts))

describe('a body in pieces of one byte', () => {
  const pieces = (text: string) => Array.from(text, byte => `1\r\n${byte}\r\n`).join('')
  const head = `${POST.replace('sign', 'keys')}${AUTH}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n`

  it('is read as one that comes at once', async () => {
    const wish = JSON.stringify({ tenant: 'core', purpose: 'pieces', alg: 'ed25519' })
    const answer = await raw(`${head}${pieces(wish)}0\r\n\r\n`)
    expect(answer.status).toBe(200)
    expect(answer.json.kid).toMatch(/^core\/pieces\//)
  })

  it('answers 400 where there are thousands, and reads no more of them', async () => {
    // The end of the body never comes.
    expectProblem(await raw(`${head}${pieces(' '.repeat(2000))}`), 400, 'BadRequest')
  })
})

describe('a body over the cap', () => {
  it('answers 413 before reading a body that declares too much', async () => {
    // Nothing of the body is sent: an answer can only come from the declaration.
    const answer = await raw(`${POST}${AUTH}Content-Length: ${CAP + 1}\r\n\r\n`)
    expectProblem(answer, 413, 'TooLarge')
  })

  it('answers 413 when chunks pass the cap, though the last one never comes', async () => {
    const chunk = `${(CAP + 1).toString(16)}\r\n${' '.repeat(CAP + 1)}\r\n`
    expectProblem(await raw(`${POST}${AUTH}Transfer-Encoding: chunked\r\n\r\n${chunk}`), 413, 'TooLarge')
  })

  it('keeps the process unharmed, twenty at a time', async () => {
    // Both ends share this thread, so these need more patience than `service` has.
    const patient = await start({ 'limits.max_body_bytes': '64KiB' })
    const flood = Array.from({ length: 20 }, () =>
      patient.ask('POST', '/v1/kms/sign', { body: ' '.repeat(4_000_000) }),
    )
    for (const answer of await Promise.all(flood)) expectProblem(answer, 413, 'TooLarge')
    expect((await patient.ops('GET', '/healthz')).status).toBe(200)
    await patient.close()
  })

  it('is one byte over: the cap itself is read', async () => {
    const answer = await service.ask('POST', '/v1/kms/sign', { body: `{${' '.repeat(CAP - 2)}}` })
    expectProblem(answer, 400, 'BadRequest', answer.json.error.field)
    expectProblem(await service.ask('POST', '/v1/kms/sign', { body: ' '.repeat(CAP + 1) }), 413, 'TooLarge')
  })
})

describe('a transfer coding', () => {
  it('other than chunked is refused: nobody would decode it', async () => {
    const head = `${POST}${AUTH}Connection: close\r\n`
    const body = '2\r\n{}\r\n0\r\n\r\n'
    expectProblem(await raw(`${head}Transfer-Encoding: gzip, chunked\r\n\r\n${body}`), 415, 'Unsupported')
    const plain = await raw(`${head}Transfer-Encoding: Chunked\r\n\r\n${body}`)
    expectProblem(plain, 400, 'BadRequest', 'kid_or_set')
  })
})

describe('Expect: 100-continue', () => {
  const expecting = (headers: string) =>
    service.raw(`${POST}${headers}Expect: 100-continue\r\nConnection: close\r\n\r\n`)

  it('gets no 100 for a body that will be refused', async () => {
    for (const [headers, status] of [
      [`${AUTH}Content-Length: ${CAP + 1}\r\n`, 413],
      ['Content-Length: 2\r\n', 401],
    ] as const) {
      const text = await expecting(headers)
      expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
      expect(text).not.toContain('100 Continue')
    }
  })

  it('gets a 100 for a body that is read', async () => {
    const outgoing = httpRequest(`${service.apiUrl}/v1/kms/sign`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${TOKEN}`,
        'content-type': 'application/json',
        'content-length': 2,
        expect: '100-continue',
      },
    })
    outgoing.flushHeaders()
    await once(outgoing, 'continue')
    outgoing.end('{}')
    const [incoming] = await once(outgoing, 'response')
    incoming.resume()
    expect(incoming.statusCode).toBe(400)
  })

  it('is the only expectation that is met', async () => {
    expectProblem(await raw(`${POST}${AUTH}Expect: cake\r\nContent-Length: 0\r\n\r\n`), 417, 'Unsupported')
  })
})

describe('a slow request', () => {
  it('answers 408 when the headers do not end', async () => {
    expectProblem(await raw('GET / HTTP/1.1\r\nHost: x\r\n'), 408, 'Timeout')
  })

  it('answers 408 when nothing comes at all', async () => {
    expectProblem(await raw(), 408, 'Timeout')
  })

  it('answers 408 and closes when the body does not end', async () => {
    for (const framing of ['Content-Length: 10\r\n\r\n{', 'Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n']) {
      const answer = await raw(`${POST}${AUTH}${framing}`)
      expectProblem(answer, 408, 'Timeout')
      expect(answer.headers.connection).toBe('close')
      expect(answer.json.error.retryable).toBe(true)
    }
  })
})

describe('clients that send a byte at a time', () => {
  /** Sends `head`, then the rest byte by byte, for as long as it is let. */
  function drip(port: number, head: string, rest: string): Promise<string> {
    const socket = connect(port, '127.0.0.1')
    const heard: Buffer[] = []
    let sent = 0
    socket.on('data', chunk => heard.push(chunk))
    socket.write(head)
    const timer = setInterval(() => socket.write(rest.charAt(sent++) || ' '), 20)
    return closed(socket).then(() => {
      clearInterval(timer)
      return Buffer.concat(heard).toString()
    })
  }

  it('are 408 and closed, in headers and in every kind of body, while others are served', async () => {
    const port = Number(new URL(service.apiUrl).port)
    const body = JSON.stringify({ kid_or_set: { kid: 'x'.repeat(2000) } })
    const slow = [
      drip(port, '', `${POST}${AUTH}`),
      drip(port, `${POST}${AUTH}Content-Length: ${body.length}\r\n\r\n`, body),
      drip(port, `${POST}${AUTH}Content-Encoding: gzip\r\nContent-Length: 2000\r\n\r\n`, '\x1f'),
      drip(port, `${POST}${AUTH}Transfer-Encoding: chunked\r\n\r\n`, '1\r\n{\r\n'.repeat(400)),
    ]
    for (let i = 0; i < 20; i += 1) expect((await service.ask('GET', '/nope')).status).toBe(404)
    for (const text of await Promise.all(slow)) expectProblem(parseRaw(text), 408, 'Timeout')
  })

  it('give their places back, also where they have all of them', async () => {
    const port = Number(new URL(service.apiUrl).port)
    const before = await service.metric('rejected_total', { reason: 'read_timeout' })
    const slow = Array.from({ length: 50 }, () => drip(port, '', `${POST}${AUTH}`.repeat(9)))
    await Promise.all(slow)
    expect(await service.metric('rejected_total', { reason: 'read_timeout' })).toBeGreaterThan(before)
    await expect
      .poll(async () => (await service.ask('GET', '/nope').catch(() => undefined))?.status)
      .toBe(404)
  })
})

describe('a connection without a request', () => {
  it('is closed after idle_timeout, without an answer that nobody asked for', async () => {
    const brief = await start({ idle_timeout: '100ms' })
    const socket = connect(Number(new URL(brief.apiUrl).port), '127.0.0.1')
    const heard: Buffer[] = []
    socket.on('data', chunk => heard.push(chunk))
    for (const _ of [1, 2]) socket.write('GET /nope HTTP/1.1\r\nHost: x\r\n\r\n')
    await once(socket, 'close')
    const text = Buffer.concat(heard).toString()
    expect(text.match(/HTTP\/1\.1 404 /g)).toHaveLength(2)
    expect(text).not.toContain('408')
    await brief.close()
  })
})

describe('what is not HTTP', () => {
  it.each([
    ['garbage', 'hello\r\n\r\n'],
    ['two lengths', `${POST}${AUTH}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`],
    ['a length and chunks', `${POST}${AUTH}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['a length that is no number', `${POST}${AUTH}Content-Length: 2x\r\n\r\n{}`],
    ['a bad chunk', `${POST}${AUTH}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
    ['a control character in a header', 'GET / HTTP/1.1\r\nHost: x\r\nX: \u0001\r\n\r\n'],
    ['no Host', 'GET /v1/kms/sign HTTP/1.1\r\nConnection: close\r\n\r\n'],
    ['a bad Host', 'GET /v1/kms/sign HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n'],
    ['a target that is no path', 'OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'],
  ])('is 400 with the envelope: %s', async (_name, bytes) => {
    expectProblem(await raw(bytes), 400, 'BadRequest')
  })

  it('is 431 with headers over 16 KiB', async () => {
    expectProblem(await raw(`GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`), 431, 'TooLarge')
  })

  it('is 405 with CONNECT', async () => {
    const answer = await raw('CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n')
    expectProblem(answer, 405, 'Unsupported')
    expect(answer.headers.allow).toBe('GET, HEAD, POST')
  })

  it('is 400 with a raw # in a path that names a key', async () => {
    const answer = await raw(
      `GET /v1/kms/keys/a/b/ed25519/c#v1 HTTP/1.1\r\nHost: x\r\n${AUTH}Connection: close\r\n\r\n`,
    )
    expectProblem(answer, 400, 'BadRequest', 'kid')
  })

  it('gets no second answer after the first, even where the body turns out malformed', async () => {
    for (const rest of ['zz\r\n', '1\r\n']) {
      const socket = connect(Number(new URL(service.apiUrl).port), '127.0.0.1')
      const heard: Buffer[] = []
      socket.write(`${POST}Transfer-Encoding: chunked\r\n\r\n`)
      socket.on('data', chunk => {
        if (heard.push(chunk) === 1) socket.write(rest)
      })
      await once(socket, 'close')
      const text = Buffer.concat(heard).toString()
      expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
      expect(text).toMatch(/^HTTP\/1.1 401 /)
    }
  })
})

describe('a peer that does not read', () => {
  it('is cut off after write_timeout', async () => {
    const answer = 'x'.repeat(32_000_000)
    const generous = await start({ write_timeout: '100ms' }, () => ({ dispatch: () => answer }))
    const socket = connect(Number(new URL(generous.apiUrl).port), '127.0.0.1').on('error', () => {})
    socket.pause()
    socket.write(`${POST}${AUTH}Content-Length: 2\r\n\r\n{}`)
    await expect
      .poll(() => generous.metric('http_requests_total', { route: '/v1/kms/sign', status: '200' }))
      .toBe(1)
    // Only a connection that was cut can end: the answer asks to keep it open.
    await setTimeout(500)
    let received = 0
    socket.on('data', chunk => {
      received += chunk.length
    })
    socket.resume()
    await once(socket, 'close')
    expect(received).toBeLessThan(answer.length)
    await generous.close()
  })
})

describe('a peer that leaves', () => {
  it('costs nothing: the request ends and is counted', async () => {
    const labels = { route: '/v1/kms/sign', method: 'POST', status: '400' }
    const before = await service.metric('http_requests_total', labels)
    const socket = connect(Number(new URL(service.apiUrl).port), '127.0.0.1')
    await once(socket, 'connect')
    socket.write(`${POST}${AUTH}Content-Length: 100\r\n\r\n{`)
    await expect.poll(() => service.metric('inflight_requests', { route: '/v1/kms/sign' })).toBe(1)
    socket.destroy()
    await expect.poll(() => service.metric('inflight_requests', { route: '/v1/kms/sign' })).toBe(0)
    expect(await service.metric('http_requests_total', labels)).toBe(before + 1)
  })
})

describe('connections over max_conns', () => {
  it('are dropped and counted', async () => {
    const port = Number(new URL(service.apiUrl).port)
    const sockets = Array.from({ length: 60 }, () => connect(port, '127.0.0.1').on('error', () => {}))
    await expect
      .poll(() => service.metric('rejected_total', { reason: 'max_conns' }))
      .toBeGreaterThanOrEqual(10)
    for (const socket of sockets) socket.destroy()
    await expect
      .poll(async () => (await service.ask('GET', '/nope').catch(() => undefined))?.status)
      .toBe(404)
  })
})

describe('an address that is taken', () => {
  it('is one line that names the setting, and leaves nothing bound', async () => {
    const taken = new URL(service.apiUrl).host
    const line = `${taken}: the address is in use (EADDRINUSE)`
    await expect(start({ bind_addr: taken })).rejects.toThrow(new BindError(`bind_addr = ${line}`))
    await expect(start({ metrics_addr: taken })).rejects.toThrow(new BindError(`metrics_addr = ${line}`))
  })

  it('is another line for an address that this machine does not have', async () => {
    await expect(start({ bind_addr: '192.0.2.1:1' })).rejects.toThrow(
      /^bind_addr = 192\.0\.2\.1:1: .*\(EADDRNOTAVAIL\)$/,
    )
  })
})
