/** A progress bar on standard error while a log is verified; nothing where that is no terminal. */
import type { AuditProgress } from '../../../index.js'

const WIDTH = 24
/** Milliseconds from one state to the next. */
const INTERVAL = 100

/** Asks for the progress now and then, and draws it in place. */
export class Bar {
  readonly #since = performance.now()
  readonly #timer: NodeJS.Timeout | undefined
  readonly #ask: () => AuditProgress
  readonly #tty = process.stderr.isTTY === true

  constructor(ask: () => AuditProgress) {
    this.#ask = ask
    if (this.#tty) this.#timer = setInterval(() => this.#draw(), INTERVAL)
  }

  /** Clears the line. */
  end(): void {
    clearInterval(this.#timer)
    if (this.#tty) process.stderr.write('\r\x1b[K')
  }

  #draw(): void {
    process.stderr.write(`\r\x1b[K${barLine(this.#ask(), performance.now() - this.#since)}`)
  }
}

/** The bar, records, their rate and the time that is left, after so many milliseconds. */
export function barLine({ records, bytes, ofBytes }: AuditProgress, elapsed: number): string {
  const part = ofBytes === 0 ? 0 : Math.min(bytes / ofBytes, 1)
  const filled = Math.floor(WIDTH * part)
  const rate = elapsed === 0 ? 0 : (records * 1000) / elapsed
  const left = part === 0 ? '' : `, ${duration((elapsed / part) * (1 - part))} left`
  const bar = `[${'='.repeat(filled).padEnd(WIDTH)}] ${String(Math.floor(part * 100)).padStart(3)} %`
  return `${bar}  ${grouped(records)} records, ${grouped(rate)}/s${left}`
}

function duration(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000)
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}

function grouped(count: number): string {
  return Math.round(count).toLocaleString('en')
}
