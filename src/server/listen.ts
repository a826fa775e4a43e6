import { closeSync } from 'node:fs'
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import { type AddressInfo, Socket, Server as TcpServer } from 'node:net'
import type { Duplex } from 'node:stream'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { formatAddress, type SocketAddress } from '../config/kinds.js'
import type { TlsMaterial } from '../config/tls.js'
import type { KmsErrorCode } from '../errors.js'
import type { RejectReason } from '../metrics/catalog.js'
import { BindError } from './bind-error.js'
import { awaitsContinue } from './middleware/body.js'
import { type Ids, idHeaders, openIds } from './middleware/ids.js'
import { Pipelines } from './pipelining.js'
import { INTERNAL, envelope as kmsEnvelope, type Problem } from './problem.js'
import {
  CONNECT,
  EXPECTATION,
  FULL,
  HANDSHAKE,
  MALFORMED,
  PEER,
  RAW_REFUSALS,
  type RawRefusal,
  writeRaw,
} from './raw-refusals.js'
import { contextOf, TLS_OPTIONS } from './tls.js'
import { dropRest, mayBeLong, turns } from './turns.js'
import { admitPeers, openDirectory, removeStale, setMode, type UnixAddress } from './unix-socket.js'

/** Bounds on connections; a running listener takes others. */
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
  readonly address: SocketAddress | UnixAddress
  readonly fetch: (request: Request, env: object) => Response | Promise<Response>
  readonly limits: ListenerLimits
  /** Serves TLS only. */
  readonly tls?: TlsMaterial | undefined
  /** Told about every connection or request that was refused below the app. */
  readonly onRefused: (refusal: ConnectionRefusal) => void
  /** The form of error answers below the app; that of the key service unless given. */
  readonly envelope?: (problem: Problem, requestId: string) => object
}

/** A bound listener. */
export interface Listener {
  /** Where it really listens: port 0 has become a port. A Unix socket has none. */
  readonly address: SocketAddress
  /** Bounds from now on; those of time hold for what begins after this. */
  setLimits(limits: ListenerLimits): void
  /** Certificates of handshakes from now on; throws, with nothing changed, where OpenSSL takes them not. */
  setTls(material: TlsMaterial): void
  /** Stops intake, lets running requests end within `drainMs`, then tells `onCut` and cuts what is left. */
  close(drainMs: number, onCut?: () => void): Promise<void>
}

const BIND_REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the address is in use',
  EACCES: 'this process may not bind the port',
  EADDRNOTAVAIL: 'this machine does not have the address',
}
const IDLE_SWEEP_MS = 25

/** Binds one address and serves an app on it. */
export async function listen(parts: ListenerParts): Promise<Listener> {
  const { server, sockets, setLimits, setTls } = serverOf(parts)
  if ('path' in parts.address) {
    admitPeers(server, parts.address.allowUids, () => refuseBelow(parts, undefined, PEER))
  }
  server.on('drop', dropped => refuseBelow(parts, dropped?.remoteAddress, FULL))
  const address = await bind(server, parts)
  return {
    address,
    setLimits,
    setTls,
    close: async (drainMs, onCut) => {
      // Not HTTP's own, which cuts off what a peer has yet to take of an answer; once all is drained it ends its timers.
      const closed = new Promise<void>(resolve => TcpServer.prototype.close.call(server, () => resolve()))
      await drain(server, sockets, closed, drainMs, onCut)
      server.close()
    },
  }
}

/** A listener whose connections are accepted elsewhere. */
export interface Adopter extends Omit<Listener, 'address'> {
  /** Serves a connection; `onClose` is told when it ends. The descriptor is the listener's from now on. */
  adopt(fd: number, onClose: () => void): void
}

/** Serves an app on connections that it is handed. */
export function adopter(parts: Omit<ListenerParts, 'address' | 'key'>): Adopter {
  const { server, sockets, setLimits, setTls } = serverOf(parts)
  // HTTP begins to look for late requests then.
  server.emit('listening')
  let onIdle = () => {}
  return {
    setLimits,
    setTls,
    adopt(fd, onClose) {
      let socket: Socket
      try {
        // As a server makes it of what it accepts itself.
        socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: parts.tls === undefined })
      } catch {
        // The connection ended on its way.
        closeSync(fd)
        onClose()
        return
      }
      socket.setNoDelay(true)
      server.emit('connection', socket)
      socket.once('close', () => {
        onClose()
        if (sockets.size === 0) onIdle()
      })
    },
    async close(drainMs, onCut) {
      const closed = new Promise<void>(resolve => {
        onIdle = resolve
        if (sockets.size === 0) resolve()
      })
      await drain(server, sockets, closed, drainMs, onCut)
    },
  }
}

/** A server that is not bound yet, with its limits. */
function serverOf(parts: Omit<ListenerParts, 'address' | 'key'>) {
  let { limits } = parts
  const server = createListener(parts, () => limits)
  const setLimits = (next: ListenerLimits) => {
    limits = next
    server.maxConnections = next.maxConns
    server.headersTimeout = next.readTimeoutMs
    server.requestTimeout = requestTimeout(next)
    server.keepAliveTimeout = next.idleTimeoutMs
  }
  setLimits(limits)
  const setTls = (material: TlsMaterial) => (server as TlsServer).setSecureContext(contextOf(material))
  return { server, sockets: openSockets(server), setLimits, setTls }
}

/** Counts and logs what never becomes a request; the ids of its answer, where it gets one. */
export function refuseBelow(
  { onRefused }: Pick<ListenerParts, 'onRefused'>,
  peerAddr: string | undefined,
  { status, problem, reason }: RawRefusal,
): Ids {
  const ids = openIds(undefined)
  onRefused({ status, code: problem.code, reason, ids, peerAddr })
  return ids
}

/** Headers and body each have read_timeout; body.ts keeps the second, this is the net below it. */
function requestTimeout({ readTimeoutMs }: ListenerLimits): number {
  return 2 * readTimeoutMs + 1000
}

function createListener(parts: Omit<ListenerParts, 'address' | 'key'>, limits: () => ListenerLimits): Server {
  const { fetch, tls, onRefused, envelope = kmsEnvelope } = parts
  const answer = (problem: Problem, status: ContentfulStatusCode, ids: Ids) =>
    new Response(JSON.stringify(envelope(problem, ids.requestId)), {
      status,
      headers: { 'content-type': 'application/json', 'cache-control': 'no-store', ...idHeaders(ids) },
    })
  const respond = getRequestListener(fetch as Parameters<typeof getRequestListener>[0], {
    autoCleanupIncoming: false,
    // Errors before the app sees a request: no Host header, a target that is no URL.
    errorHandler: error => {
      const ids = openIds(undefined)
      if (!(error instanceof RequestError)) return answer(INTERNAL, 500, ids)
      onRefused({ status: 400, code: 'BadRequest', reason: 'malformed_http', ids, peerAddr: undefined })
      return answer(MALFORMED.problem, 400, ids)
    },
  })
  const handle = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const { socket } = incoming
    turns.came(socket)
    if (mayBeLong(incoming)) outgoing.prependOnceListener('finish', () => dropRest(incoming))
    pipelines.take(socket, outgoing, () => {
      respond(incoming, outgoing).then(() => limitWrite(outgoing, limits().writeTimeoutMs))
    })
  }
  const { readTimeoutMs } = limits()
  const options: ServerOptions = {
    // node-server refuses a request without Host through errorHandler, and so with the envelope.
    requireHostHeader: false,
    headersTimeout: readTimeoutMs,
    requestTimeout: requestTimeout(limits()),
    // The only one of these that cannot change later: how late a timeout may be found out.
    connectionsCheckingInterval: Math.min(1000, Math.ceil(readTimeoutMs / 2)),
  }
  const server = tls
    ? createTlsServer(
        { ...options, ...TLS_OPTIONS, ...contextOf(tls), handshakeTimeout: readTimeoutMs },
        handle,
      )
    : createServer(options, handle)
  server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => turns.watch(socket))
  // The size of the head is bounded; a bound on the number of lines would drop headers silently.
  server.maxHeadersCount = 0
  server.on('checkContinue', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    awaitsContinue.add(outgoing)
    handle(incoming, outgoing)
  })
  const refuse = (socket: Duplex, refusal: RawRefusal) =>
    refuseBelow(parts, (socket as Partial<Socket>).remoteAddress, refusal)
  const write = (socket: Duplex, { status, problem }: RawRefusal, ids: Ids) =>
    writeRaw(socket, status, envelope(problem, ids.requestId), ids)
  const refuseRaw = (socket: Duplex, refusal: RawRefusal) => write(socket, refusal, refuse(socket, refusal))
  // Not before the answers to what came before it on the connection.
  const inOrder = (socket: Duplex, refusal: RawRefusal) => {
    const busy = pipelines.newest(socket as Socket)
    if (busy === undefined || busy.writableFinished) return refuseRaw(socket, refusal)
    busy.once('close', () => {
      if (socket.writable) refuseRaw(socket, refusal)
    })
  }
  server.on('checkExpectation', (incoming: IncomingMessage) => inOrder(incoming.socket, EXPECTATION))
  server.on('connect', (_incoming: IncomingMessage, socket: Duplex) => inOrder(socket, CONNECT))
  const unfinished = new WeakSet<Duplex>()
  // Node hands the same error on as a clientError next.
  server.prependListener('tlsClientError', (_error, socket: Duplex) => unfinished.add(socket))
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    if (unfinished.has(socket)) {
      refuse(socket, HANDSHAKE)
      socket.destroy()
      return
    }
    const busy = pipelines.newest(socket as Socket)
    const refusal = RAW_REFUSALS[error.code ?? ''] ?? MALFORMED
    // A peer that left needs no answer; one that has an answer, or the start of it, must not get a second.
    const answered = busy?.headersSent && !busy.req.complete
    // With requests behind others, whatever is written now would be taken for the answer to the first of them.
    const behind = pipelines.holds(socket as Socket)
    if (error.code === 'ECONNRESET' || !socket.writable || answered || behind) {
      socket.destroy()
      return
    }
    // In the middle of a body the route's own reader fails too, and counts.
    if (busy && !busy.req.complete) write(socket, refusal, openIds(undefined))
    else inOrder(socket, refusal)
  })
  return server
}

/** Requests of this thread that came behind others. */
const pipelines = new Pipelines(turns)

/** Cuts a connection whose peer does not take the answer. */
function limitWrite(outgoing: ServerResponse, ms: number): void {
  const { socket } = outgoing
  // Nothing waits in this process for nearly every answer: the kernel took it at once.
  if (!socket || outgoing.writableFinished || socket.writableLength === 0) return
  const timer = setTimeout(() => socket.destroy(), ms)
  outgoing.once('close', () => clearTimeout(timer))
}

/** The connections of a server, also those that are still shaking hands, which HTTP knows nothing of. */
function openSockets(server: Server): ReadonlySet<Socket> {
  const sockets = new Set<Socket>()
  const add = (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  }
  // With TLS there are two for each: what is below, and what is inside once they have shaken hands.
  server.on('connection', add).on('secureConnection', add)
  return sockets
}

/** Binds an address, and says where: port 0 has become a port. A Unix socket has none. */
export async function bind(
  server: TcpServer,
  { key, address }: Pick<ListenerParts, 'key' | 'address'>,
): Promise<SocketAddress> {
  const unix = 'path' in address
  const shown = unix ? address.path : formatAddress(address)
  try {
    if (unix) {
      openDirectory(address.path)
      await removeStale(address.path)
    }
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      const onListening = () => {
        server.off('error', reject)
        resolve()
      }
      if (unix) server.listen(address.path, onListening)
      else server.listen(address.port, address.host, onListening)
    })
    if (unix) {
      setMode(address.path)
      return { host: '', port: 0 }
    }
    return { host: address.host, port: (server.address() as AddressInfo).port }
  } catch (error) {
    const { code = 'unknown', message } = error as NodeJS.ErrnoException
    if (error instanceof BindError) throw new BindError(`${key} = ${shown}: ${message}`)
    throw new BindError(`${key} = ${shown}: ${BIND_REASONS[code] ?? 'cannot be bound'} (${code})`)
  }
}

/** Waits until all connections have ended, cutting what is left after a while. */
async function drain(
  server: Server,
  sockets: ReadonlySet<Socket>,
  closed: Promise<void>,
  drainMs: number,
  onCut?: () => void,
): Promise<void> {
  // A connection that turns idle later stays open until its keep-alive time is over, and one on which nothing ever came
  // is none that HTTP calls idle.
  const sweep = setInterval(() => {
    // Node takes a connection for idle once an answer was given, and cuts off what the peer has yet to take of it.
    if (![...sockets].some(({ writableLength }) => writableLength > 0)) server.closeIdleConnections()
    for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
  }, IDLE_SWEEP_MS)
  const cut = setTimeout(() => {
    onCut?.()
    for (const socket of sockets) socket.destroy()
  }, drainMs)
  await closed
  clearInterval(sweep)
  clearTimeout(cut)
}
