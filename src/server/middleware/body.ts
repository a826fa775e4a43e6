import type { IncomingMessage, ServerResponse } from 'node:http'
import { Refusal } from '../problem.js'
import { turns } from '../turns.js'
import { Deadlines } from './deadlines.js'
import { type Coding, codingOf, type DecodeLimits, decodeBody, unsupportedCoding } from './decode.js'
import type { Header } from './headers.js'
import { Pieces, tooLarge } from './pieces.js'

/** Bounds on one request body. */
export interface BodyLimits extends DecodeLimits {
  readonly readTimeoutMs: number
}

/** What node-server puts beside a request; absent where the app runs on another server. */
export interface NodeBindings {
  readonly incoming?: IncomingMessage
  readonly outgoing?: ServerResponse
}

const NOTHING = new Uint8Array(0)
/** Answers whose peer still waits for `100 Continue`: listen.ts adds them. */
export const awaitsContinue = new WeakSet<ServerResponse>()
/** Of bodies that are being read. */
const deadlines = new Deadlines()

/**
 * Whether a body follows, by the headers of HTTP/1.1 (RFC 9112 section 6.3) or by what another server made of them.
 */
function announcesBody(request: Request, header: Header, { incoming }: NodeBindings): boolean {
  if (!incoming) return request.body !== null
  return header('transfer-encoding') !== undefined || (header('content-length') ?? '0') !== '0'
}

/**
 * How the body that there is to read is encoded; none where there is none. Refuses by headers alone what need not be read: a declared length over the cap, a
 * coding that is not decoded here, a media type other than JSON.
 */
export function admitBody(
  request: Request,
  header: Header,
  bindings: NodeBindings,
  { maxBodyBytes }: BodyLimits,
): Coding | undefined {
  // Node refuses a length that is not a number; another server may let it through, and then the cap holds below.
  if (Number(header('content-length') ?? 0) > maxBodyBytes) throw tooLarge()
  const coding = codingOf(header('content-encoding'))
  const transfer = header('transfer-encoding')
  // Node takes the chunks apart and nothing else.
  if (transfer !== undefined && transfer.trim().toLowerCase() !== 'chunked')
    throw unsupportedCoding('identity')
  const present = announcesBody(request, header, bindings)
  const mediaType = header('content-type')
  if (mediaType === undefined ? present : !isJson(mediaType)) {
    throw new Refusal('Unsupported', 'the body must be application/json', {
      status: 415,
      headers: { accept: 'application/json' },
      reason: 'content_type',
    })
  }
  return present ? coding : undefined
}

function isJson(mediaType: string): boolean {
  if (mediaType === 'application/json') return true
  const [type, ...parameters] = mediaType.toLowerCase().split(';')
  if (type?.trim() !== 'application/json') return false
  // JSON is UTF-8 (RFC 8259 section 8.1); another charset would be read wrongly.
  return parameters.every(parameter => {
    const [name, value] = parameter.split('=')
    return name?.trim() !== 'charset' || /^\s*"?utf-8"?\s*$/.test(value ?? '')
  })
}

/** Reads a body that {@link admitBody} let in, decoded; stops as soon as it passes a bound or takes too long. */
export function readBody(
  request: Request,
  coding: Coding,
  bindings: NodeBindings,
  limits: BodyLimits,
): Promise<Uint8Array> {
  const body = readRaw(request, bindings, limits)
  return coding === 'identity' ? body : body.then(encoded => decodeBody(coding, encoded, limits))
}

function readRaw(request: Request, bindings: NodeBindings, limits: BodyLimits): Promise<Uint8Array> {
  const { incoming, outgoing } = bindings
  if (!incoming) return readWeb(request, limits)
  if (outgoing && awaitsContinue.delete(outgoing)) outgoing.writeContinue()
  return readNode(incoming, outgoing, limits)
}

function readNode(
  incoming: IncomingMessage,
  outgoing: ServerResponse | undefined,
  { maxBodyBytes, readTimeoutMs }: BodyLimits,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const pieces = new Pieces(maxBodyBytes, lengthOf(incoming))
    const done = deadlines.after(readTimeoutMs, () => finish(() => reject(tooSlow())))
    const onData = (chunk: Buffer) => {
      turns.came(incoming.socket)
      const refusal = pieces.add(chunk)
      if (!refusal) return
      // Taking in what still comes, to drop it, would take as long as if it were read.
      if (pieces.tooMany) outgoing?.once('finish', () => incoming.socket.destroy())
      finish(() => reject(refusal))
    }
    const onEnd = () => finish(() => resolve(pieces.all()))
    const onLost = () => finish(() => reject(cutShort()))
    const finish = (settle: () => void) => {
      done()
      // Without a listener the stream drops what still comes; node-server then ends the connection.
      incoming.off('data', onData).off('end', onEnd).off('close', onLost)
      settle()
    }
    if (incoming.destroyed) return onLost()
    // An error that nobody listens to ends the process, and one may come after this body was given up.
    incoming.on('error', onLost)
    incoming.on('data', onData).on('end', onEnd).on('close', onLost)
  })
}

/** The length that a body says it has. Node takes no longer one, and refuses what is not a number. */
function lengthOf({ headers }: IncomingMessage): number | undefined {
  const length = headers['content-length']
  return length === undefined ? undefined : Number(length)
}

async function readWeb(request: Request, { maxBodyBytes, readTimeoutMs }: BodyLimits): Promise<Uint8Array> {
  if (!request.body) return NOTHING
  const reader = request.body.getReader()
  const pieces = new Pieces(maxBodyBytes)
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tooSlow()), readTimeoutMs)
  })
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), late])
      if (done) return pieces.all()
      const refusal = pieces.add(value)
      if (refusal) throw refusal
    }
  } catch (error) {
    reader.cancel().catch(() => {})
    throw error instanceof Refusal ? error : cutShort()
  } finally {
    clearTimeout(timer)
  }
}

function tooSlow(): Refusal {
  return new Refusal('Timeout', 'the request body did not arrive in time', {
    status: 408,
    headers: { connection: 'close' },
    retryable: true,
    reason: 'read_timeout',
  })
}

function cutShort(): Refusal {
  return new Refusal('BadRequest', 'the request body ended early', { reason: 'malformed_http' })
}
