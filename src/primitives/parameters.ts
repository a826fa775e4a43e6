/** What the post-quantum algorithms have in common: parameter sets by name, and contexts. */
import { requireBytes } from '../bytes.js'
import { KmsError } from '../errors.js'

/** Longest context in bytes. */
const MAX_CONTEXT = 255
const EMPTY = new Uint8Array(0)

/** A parameter set that a table names by `Name`, or by an alias of it. */
export interface ParameterSet<Name extends string> {
  readonly name: Name
}

/** The parameter sets of one algorithm. */
export class ParameterSets<Name extends string, Set extends ParameterSet<Name>> {
  readonly #sets: ReadonlyMap<string, Set>

  /** @param alias Names the first of `sets` too. */
  constructor(alias: string, sets: readonly [Set, ...Set[]]) {
    this.#sets = new Map([[alias, sets[0]], ...sets.map((set): [string, Set] => [set.name, set])])
  }

  /**
   * The parameter set of a name.
   *
   * @throws KmsError `BadRequest`, field `set`.
   */
  get(name: string): Set {
    const set = this.#sets.get(name)
    if (!set) throw new KmsError('BadRequest', 'no such parameter set', { field: 'set' })
    return set
  }
}

/**
 * The context of a signature (FIPS 204, Algorithm 2; FIPS 205, Algorithm 22); empty for none.
 *
 * @throws KmsError `BadRequest`, field `context`, for a wrong type and for more than 255 bytes.
 */
export function requireContext(context: Uint8Array | undefined): Uint8Array {
  if (context === undefined) return EMPTY
  requireBytes(context, 'context')
  if (context.length > MAX_CONTEXT) {
    throw new KmsError('BadRequest', `at most ${MAX_CONTEXT} bytes`, { field: 'context' })
  }
  return context
}
