import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

/** What bounds the turns of the event loop; tests bring their own. */
export interface TurnHost {
  /** A monotonic clock, in milliseconds. */
  now(): number
  /** Calls back in the next turn, after what is ready was read. */
  nextTurn(callback: () => void): void
}

/** Longest that one turn takes requests and bodies in, in milliseconds. */
const MOST_MS = 20
/** Connections that are read again in one turn: at least so many. */
const LEAST_AT_ONCE = 16

const REAL: TurnHost = {
  now: () => performance.now(),
  nextTurn: callback => void setImmediate(callback),
}

/**
 * Bounds one turn of the event loop. Node reads from every connection that is ready, and from each as much as there is,
 * before it looks at anything else: a thousand connections with a body each are a fifth of a second.
 *
 * So a turn that has taken long enough stops reading from all connections, and each turn after it reads from as many of them as it
 * has time for, whoever has waited longest first. What is under way goes on. One thread, and all its listeners together.
 */
export class Turns {
  readonly #host: TurnHost
  /** Connections that HTTP reads from. */
  readonly #open = new Set<Socket>()
  /** Those of them whose requests are held. */
  readonly #held = new Set<Socket>()
  /** Those of them that wait until they are read again, in the order in which they are. */
  #stopped = new Set<Socket>()
  /** Those that may be read in this turn after they waited, and were not yet. */
  readonly #released = new Set<Socket>()
  /** When this turn took the first of what it took. */
  #began: number | undefined
  /** Whether the end of this turn is waited for. */
  #watching = false
  #full = false
  /** How much came in this turn. */
  #taken = 0
  #atOnce = LEAST_AT_ONCE

  constructor(host: TurnHost = REAL) {
    this.#host = host
  }

  /** HTTP reads from this connection until it is closed. */
  watch(socket: Socket): void {
    this.#open.add(socket)
    // HTTP resumes a connection by itself, as at the end of a message: this listener comes after its own.
    socket.on('resume', () => {
      if (this.#held.has(socket) || this.#stopped.has(socket)) socket.pause()
    })
    socket.once('close', () => {
      for (const of of [this.#open, this.#held, this.#stopped, this.#released]) of.delete(socket)
    })
    // Who comes later waits behind those who wait.
    if (this.#stopped.size > 0) {
      this.#stopped.add(socket)
      socket.pause()
    }
  }

  /** Nothing is read from this connection until {@link Turns.letGo}. */
  hold(socket: Socket): void {
    this.#held.add(socket)
    this.#stopped.delete(socket)
    this.#released.delete(socket)
    socket.pause()
  }

  /** It is read from again. */
  letGo(socket: Socket): void {
    if (this.#held.delete(socket)) socket.resume()
  }

  /** A request came on this connection, or a piece of a body. */
  came(socket: Socket): void {
    const now = this.#host.now()
    this.#taken += 1
    this.#released.delete(socket)
    this.#watch()
    if (this.#began === undefined) this.#began = now
    else if (!this.#full && now - this.#began >= MOST_MS) {
      this.#full = true
      this.#stop()
    }
  }

  #watch(): void {
    if (this.#watching) return
    this.#watching = true
    this.#host.nextTurn(() => this.#next())
  }

  #stop(): void {
    const waiting = new Set<Socket>()
    for (const sockets of [this.#released, this.#stopped, this.#open]) {
      for (const socket of sockets) {
        if (this.#stopped.has(socket)) waiting.add(socket)
        else if (this.#held.has(socket)) continue
        // Who is paused already waits for something else, and whoever paused it lets it go.
        else if (!socket.isPaused()) {
          socket.pause()
          waiting.add(socket)
        }
      }
    }
    this.#stopped = waiting
    this.#atOnce = Math.max(LEAST_AT_ONCE, this.#taken)
    this.#released.clear()
  }

  #next(): void {
    // A turn that had time left reads from more the next time.
    if (!this.#full) this.#atOnce *= 2
    this.#watching = false
    this.#began = undefined
    this.#full = false
    this.#taken = 0
    this.#released.clear()
    if (this.#stopped.size === 0) {
      this.#atOnce = LEAST_AT_ONCE
      return
    }
    this.#watch()
    for (const socket of this.#stopped) {
      if (this.#released.size === this.#atOnce) break
      this.#stopped.delete(socket)
      this.#released.add(socket)
      socket.resume()
    }
  }
}

/** The turns of this thread. */
export const turns = new Turns()

/** A body that came whole before its end is told, or at once after it, takes no time to drop. */
const SMALL_BYTES = 64 * 1024
/** What is dropped of a body that nobody read; then its connection is closed. */
const MOST_DROPPED_BYTES = 64 * 1024 * 1024
const MOST_DROPPING_MS = 2000
/** Pieces below this are dropped only so often: each costs as much as a large one. */
const SMALL_PIECE_BYTES = 64
const MOST_SMALL_PIECES = 1024

/**
 * Takes what is left of a body that was not read once its answer is out, and drops it: a connection that is closed before
 * that takes the answer with it. As bounded as reading, in its time and in its turns.
 */
export function dropRest(incoming: IncomingMessage): void {
  const { socket } = incoming
  if (incoming.complete || socket.destroyed) return
  let [bytes, smallPieces] = [0, 0]
  const stop = () => {
    clearTimeout(timer)
    incoming.off('data', onData).off('end', stop).off('error', stop)
  }
  const close = () => {
    stop()
    socket.destroySoon()
  }
  const onData = (chunk: Buffer) => {
    bytes += chunk.length
    if (chunk.length < SMALL_PIECE_BYTES) smallPieces += 1
    turns.came(socket)
    if (bytes > MOST_DROPPED_BYTES || smallPieces > MOST_SMALL_PIECES) close()
  }
  const timer = setTimeout(close, MOST_DROPPING_MS).unref()
  // Read by somebody, or Node takes and drops it in its own way.
  incoming.read(0)
  incoming.on('data', onData).on('end', stop).on('error', stop)
}

/** Whether dropping a body is worth the trouble, by the headers of its request. */
export function mayBeLong({ headers }: IncomingMessage): boolean {
  const length = headers['content-length']
  return length === undefined ? headers['transfer-encoding'] !== undefined : Number(length) > SMALL_BYTES
}
