/** Bounds of a {@link FairGate}. */
export interface FairGateLimits {
  /** Most that are let through in one turn of the event loop. */
  readonly perTurn: number
  /** Most of one client in one turn, while others wait. */
  readonly perClient: number
}

/**
 * Lets requests through to work that is done in turns of the event loop, so that one client with many cannot make
 * others wait behind all of them.
 *
 * While a turn has room, a request goes through at once. Beyond that it waits in a queue of its client, and each turn
 * takes from the queues in rotation. Whoever waits is bounded by whoever is admitted: see `limits.max_inflight`.
 */
export class FairGate {
  readonly #limits: FairGateLimits
  /** Those who wait, by client, in the order of their turns. */
  readonly #waiting = new Map<string, (() => void)[]>()
  /** How many of each client went through in this turn. */
  readonly #passed = new Map<string, number>()
  #count = 0
  #watched = false
  /** How many wait. */
  queued = 0

  constructor(limits: FairGateLimits) {
    this.#limits = limits
  }

  /** Resolves when the request may be worked on; `undefined` where that is now. */
  enter(client: string): Promise<void> | undefined {
    this.#watch()
    const { perTurn, perClient } = this.#limits
    const passed = this.#passed.get(client) ?? 0
    const own = this.#waiting.get(client)
    // A client that is alone keeps nobody waiting.
    const fair = passed < perClient || (this.#passed.size === 1 && this.queued === 0)
    if (this.#count < perTurn && fair && own === undefined) {
      this.#pass(client, passed)
      return undefined
    }
    this.queued += 1
    return new Promise(resolve => {
      if (own) own.push(resolve)
      else this.#waiting.set(client, [resolve])
    })
  }

  #pass(client: string, passed: number): void {
    this.#passed.set(client, passed + 1)
    this.#count += 1
  }

  #watch(): void {
    if (this.#watched) return
    this.#watched = true
    setImmediate(() => this.#nextTurn())
  }

  #nextTurn(): void {
    this.#watched = false
    this.#passed.clear()
    this.#count = 0
    while (this.queued > 0 && this.#count < this.#limits.perTurn) {
      for (const [client, queue] of [...this.#waiting]) {
        if (this.#count === this.#limits.perTurn) break
        const next = queue.shift()
        // Goes to the end, so that the next turn begins with another one.
        this.#waiting.delete(client)
        if (queue.length > 0) this.#waiting.set(client, queue)
        if (next === undefined) continue
        this.#pass(client, this.#passed.get(client) ?? 0)
        this.queued -= 1
        next()
      }
    }
    if (this.queued > 0) this.#watch()
  }
}
