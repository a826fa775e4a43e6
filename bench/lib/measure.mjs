// Timing: mitata takes the samples; here is who is timed when, and what the samples come to.
import { do_not_optimize, measure } from 'mitata'
import { isControl } from './implementations.mjs'

const MILLISECOND = 1e6
/** The optimizing compiler needs about this long to see that the packing of a batch is worth its while. */
const WARM_UP = 100 * MILLISECOND
/** About this long a sample, so that reading the clock costs nothing beside it. */
const SAMPLE = 0.25 * MILLISECOND

/** One turn of a candidate: nanoseconds per signature, ascending. `calls` is 1 or a multiple of 4. */
async function turn({ run, signatures }, { calls, isAsync, budget }) {
  const batched = calls > 1
  // mitata awaits only what it sees to be a promise.
  const call = isAsync ? async () => do_not_optimize(await run()) : () => do_not_optimize(run())
  const { samples } = await measure(call, {
    // Its fallback without --expose-gc allocates a gigabyte.
    gc: false,
    min_cpu_time: budget,
    min_samples: 1,
    // mitata decides by the first calls whether to batch; here that is known already.
    warmup_threshold: batched ? Number.POSITIVE_INFINITY : 0,
    warmup_samples: 1,
    batch_threshold: batched ? Number.POSITIVE_INFINITY : 0,
    batch_samples: calls,
    batch_unroll: 4,
  })
  return samples.map(ns => ns / signatures)
}

export function quantile(sorted, q) {
  const at = q * (sorted.length - 1)
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  return low + (high - low) * (at - Math.floor(at))
}
const ascending = numbers => [...numbers].sort((a, b) => a - b)
export const median = numbers => quantile(ascending(numbers), 0.5)

/** How many times as fast as the first the second is: the median over the rounds. */
export const ratioOf = (slow, fast) => median(slow.map((ns, round) => ns / fast[round]))

/** Warms a candidate up and finds out how many calls make a sample. */
async function calibrate(candidate) {
  const result = candidate.run()
  const isAsync = result instanceof Promise
  await result
  for (let call = 1; call < candidate.warmUpCalls; call++) await candidate.run()
  const ns = median(await turn(candidate, { calls: 1, isAsync, budget: WARM_UP }))
  const calls = isAsync ? 1 : Math.round(SAMPLE / (ns * candidate.signatures) / 4) * 4 || 1
  return { candidate, calls, isAsync, rounds: [] }
}

/**
 * Times rows. In each round every candidate of every row has one turn of `budget` milliseconds (times the row's
 * `turns`); who begins a row moves on by one each round. A ratio is the control's median over the candidate's median
 * of the same row and round, so whatever slows the machine down for longer than a round falls out of it.
 */
export async function measureRows(rows, { rounds, budget, onRound }) {
  const timed = []
  for (const row of rows) timed.push({ ...row, entries: await watched(row, () => calibrateAll(row)) })
  for (let round = 0; round < rounds; round++) {
    onRound?.(round)
    for (const row of timed) {
      const { entries, turns = 1 } = row
      await watched(row, async () => {
        for (let i = 0; i < entries.length; i++) {
          const entry = entries[(i + round) % entries.length]
          entry.rounds.push(await turn(entry.candidate, { ...entry, budget: turns * budget * MILLISECOND }))
        }
      })
    }
  }
  return timed.flatMap(summarize)
}

async function calibrateAll({ candidates }) {
  const entries = []
  for (const candidate of candidates) entries.push(await calibrate(candidate))
  return entries
}

/** Sees to it that what a row's name promises stays true while it is timed. */
async function watched({ name, unchanged }, work) {
  const before = unchanged?.()
  const result = await work()
  if (unchanged?.() !== before) throw new Error(`${name}: what must not change did`)
  return result
}

function summarize({ name: row, entries }) {
  const medians = new Map(entries.map(entry => [entry, entry.rounds.map(median)]))
  // Where there are two, the first is the plain one.
  const control = medians.get(entries.find(({ candidate }) => isControl(candidate)))
  return entries.map(entry => {
    const { name, lane, how, label } = entry.candidate
    const own = medians.get(entry)
    const all = ascending(entry.rounds.flat())
    return {
      ...{ row, name, lane, how, label },
      ns: median(own),
      p25: quantile(all, 0.25),
      p75: quantile(all, 0.75),
      ratio: ratioOf(control, own),
      /** The medians of the rounds, for ratios between two of ours. */
      rounds: own,
      samples: all.length,
      /** Slowest round over fastest round: how quiet the machine was. */
      spread: Math.max(...own) / Math.min(...own),
    }
  })
}
