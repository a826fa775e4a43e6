import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Turns } from './turns.js'

/** A request behind others on its connection. */
interface Held {
  readonly outgoing: ServerResponse
  readonly start: () => void
}

/** Most requests behind others on one connection: more than honest ones of one read, some hundred bytes each. */
const MOST_HELD = 1024
/** And on all connections of this thread: some 4 KiB of memory each. */
const MOST_HELD_IN_ALL = 16_384
/** Longest that one turn of the event loop begins held requests, in milliseconds. */
const MOST_MS = 10

/**
 * Requests that are sent on a connection before the answer to the one before is out (RFC 9112 section 9.3.2). Node hands over
 * all that came in one piece, which may be two thousand. Here each is begun once the answer before it is out: so one connection
 * has one request under way, whatever it sends, and is not read from while others of it are held. A connection with too many of
 * them is cut off. One thread.
 */
export class Pipelines {
  readonly #turns: Pick<Turns, 'hold' | 'letGo'>
  readonly #newest = new WeakMap<Socket, ServerResponse>()
  readonly #held = new Map<Socket, Held[]>()
  #heldInAll = 0
  /** Connections whose next request may begin. */
  #ready: Socket[] = []

  constructor(turns: Pick<Turns, 'hold' | 'letGo'>) {
    this.#turns = turns
  }

  /** The newest answer of a connection. Those before it come first: when it is out, all are. */
  newest(socket: Socket): ServerResponse | undefined {
    return this.#newest.get(socket)
  }

  /** A request came, to which this is the answer; begins it now or later. */
  take(socket: Socket, outgoing: ServerResponse, start: () => void): void {
    const before = this.#newest.get(socket)
    if (before === undefined) socket.once('close', () => this.#forget(socket))
    this.#newest.set(socket, outgoing)
    const held = this.#held.get(socket)
    if (held) this.#hold(socket, held, { outgoing, start })
    else if (before === undefined || before.writableFinished) start()
    else {
      const held: Held[] = []
      this.#held.set(socket, held)
      this.#turns.hold(socket)
      this.#after(socket, before)
      this.#hold(socket, held, { outgoing, start })
    }
  }

  /** Whether requests of this connection wait for an answer before theirs. */
  holds(socket: Socket): boolean {
    return this.#held.has(socket)
  }

  #hold(socket: Socket, held: Held[], request: Held): void {
    held.push(request)
    this.#heldInAll += 1
    if (held.length > MOST_HELD || this.#heldInAll > MOST_HELD_IN_ALL) socket.destroy()
  }

  #forget(socket: Socket): void {
    this.#heldInAll -= this.#held.get(socket)?.length ?? 0
    this.#held.delete(socket)
  }

  #after(socket: Socket, before: ServerResponse): void {
    before.once('close', () => {
      if (this.#ready.push(socket) === 1) setImmediate(() => this.#begin())
    })
  }

  #begin(): void {
    const ready = this.#ready
    const since = performance.now()
    let begun = 0
    for (const socket of ready) {
      if (performance.now() - since > MOST_MS) break
      begun += 1
      const held = this.#held.get(socket)
      const next = held?.shift()
      if (!held || !next) continue
      this.#heldInAll -= 1
      if (socket.destroyed) continue
      if (held.length > 0) this.#after(socket, next.outgoing)
      else {
        this.#held.delete(socket)
        this.#turns.letGo(socket)
      }
      next.start()
    }
    this.#ready = ready.slice(begun)
    if (this.#ready.length > 0) setImmediate(() => this.#begin())
  }
}
