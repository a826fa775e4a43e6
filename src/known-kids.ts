import type { NativeKms } from '../index.js'
import { requireString } from './bytes.js'

/** The algorithm that a kid shows, as far as it is well formed. */
export function algOf(kid: string): string {
  return kid.split('/', 3)[2] ?? ''
}

/** Kids that are remembered. Past this all are forgotten and learned anew, so that memory stays bounded. */
const MOST = 65_536

/**
 * Kids by number. Calls that repeat a kid then neither hand its text over nor have it parsed and found again, which
 * is most of what a call costs beside the cryptography. A number stands for one key for as long as it is valid, and
 * every use asks for the key's state anew.
 */
export class KnownKids {
  readonly #numbers = new Map<string, number>()
  /** Those that are not of Ed25519. */
  readonly #others = new Set<number>()
  readonly #native: NativeKms

  constructor(native: NativeKms) {
    this.#native = native
  }

  /** Numbers that were given out before this are no longer valid after it. Called where none is in use. */
  trim(): void {
    if (this.#numbers.size < MOST) return
    this.#numbers.clear()
    this.#others.clear()
    this.#native.forgetKnown()
  }

  /**
   * The number of a kid; 0 for one that cannot be found, whose text then has to be handed over for the error.
   *
   * @throws KmsError `BadRequest` for what is not a string, naming `kid`, or that of the item.
   */
  numberOf(kid: string, item?: number): number {
    const known = this.#numbers.get(kid)
    if (known !== undefined) return known
    requireString(kid, item === undefined ? 'kid' : `items[${item}].kid`)
    const number = this.#native.know(kid)
    if (number > 0) {
      this.#numbers.set(kid, number)
      if (algOf(kid) !== 'ed25519') this.#others.add(number)
    }
    return number
  }

  /** Whether a number is of a key whose name shows Ed25519. */
  isEd25519(number: number): boolean {
    return number > 0 && !this.#others.has(number)
  }
}
