// Answers below HTTP: to what never became a request that a route could refuse.
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { RejectReason } from '../metrics/catalog.js'
import { type Ids, idHeaders } from './middleware/ids.js'
import type { Problem } from './problem.js'

/** An answer that is the same for every request it is for. */
export interface RawRefusal {
  readonly status: ContentfulStatusCode
  readonly problem: Problem
  readonly reason: RejectReason
}

/** What is not HTTP. */
export const MALFORMED: RawRefusal = {
  status: 400,
  problem: { code: 'BadRequest', message: 'the request is not valid HTTP', retryable: false },
  reason: 'malformed_http',
}
/** `Expect` with anything but `100-continue`. */
export const EXPECTATION: RawRefusal = {
  status: 417,
  problem: { code: 'Unsupported', message: 'only the expectation 100-continue is met', retryable: false },
  reason: 'malformed_http',
}
/** A tunnel is asked for. */
export const CONNECT: RawRefusal = {
  status: 405,
  problem: { code: 'Unsupported', message: 'CONNECT is not a method of this server', retryable: false },
  reason: 'wrong_method',
}
/** A connection that never became TLS 1.3, or whose client had no certificate that is taken. It gets no answer. */
export const HANDSHAKE: RawRefusal = {
  status: 400,
  problem: { code: 'BadRequest', message: 'the TLS handshake failed', retryable: false },
  reason: 'tls_handshake',
}
/** A process of a user who may not connect to the Unix socket. It gets no answer. */
export const PEER: RawRefusal = {
  status: 403,
  problem: { code: 'NoCapability', message: 'this user may not connect', retryable: false },
  reason: 'uds_peer',
}
/** A connection over `max_conns`. It gets no answer. */
export const FULL: RawRefusal = {
  status: 503,
  problem: { code: 'Backpressure', message: 'there are too many connections', retryable: true },
  reason: 'max_conns',
}
/** By the code of Node's error. */
export const RAW_REFUSALS: Readonly<Record<string, RawRefusal>> = {
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
export function writeRaw(socket: Duplex, status: ContentfulStatusCode, answer: object, ids: Ids): void {
  const body = JSON.stringify(answer)
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
