import type { NativeKms } from '../index.js'

/** The longest sleep: timers take no more than 2^31 milliseconds. */
const LONGEST_MS = 3_600_000
/** The sleep after a sweep that failed. */
const AGAIN_MS = 60_000

/** Sees to it that keys are destroyed when they are due. Keeps neither the process nor the key service alive. */
export class Sweeper {
  readonly #native: WeakRef<Pick<NativeKms, 'sweep'>>
  #timer: NodeJS.Timeout | undefined

  constructor(native: Pick<NativeKms, 'sweep'>) {
    this.#native = new WeakRef(native)
  }

  /** Destroys what is due, and comes back when something is due next, if anything is. */
  sweep(): void {
    this.stop()
    const wait = this.#due()
    if (wait === null) return
    this.#timer = setTimeout(() => this.sweep(), Math.min(wait, LONGEST_MS))
    this.#timer.unref()
  }

  /** Comes back no more. */
  stop(): void {
    clearTimeout(this.#timer)
  }

  #due(): number | null {
    try {
      return this.#native.deref()?.sweep() ?? null
    } catch {
      // Nobody waits for a timer, and what it throws would end the process.
      return AGAIN_MS
    }
  }
}
