import { Refusal } from '../problem.js'

/** Pieces of a body that may be of any length. */
const FREE_PIECES = 1024
/** Shortest length of the others, on average. */
const PIECE_BYTES = 64
const LEAST_ROOM = 64 * 1024
/** How much more room is made than is there, while a body comes that says how long it is. */
const AHEAD = 8
const NOTHING = new Uint8Array(0)

/**
 * A body as it comes. The peer decides how it is cut, and a piece of one byte takes hundreds in memory and as much time as
 * one of many: so pieces are copied together at once, and there are not too many of them.
 *
 * For longer than one call it takes no more memory than {@link Pieces.most}, and not much more than a multiple of what came.
 */
export class Pieces {
  readonly #declared: boolean
  /** The longest that the body may get, in bytes. */
  readonly most: number
  #room: Uint8Array = NOTHING
  #length = 0
  #count = 0
  /** Whether the last one was refused because there are too many. */
  tooMany = false

  /** `declared` is how long the body says it is. */
  constructor(most: number, declared?: number) {
    this.most = Math.min(most, declared ?? most)
    this.#declared = declared !== undefined
  }

  /** Takes one, or says why not. */
  add(piece: Uint8Array): Refusal | undefined {
    const length = this.#length + piece.length
    this.#count += 1
    if (length > this.most) return tooLarge()
    this.tooMany = this.#count > FREE_PIECES + length / PIECE_BYTES
    if (this.tooMany) return tooManyPieces()
    if (this.#count === 1) this.#room = piece
    else {
      if (length > this.#room.length || this.#count === 2) this.#grow(length)
      this.#room.set(piece, this.#length)
    }
    this.#length = length
    return undefined
  }

  /** What came so far. */
  all(): Uint8Array {
    return this.#room.subarray(0, this.#length)
  }

  #grow(length: number): void {
    const ahead = this.#declared ? AHEAD * length : 2 * length
    const room = Buffer.allocUnsafeSlow(Math.min(this.most, Math.max(ahead, LEAST_ROOM)))
    room.set(this.#room.subarray(0, this.#length))
    this.#room = room
  }
}

/** The memory that a body holds, in bytes: more than its length where room was made for more than came. */
export function memoryOf(body: Uint8Array): number {
  return body.buffer.byteLength
}

/** The refusal of a body over the limit. */
export function tooLarge(): Refusal {
  return new Refusal('TooLarge', 'the request body is over the limit', { reason: 'body_cap' })
}

function tooManyPieces(): Refusal {
  return new Refusal('BadRequest', 'the request body comes in too many pieces', {
    headers: { connection: 'close' },
    reason: 'malformed_http',
  })
}
