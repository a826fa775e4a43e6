// A load generator over bare sockets: requests are bytes made beforehand, answers are read as far as their length, so that
// the client costs a fraction of what the server does.
import { connect } from 'node:net'

const END = Buffer.from('\r\n\r\n')
const LENGTH = /\r\ncontent-length: (\d+)/i
const RETRY = /\r\nretry-after: /i

/** The bytes of a request on a connection that stays open. */
export function requestBytes({ port, method = 'POST', path, token, body }) {
  const text = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body)
  const head = [
    `${method} ${path} HTTP/1.1`,
    `host: 127.0.0.1:${port}`,
    ...(token ? [`authorization: Bearer ${token}`] : []),
    ...(body === undefined
      ? []
      : ['content-type: application/json', `content-length: ${Buffer.byteLength(text)}`]),
  ]
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${text}`)
}

/** What came of the requests of one kind. */
class Outcomes {
  times = []
  statuses = {}
  refusedWithoutRetryAfter = 0

  add(ms, status, head) {
    this.statuses[status] = (this.statuses[status] ?? 0) + 1
    if (status === 200) this.times.push(ms)
    else if ((status === 429 || status === 503) && !RETRY.test(head)) this.refusedWithoutRetryAfter += 1
  }

  summary(seconds) {
    const sorted = Float64Array.from(this.times).sort()
    const at = share => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null
    return {
      accepted_per_second: Math.round(this.times.length / seconds),
      p50_ms: at(0.5),
      p95_ms: at(0.95),
      p99_ms: at(0.99),
      max_ms: at(1),
      statuses: this.statuses,
      ...(this.refusedWithoutRetryAfter > 0 && {
        refused_without_retry_after: this.refusedWithoutRetryAfter,
      }),
    }
  }
}

/**
 * Sends for `seconds` over `connections`. `next()` gives `{ kind, bytes }`. Without `rate` each connection sends again when
 * it has its answer (what the server can do); with it so many requests a second are due, and times count from when one was
 * due, also where it had to wait for a connection (what a caller sees).
 */
export async function load({ port, connections, seconds, next, rate }) {
  const outcomes = new Map()
  const idle = []
  const waiting = []
  let open = true
  let broken = 0
  const of = kind => outcomes.get(kind) ?? outcomes.set(kind, new Outcomes()).get(kind)

  const socketOf = () =>
    new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(connection))
      const connection = { send, busy: undefined, socket }
      let parts = []
      socket.setNoDelay(true)
      socket.on('error', reject)
      socket.on('close', () => {
        if (open && connection.busy) broken += 1
      })
      socket.on('data', chunk => {
        const data = parts.length === 0 ? chunk : Buffer.concat([...parts, chunk])
        const end = data.indexOf(END)
        const head = end === -1 ? '' : data.latin1Slice(0, end)
        const length = end === -1 ? 0 : Number(LENGTH.exec(head)?.[1] ?? 0)
        if (end === -1 || data.length < end + 4 + length) {
          parts = [data]
          return
        }
        parts = []
        const { kind, since } = connection.busy
        connection.busy = undefined
        if (open) of(kind).add(performance.now() - since, Number(head.slice(9, 12)), head)
        free(connection)
      })
      function send({ kind, bytes }, since) {
        connection.busy = { kind, since }
        socket.write(bytes)
      }
    })

  const free = connection => {
    if (!open) return connection.socket.destroy()
    if (rate === undefined) return connection.send(next(), performance.now())
    const due = waiting.shift()
    if (due === undefined) idle.push(connection)
    else connection.send(next(), due)
  }

  const all = await Promise.all(Array.from({ length: connections }, socketOf))
  const started = performance.now()
  for (const connection of all) free(connection)
  let sent = 0
  if (rate !== undefined) tick()
  // By the turns of the event loop: timers come a millisecond late, and then several requests at once.
  function tick() {
    if (open) setImmediate(tick)
    const due = ((performance.now() - started) / 1000) * rate
    for (; sent < due; sent += 1) {
      const at = started + (sent / rate) * 1000
      const connection = idle.pop()
      if (connection) connection.send(next(), at)
      else waiting.push(at)
    }
  }
  await new Promise(resolve => setTimeout(resolve, seconds * 1000))
  open = false
  const took = (performance.now() - started) / 1000
  for (const { socket } of all) socket.destroy()
  const kinds = Object.fromEntries([...outcomes].map(([kind, it]) => [kind, it.summary(took)]))
  return { seconds: took, kinds, broken, never_sent: waiting.length }
}
