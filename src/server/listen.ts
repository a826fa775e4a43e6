import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { formatAddress, type SocketAddress } from '../config/kinds.js'
import type { KmsErrorCode } from '../errors.js'
import type { RejectReason } from '../metrics/catalog.js'
import { awaitsContinue } from './middleware/body.js'
import { type Ids, idHeaders, openIds } from './middleware/ids.js'
import { envelope, INTERNAL, type Problem, problemResponse } from './problem.js'

/** Bounds on connections. */
export interface ListenerLimits {
  readonly maxConns: number
  readonly readTimeoutMs: number
  readonly writeTimeoutMs: number
  readonly idleTimeoutMs: number
}

/** A refusal below HTTP: no route ever saw it. */
export interface ConnectionRefusal {
  readonly status: ContentfulStatusCode
  readonly code: KmsErrorCode
  readonly reason: RejectReason
  readonly ids: Ids
  readonly peerAddr: string | undefined
}

/** What a listener is made of. */
export interface ListenerParts {
  /** The setting that names the address, for messages. */
  readonly key: string
  readonly address: SocketAddress
  readonly fetch: (request: Request, env: object) => Response | Promise<Response>
  readonly limits: ListenerLimits
  /** Told about every connection or request that was refused below the app. */
  readonly onRefused: (refusal: ConnectionRefusal) => void
}

/** A bound listener. */
export interface Listener {
  /** Where it really listens: port 0 has become a port. */
  readonly address: SocketAddress
  /** Stops intake, lets running requests end within `drainMs`, then tells `onCut` and cuts what is left. */
  close(drainMs: number, onCut?: () => void): Promise<void>
}

/** An address that cannot be bound; the message is one line that names the setting. */
export class BindError extends Error {
  override readonly name = 'BindError'
}

const BIND_REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the address is in use',
  EACCES: 'this process may not bind the port',
  EADDRNOTAVAIL: 'this machine does not have the address',
}
const IDLE_SWEEP_MS = 25

/** Binds one address and serves an app on it. */
export async function listen(parts: ListenerParts): Promise<Listener> {
  const server = createListener(parts)
  await bind(server, parts)
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : parts.address.port
  return {
    address: { host: parts.address.host, port },
    close: (drainMs, onCut) => close(server, drainMs, onCut),
  }
}

function createListener({ fetch, limits, onRefused }: ListenerParts): Server {
  const respond = getRequestListener(fetch as Parameters<typeof getRequestListener>[0], {
    // Errors before the app sees a request: no Host header, a target that is no URL.
    errorHandler: error => {
      const ids = openIds(undefined)
      if (!(error instanceof RequestError))
        return problemResponse(INTERNAL, 500, ids.requestId, idHeaders(ids))
      onRefused({ status: 400, code: 'BadRequest', reason: 'malformed_http', ids, peerAddr: undefined })
      return problemResponse(MALFORMED.problem, 400, ids.requestId, idHeaders(ids))
    },
  })
  const handle = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    current.set(incoming.socket, outgoing)
    respond(incoming, outgoing).then(() => limitWrite(outgoing, limits.writeTimeoutMs))
  }
  const server = createServer(
    {
      // node-server refuses a request without Host through errorHandler, and so with the envelope.
      requireHostHeader: false,
      headersTimeout: limits.readTimeoutMs,
      // Headers and body each have read_timeout; body.ts keeps the second, this is the net below it.
      requestTimeout: 2 * limits.readTimeoutMs + 1000,
      keepAliveTimeout: limits.idleTimeoutMs,
      connectionsCheckingInterval: Math.min(1000, Math.ceil(limits.readTimeoutMs / 2)),
    },
    handle,
  )
  server.maxConnections = limits.maxConns
  // The size of the head is bounded; a bound on the number of lines would drop headers silently.
  server.maxHeadersCount = 0
  server.on('checkContinue', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    awaitsContinue.add(outgoing)
    handle(incoming, outgoing)
  })
  const refuseRaw = (socket: Duplex, { status, problem, reason }: RawRefusal) => {
    const ids = openIds(undefined)
    onRefused({ status, code: problem.code, reason, ids, peerAddr: (socket as Socket).remoteAddress })
    writeRaw(socket, status, problem, ids)
  }
  server.on('checkExpectation', (incoming: IncomingMessage) => refuseRaw(incoming.socket, EXPECTATION))
  server.on('connect', (_incoming: IncomingMessage, socket: Duplex) => refuseRaw(socket, CONNECT))
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const answer = current.get(socket)
    // A peer that left needs no answer; one that has an answer, or the start of it, must not get a second.
    const answered = answer?.headersSent && !(answer.writableFinished && answer.req.complete)
    if (error.code === 'ECONNRESET' || !socket.writable || answered) {
      socket.destroy()
      return
    }
    const refusal = RAW_REFUSALS[error.code ?? ''] ?? MALFORMED
    // In the middle of a body the route's own reader fails too, and counts.
    if (answer && !answer.writableFinished)
      writeRaw(socket, refusal.status, refusal.problem, openIds(undefined))
    else refuseRaw(socket, refusal)
  })
  server.on('drop', dropped => {
    onRefused({
      status: 503,
      code: 'Backpressure',
      reason: 'max_conns',
      ids: openIds(undefined),
      peerAddr: dropped?.remoteAddress,
    })
  })
  return server
}

/** The answer that a socket is busy with. */
const current = new WeakMap<Duplex, ServerResponse>()

interface RawRefusal {
  readonly status: ContentfulStatusCode
  readonly problem: Problem
  readonly reason: RejectReason
}

const MALFORMED: RawRefusal = {
  status: 400,
  problem: { code: 'BadRequest', message: 'the request is not valid HTTP', retryable: false },
  reason: 'malformed_http',
}
const EXPECTATION: RawRefusal = {
  status: 417,
  problem: { code: 'Unsupported', message: 'only the expectation 100-continue is met', retryable: false },
  reason: 'malformed_http',
}
const CONNECT: RawRefusal = {
  status: 405,
  problem: { code: 'Unsupported', message: 'CONNECT is not a method of this server', retryable: false },
  reason: 'wrong_method',
}
const RAW_REFUSALS: Readonly<Record<string, RawRefusal>> = {
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    problem: { code: 'Timeout', message: 'the request did not arrive in time', retryable: true },
    reason: 'read_timeout',
  },
  HPE_HEADER_OVERFLOW: {
    status: 431,
    problem: { code: 'TooLarge', message: 'the request headers are over the limit', retryable: false },
    reason: 'header_cap',
  },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: {
    status: 413,
    problem: { code: 'TooLarge', message: 'the chunk extensions are over the limit', retryable: false },
    reason: 'body_cap',
  },
}

/** Answers on a bare socket, where Node made no response object. */
function writeRaw(socket: Duplex, status: ContentfulStatusCode, problem: Problem, ids: Ids): void {
  const body = JSON.stringify(envelope(problem, ids.requestId))
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    connection: 'close',
    ...(status === 405 && { allow: 'GET, HEAD, POST' }),
    ...idHeaders(ids),
  }
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.on('error', () => {})
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${head.join('')}\r\n${body}`, () =>
    socket.destroy(),
  )
}

/** Cuts a connection whose peer does not take the answer. */
function limitWrite(outgoing: ServerResponse, ms: number): void {
  const { socket } = outgoing
  // Nothing waits in this process for nearly every answer: the kernel took it at once.
  if (!socket || outgoing.writableFinished || socket.writableLength === 0) return
  const timer = setTimeout(() => socket.destroy(), ms)
  outgoing.once('close', () => clearTimeout(timer))
}

function bind(server: Server, { key, address }: ListenerParts): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      const code = error.code ?? 'unknown'
      reject(
        new BindError(
          `${key} = ${formatAddress(address)}: ${BIND_REASONS[code] ?? 'cannot be bound'} (${code})`,
        ),
      )
    }
    server.once('error', onError)
    server.listen(address.port, address.host, () => {
      server.off('error', onError)
      resolve()
    })
  })
}

async function close(server: Server, drainMs: number, onCut?: () => void): Promise<void> {
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  // close() leaves a connection that turns idle later open until its keep-alive time is over.
  const sweep = setInterval(() => server.closeIdleConnections(), IDLE_SWEEP_MS)
  const cut = setTimeout(() => {
    onCut?.()
    server.closeAllConnections()
  }, drainMs)
  await closed
  clearInterval(sweep)
  clearTimeout(cut)
}
