/** Somebody who waits. */
interface Waiting {
  readonly until: number
  readonly late: () => void
}

/**
 * Tells who has waited too long, with one timer for all in place of one that nearly every request would set and clear.
 * Who waits shorter than one that came before is told with that one. One thread.
 */
export class Deadlines {
  /** In the order they came. */
  readonly #waiting = new Set<Waiting>()
  #timer: NodeJS.Timeout | undefined

  /** Calls `late` after `ms` milliseconds, unless what this returns is called before. */
  after(ms: number, late: () => void): () => void {
    const one: Waiting = { until: performance.now() + ms, late }
    this.#waiting.add(one)
    this.#timer ??= this.#wait(ms)
    return () => void this.#waiting.delete(one)
  }

  #wait(ms: number): NodeJS.Timeout {
    // Who waits has a connection, which keeps the process alive for as long as it matters.
    return setTimeout(() => this.#sweep(), ms).unref()
  }

  #sweep(): void {
    this.#timer = undefined
    const now = performance.now()
    for (const one of this.#waiting) {
      if (one.until > now) {
        this.#timer ??= this.#wait(one.until - now)
        return
      }
      this.#waiting.delete(one)
      one.late()
    }
  }
}
