// Bodies with a Content-Encoding (RFC 9110 section 8.4). What they decode to is bounded twice: by the cap on bodies, and
// by a multiple of what came, so that few bytes cannot make the service work on many.
import { brotliDecompress, gunzip, type InputType, inflate, type ZlibOptions } from 'node:zlib'
import { Refusal } from '../problem.js'

/** Bounds on what a body decodes to. */
export interface DecodeLimits {
  readonly maxBodyBytes: number
  /** How many times its encoded size. */
  readonly decompressRatioCap: number
}

/** How a body is encoded. */
export type Coding = 'identity' | 'gzip' | 'deflate' | 'br'

/** Beside the bytes, what took them in. */
interface Decoded {
  readonly buffer: Buffer
  readonly engine: { readonly bytesWritten: number }
}

type Decoder = (
  input: InputType,
  options: ZlibOptions & { info: true },
  done: (error: Error | null, decoded: Decoded) => void,
) => void

// The types of Node know nothing of `info`.
const DECODERS = { gzip: gunzip, deflate: inflate, br: brotliDecompress } as unknown as Record<
  Coding,
  Decoder
>

/** For `Accept-Encoding`. */
const ACCEPTED = 'gzip, deflate, br'

/** The coding of a body, by its header. One coding at most: more only serve to hide a bomb. */
export function codingOf(header: string | undefined): Coding {
  const name = header?.trim().toLowerCase() ?? 'identity'
  if (name === 'identity') return name
  // RFC 9110 section 8.4.1.3.
  const coding = name === 'x-gzip' ? 'gzip' : name
  if (!Object.hasOwn(DECODERS, coding)) throw unsupportedCoding(ACCEPTED)
  return coding as Coding
}

/** The refusal of a coding that nobody here decodes. */
export function unsupportedCoding(accepted: string): Refusal {
  return new Refusal('Unsupported', 'the encoding of the body is not supported', {
    status: 415,
    headers: { 'accept-encoding': accepted },
    reason: 'content_encoding',
  })
}

/** Decodes a body on another thread, and gives up as soon as it passes a bound. */
export function decodeBody(
  coding: Exclude<Coding, 'identity'>,
  encoded: Uint8Array,
  limits: DecodeLimits,
): Promise<Uint8Array> {
  const byRatio = encoded.length * limits.decompressRatioCap
  const maxOutputLength = Math.max(1, Math.min(limits.maxBodyBytes, byRatio))
  return new Promise((resolve, reject) => {
    DECODERS[coding](encoded, { info: true, maxOutputLength }, (error, decoded) => {
      if (!error && decoded.engine.bytesWritten === encoded.length) return resolve(decoded.buffer)
      const isOver = (error as NodeJS.ErrnoException | null)?.code === 'ERR_BUFFER_TOO_LARGE'
      if (!isOver) return reject(malformed())
      reject(byRatio < limits.maxBodyBytes ? overRatio() : overCap())
    })
  })
}

/** Cut short, damaged, or with bytes after its end. */
function malformed(): Refusal {
  return new Refusal('BadRequest', 'the request body does not decode', { reason: 'content_encoding' })
}

function overRatio(): Refusal {
  return new Refusal('BadRequest', 'the request body decodes to too many times its size', {
    reason: 'ratio_cap',
  })
}

function overCap(): Refusal {
  return new Refusal('TooLarge', 'the decoded request body is over the limit', { reason: 'decompress_cap' })
}
