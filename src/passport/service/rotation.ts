import { type KmsError, toKmsError } from '../../errors.js'
import type { RotatedKey } from '../../key-types.js'
import type { Custody } from './custody.js'
import type { KeyRing } from './key-ring.js'

/** What rotation needs to know. */
export interface RotationOptions {
  readonly custody: Custody
  readonly ring: KeyRing
  /** How long a new version is published before it signs. */
  readonly publishAheadMs: number
  /** Age at which the head is rotated; 0 for never. */
  readonly maxAgeMs: number
  readonly onFailed?: (error: KmsError) => void
  readonly now?: () => number
}

const CHECK_MS = 60_000

/** Rotates the key when it is asked to, and by age. */
export class Rotation {
  readonly #options: RotationOptions
  #timer: NodeJS.Timeout | undefined
  /** Rotations since this process began. */
  count = 0

  constructor(options: RotationOptions) {
    this.#options = options
  }

  /** Begins to look at the age of the head. */
  start(): void {
    const { maxAgeMs } = this.#options
    if (maxAgeMs === 0) return
    this.#timer = setInterval(() => void this.rotateIfOld(), Math.min(CHECK_MS, maxAgeMs))
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Adds a version; when this resolves it is published and trusted, and signs after `publishAheadMs`. */
  async rotate(publishAheadMs = this.#options.publishAheadMs): Promise<RotatedKey> {
    const rotated = await this.#options.custody.rotate(publishAheadMs)
    this.count += 1
    await this.#options.ring.refresh()
    return rotated
  }

  /** Rotates a head that is too old, unless another version waits already. */
  async rotateIfOld(): Promise<boolean> {
    const { ring, maxAgeMs, now = Date.now, onFailed } = this.#options
    if (ring.pending || now() - ring.headSince < maxAgeMs) return false
    try {
      await this.rotate()
      return true
    } catch (error) {
      onFailed?.(toKmsError(error))
      return false
    }
  }
}
