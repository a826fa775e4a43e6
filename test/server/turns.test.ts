import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { connect } from 'node:net'
import { afterAll, describe, expect, it } from 'vitest'
import { Turns } from '../../src/server/turns.js'
import { start, TOKEN } from './support.js'

/** A world where time passes when a test says so. */
function world(count: number) {
  let now = 0
  const next: (() => void)[] = []
  const turns = new Turns({ now: () => now, nextTurn: callback => next.push(callback) })
  const sockets = Array.from({ length: count }, () => {
    const socket = new EventEmitter() as unknown as Socket
    let paused = false
    return Object.assign(socket, {
      pause: () => {
        paused = true
        return socket
      },
      resume: () => {
        paused = false
        return socket
      },
      isPaused: () => paused,
    })
  })
  for (const socket of sockets) turns.watch(socket)
  return {
    turns,
    sockets,
    /** Something comes on a connection, and takes so long. */
    take(socket: Socket, ms: number) {
      turns.came(socket)
      now += ms
    },
    endTurn() {
      for (const callback of next.splice(0)) callback()
    },
    /** Which are read from. */
    read: () => sockets.flatMap((socket, i) => (socket.isPaused() ? [] : [i])),
  }
}
const ALL = (count: number) => [...Array(count).keys()]

describe('turns of the event loop', () => {
  it('read from every connection while they are short', () => {
    const { sockets, take, endTurn, read } = world(100)
    for (let turn = 0; turn < 10; turn += 1) {
      for (const socket of sockets) take(socket, 0.1)
      expect(read()).toEqual(ALL(100))
      endTurn()
    }
  })

  it('stop reading from all once one was long enough, and each reads from some again', () => {
    const { sockets, take, endTurn, read } = world(100)
    const came = (from: number, to: number) => {
      for (const socket of sockets.slice(from, to)) take(socket, 1)
    }
    came(0, 21)
    expect(read()).toEqual([])
    endTurn()
    expect(read()).toEqual(ALL(21))
    endTurn()
    // That turn had time left.
    expect(read()).toEqual(ALL(21 + 42))
    endTurn()
    expect(read()).toEqual(ALL(100))
  })

  it('read first from whoever waited longest, so that nobody starves', () => {
    const { sockets, take, endTurn } = world(1000)
    const served = sockets.map(() => 0)
    const bodies = new Set(sockets)
    for (let turn = 0; turn < 60; turn += 1) {
      for (const [i, socket] of sockets.entries()) {
        if (socket.isPaused() || !bodies.has(socket)) continue
        take(socket, 1)
        served[i] = (served[i] ?? 0) + 1
      }
      endTurn()
    }
    expect(Math.min(...served)).toBeGreaterThan(0)
    expect(Math.max(...served) - Math.min(...served)).toBeLessThanOrEqual(2)
  })

  it('leave a connection paused that waits for something else, and forget one that is closed', () => {
    const { sockets, take, endTurn, read } = world(3)
    sockets[1]?.pause()
    take(sockets[0] as Socket, 25)
    take(sockets[0] as Socket, 0)
    sockets[2]?.emit('close')
    for (let turn = 0; turn < 5; turn += 1) endTurn()
    expect(read()).toEqual([0])
  })
})

describe('a body that nobody reads', async () => {
  const service = await start()
  afterAll(() => service.close())
  const { hostname, port } = new URL(service.apiUrl)
  const head = (path: string, length: number, more = '') =>
    `POST /v1/kms/${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${more}Content-Length: ${length}\r\n\r\n`

  it('is dropped behind its answer, and the connection answers the request after it', async () => {
    const socket = connect(Number(port), hostname)
    const length = 900_000
    const authorized = `Authorization: Bearer ${TOKEN}\r\n`
    socket.write(head('sign', length))
    socket.write(Buffer.alloc(length, 0x20))
    socket.write(head('verify', 2, authorized))
    socket.write('{}')
    let text = ''
    socket.setEncoding('utf8')
    for await (const chunk of socket) {
      text += chunk
      if (text.match(/HTTP\/1\.1 /g)?.length === 2 && text.endsWith('}}')) break
    }
    expect(text.match(/HTTP\/1\.1 (\d+)/g)).toEqual(['HTTP/1.1 401', 'HTTP/1.1 400'])
  })

  it('is not waited for in ever: who does not send the rest of it is disconnected', async () => {
    const socket = connect(Number(port), hostname)
    socket.write(head('sign', 900_000))
    socket.write('{')
    let text = ''
    socket.setEncoding('utf8')
    for await (const chunk of socket) text += chunk
    expect(text).toContain('HTTP/1.1 401')
  })
})
