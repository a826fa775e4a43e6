// What a flood came to, in words. The promises: bench/README.md.
import { micro } from './table.mjs'

/** Known keys keep at least this much of their throughput. */
const KEPT_AT_LEAST = 0.9

const mebibytes = bytes => `${(bytes / 2 ** 20).toFixed(1)} MiB`
const percent = share => `${(share * 100).toFixed(0)} %`
const verdict = kept => `promise ${kept ? 'kept' : 'NOT KEPT'}`

function knownLines({ keys, ns_before, ns_during, ns_after, kept_during, kept_after }) {
  const who = keys === 1 ? '1 known key' : `${keys} known keys`
  const times = `${micro(ns_before)} µs before, ${micro(ns_during)} during, ${micro(ns_after)} after`
  const kept = Math.min(kept_during, kept_after)
  return `${verdict(kept >= KEPT_AT_LEAST)}: flood, ${who}: ${percent(kept_during)} of the throughput during it, ${percent(kept_after)} after, at least ${percent(KEPT_AT_LEAST)} (${times})`
}

export function floodLines({ strangers, bound, bytes_before, bytes_most, builds, evictions, known }) {
  const memory = `at most ${mebibytes(bytes_most)} of tables, bound ${mebibytes(bound)}, before ${mebibytes(bytes_before)}`
  return [
    `flood of ${strangers} keys that each ask for a table: ${builds} built, ${evictions} gave way`,
    `${verdict(bytes_most <= bound)}: flood, memory: ${memory}`,
    ...known.map(knownLines),
  ]
}
