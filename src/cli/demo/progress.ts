/** A progress bar on standard error: drawn in place on a terminal, one line at the end elsewhere. */
export class Progress {
  readonly #title: string
  readonly #total: number
  #done = 0
  #drawn = 0

  constructor(title: string, total: number) {
    this.#title = title.padEnd(8)
    this.#total = total
  }

  /** So many more are done. */
  add(count: number): void {
    this.#done += count
    const now = performance.now()
    if (process.stderr.isTTY && now - this.#drawn > 50) {
      this.#drawn = now
      process.stderr.write(`\r${this.#line()}`)
    }
  }

  /** Leaves the last state standing. */
  end(): void {
    process.stderr.write(`${process.stderr.isTTY ? '\r' : ''}${this.#line()}\n`)
  }

  #line(): string {
    const width = 32
    const filled = this.#total === 0 ? width : Math.round((width * this.#done) / this.#total)
    return `${this.#title} [${'='.repeat(filled).padEnd(width)}] ${this.#done}/${this.#total}`
  }
}
