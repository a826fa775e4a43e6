// A client of HTTP/1.1 that costs little: one request, written as bytes, again and again on each connection.
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { quantile } from '../lib/measure.mjs'

function requestOf({ port, path, body, token }) {
  const bytes = Buffer.from(body)
  const head = [
    `POST ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    'Content-Type: application/json',
    `Content-Length: ${bytes.length}`,
    ...(token ? [`Authorization: Bearer ${token}`] : []),
    '',
    '',
  ]
  return Buffer.concat([Buffer.from(head.join('\r\n')), bytes])
}

/** Calls `onAnswer` for each answer of a connection; the caller sends. */
function client(port, onAnswer) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  let missing = 0
  let head = ''
  socket.on('data', chunk => {
    let at = 0
    while (at < chunk.length) {
      if (missing === 0) {
        const before = head.length
        head += chunk.toString('latin1', at, Math.min(chunk.length, at + 2048))
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return
        if (!head.startsWith('HTTP/1.1 200')) throw new Error(head.slice(0, 200))
        missing = Number(/\r\ncontent-length: (\d+)/i.exec(head)[1])
        at += end + 4 - before
        head = ''
      }
      const taken = Math.min(missing, chunk.length - at)
      missing -= taken
      at += taken
      if (missing === 0) onAnswer()
    }
  })
  return socket
}

/** Microseconds that a process has computed so far; NaN where the system does not say. Ticks are of 10 ms. */
function cpuMicros(pid) {
  try {
    const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ').slice(11, 13)
    return (Number(user) + Number(system)) * 10_000
  } catch {
    return Number.NaN
  }
}

/**
 * Over so many connections, each with its next request when it has its answer: requests a second, their p50, and the
 * microseconds that the server computed for each, which tell more than the rate where others use the machine, too.
 */
export async function load({ port, token, path, body, connections, seconds, child }) {
  const request = requestOf({ port, path, body, token })
  let going = true
  let count = 0
  const times = []
  const sockets = Array.from({ length: connections }, () => {
    let since = 0
    const send = () => {
      since = performance.now()
      socket.write(request)
    }
    const socket = client(port, () => {
      count += 1
      times.push(performance.now() - since)
      if (going) send()
    })
    socket.once('connect', send)
    return socket
  })
  await pause(200)
  count = 0
  times.length = 0
  const since = performance.now()
  const computed = cpuMicros(child.pid)
  await pause(seconds * 1000)
  const rate = (count / (performance.now() - since)) * 1000
  const cpu = (cpuMicros(child.pid) - computed) / count
  const p50 = quantile(Float64Array.from(times).sort(), 0.5)
  going = false
  for (const socket of sockets) socket.destroy()
  await pause(20)
  return { rate, p50, cpu }
}

/** The p50 of requests that come one by one, in milliseconds. */
export async function lone({ port, path, body, count }) {
  const request = requestOf({ port, path, body })
  let answered = () => {}
  const socket = client(port, () => answered())
  await new Promise(resolve => socket.once('connect', resolve))
  const times = []
  for (let i = 0; i < count; i++) {
    const since = performance.now()
    await new Promise(resolve => {
      answered = resolve
      socket.write(request)
    })
    times.push(performance.now() - since)
  }
  socket.destroy()
  return quantile(Float64Array.from(times).sort(), 0.5)
}

const pause = ms => new Promise(resolve => setTimeout(resolve, ms))
