/** Lanes by name, and the numbers by which the addon knows them. */
import { KmsError } from '../errors.js'
import { native } from '../native.js'

/**
 * An implementation of ML-DSA or ML-KEM. Every lane gives the same verdict on every input.
 *
 * - `auto`: the fastest lane of this machine, which is `aws-lc` where the native binary has it.
 * - `aws-lc`: AWS-LC, with mldsa-native and mlkem-native: assembly, or C where there is none.
 * - `rustcrypto`: the crates `ml-dsa` and `ml-kem`, in Rust; the reference.
 * - `noble`: pure JavaScript, two orders of magnitude slower.
 */
export type PostQuantumLane = 'auto' | 'aws-lc' | 'rustcrypto' | 'noble'

/** The number of lane `noble`, which the addon does not know. */
export const NOBLE = -1

/** The lanes of one algorithm in this process. */
export class Lanes<Name extends string> {
  readonly #numbers: ReadonlyMap<string, number>
  readonly #auto: number

  /** @param names The lanes of the addon in the order of their numbers; undefined without an addon. */
  constructor(names: readonly string[] | undefined) {
    const numbers = names?.map((name, i): [string, number] => [name, i]) ?? [['auto', NOBLE]]
    this.#numbers = new Map([...numbers, ['noble', NOBLE]])
    this.#auto = this.#numbers.get('auto') ?? NOBLE
  }

  /** Every name. */
  names(): readonly Name[] {
    return [...this.#numbers.keys()] as Name[]
  }

  /**
   * The number of a lane; of `auto` for none.
   *
   * @throws KmsError `BadRequest`, field `lane`.
   */
  number(name: Name | undefined): number {
    if (name === undefined) return this.#auto
    const number = this.#numbers.get(name)
    if (number === undefined)
      throw new KmsError('BadRequest', 'no such lane in this process', { field: 'lane' })
    return number
  }
}

/** Of ML-DSA and ML-KEM. */
export const POST_QUANTUM_LANES = new Lanes<PostQuantumLane>(native?.postQuantumLanes())
