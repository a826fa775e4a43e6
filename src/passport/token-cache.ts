import { KmsError } from '../errors.js'
import type { VerifyDemands } from './types.js'

/** A token that held. */
export interface Remembered {
  /** Its claims as JSON. */
  readonly claims: string
  /** `exp`. */
  readonly expiresAt: number
  /** The same by a clock that nobody sets back, in milliseconds. */
  readonly until: number
}

const MOST_ITEMS = 1_048_576

/** Tokens that held, with what they were asked for; the one that was unused longest gives way. */
export class TokenCache {
  readonly #most: number
  readonly #items = new Map<string, Remembered>()

  constructor(most: number) {
    if (!Number.isSafeInteger(most) || most < 1 || most > MOST_ITEMS) {
      const why = `must be a whole number from 1 to ${MOST_ITEMS}`
      throw new KmsError('BadRequest', why, { field: 'cache.maxItems' })
    }
    this.#most = most
  }

  /** What a token is remembered by: the same token asked for other things is another question. */
  static key(token: string, { audience, scopes = [] }: VerifyDemands): string {
    return JSON.stringify([token, audience ?? null, ...scopes])
  }

  /** What is known of a token that has not expired: the skew of clocks is not for what was seen before. */
  get(key: string, now: number): Remembered | undefined {
    const item = this.#items.get(key)
    if (!item) return undefined
    this.#items.delete(key)
    if (item.expiresAt <= now || item.until <= performance.now()) return undefined
    this.#items.set(key, item)
    return item
  }

  put(key: string, item: Remembered): void {
    this.#items.set(key, item)
    if (this.#items.size <= this.#most) return
    const [oldest] = this.#items.keys()
    if (oldest !== undefined) this.#items.delete(oldest)
  }

  clear(): void {
    this.#items.clear()
  }
}
