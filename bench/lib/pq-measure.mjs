// Means, not medians: how often ML-DSA begins anew is geometric, and a median would leave the long runs out.
import { median } from './measure.mjs'
import { freshMessages } from './pq-rows.mjs'

const isControl = ({ name, extra }) => name === 'node:crypto' && !extra

const now = () => Number(process.hrtime.bigint())

/** One turn, in nanoseconds: as the candidate's own clock has it, where it is a part of a call. */
async function turn({ run, clock = now }, messages) {
  const since = clock()
  await run(messages)
  return clock() - since
}

/** How many calls a turn has: about `budget` milliseconds of them. Warms up on the way. */
async function calibrate(candidate, budget) {
  let calls = candidate.slow ? 2 : 64
  for (let i = 0; i < (candidate.slow ? 2 : 4); i++) await turn(candidate, freshMessages(calls))
  const ns = (await turn(candidate, freshMessages(calls))) / calls
  calls = Math.max(1, Math.min(20_000, Math.round((budget * 1e6) / ns)))
  return { candidate, calls, rounds: [] }
}

/**
 * In each round every candidate of every row has one turn, with messages that no call has seen; who begins a row moves
 * on by one each round. A mean is over all messages of all rounds.
 */
export async function measurePq(rows, { rounds, budget, onRound }) {
  const timed = []
  for (const row of rows) {
    const entries = []
    for (const candidate of row.candidates)
      entries.push(await calibrate(candidate, budget * (row.turns ?? 1)))
    timed.push({ ...row, entries })
  }
  for (let round = 0; round < rounds; round++) {
    onRound?.(round)
    for (const { entries } of timed) {
      for (let i = 0; i < entries.length; i++) {
        const entry = entries[(i + round) % entries.length]
        entry.rounds.push((await turn(entry.candidate, freshMessages(entry.calls))) / entry.calls)
      }
    }
  }
  return timed.flatMap(summarize)
}

const mean = numbers => numbers.reduce((sum, number) => sum + number, 0) / numbers.length

/** Without the noisiest rounds of a busy machine: each has as many messages, so this is still a mean over messages. */
function quietMean(rounds) {
  const sorted = [...rounds].sort((a, b) => a - b)
  const cut = Math.floor(sorted.length / 8)
  return mean(sorted.slice(cut, sorted.length - cut))
}

function summarize({ name: row, entries }) {
  const control = entries.find(({ candidate }) => isControl(candidate))
  return entries.map(({ candidate, calls, rounds }) => {
    const { name, lane, how, key } = candidate
    const ns = quietMean(rounds)
    return {
      ...{ row, name, lane, how, key },
      ns,
      messages: calls * rounds.length,
      ...(control && {
        ratio: quietMean(control.rounds) / ns,
        /** The same by rounds: how far the two differ says how quiet the machine was. */
        ratio_by_rounds: median(control.rounds.map((slow, round) => slow / rounds[round])),
      }),
    }
  })
}
