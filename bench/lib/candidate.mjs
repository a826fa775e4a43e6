// One entry of a row: a function without arguments, and what it counts for.
import { label } from './implementations.mjs'

/** Valid signatures after which a key has the larger table (precomputed.rs). */
const TABLE_IS_FULL = 256

/**
 * `run` does the next item or batch, which is `signatures` of them. `known`: under so many keys in turn, which are to
 * have their tables before anything is timed.
 */
export function candidate(
  implementation,
  signatures,
  run,
  { how = implementation.how ?? null, known = 0 } = {},
) {
  const { name, lane = null } = implementation
  const warmUpCalls = lane === 'auto' ? Math.ceil((TABLE_IS_FULL * known) / signatures) : 0
  return { name, lane, how, label: label({ name, lane, how }), signatures, run, warmUpCalls }
}

/** What `items` are to a batcher: its inputs, of `size` items each or of its slices. */
function inputsOf(batcher, items, size = items.length) {
  const each = Math.min(batcher.slice ?? size, size)
  const count = items.length / each
  return Array.from({ length: count }, (_, i) => batcher.prepare(items.slice(i * each, i * each + each)))
}

/** The batches of `items` in turn. */
export function batches(batcher, items, size, more) {
  const inputs = inputsOf(batcher, items, size)
  const each = (items.length / inputs.length) * (batcher.calls ?? 1)
  let next = 0
  const run = () => {
    next = next + 1 < inputs.length ? next + 1 : 0
    return batcher.run(inputs[next])
  }
  return candidate(batcher, each, run, more)
}
