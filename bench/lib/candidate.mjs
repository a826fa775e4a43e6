// One entry of a row: a function without arguments, and what it counts for.
import { label } from './implementations.mjs'

/** `run` does the next item or batch, which is `signatures` of them. */
export function candidate(implementation, signatures, run, more = {}) {
  const { name, lane = null, slow = false } = implementation
  const how = more.how ?? implementation.how ?? null
  return { name, lane, how, slow, label: label({ name, lane, how }), signatures, run }
}

/** As `inputs` in turn, so that what one call leaves in caches helps the next one little. */
export function walking(implementation, signatures, inputs, call) {
  let next = 0
  return candidate(implementation, signatures, () => {
    next = (next + 1) % inputs.length
    return call(inputs[next])
  })
}
