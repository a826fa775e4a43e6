// One entry of a row: a function without arguments, and what it counts for.
import { label } from './implementations.mjs'

/** `run` does the next item or batch, which is `signatures` of them. */
export function candidate(implementation, signatures, run, more = {}) {
  const { name, lane = null, slow = false } = implementation
  const how = more.how ?? implementation.how ?? null
  return { name, lane, how, slow, label: label({ name, lane, how }), signatures, run }
}

/** What `items` are to a batcher: its inputs, of `size` items each or of its slices. */
export function inputsOf(batcher, items, size = items.length) {
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
