// What is promised beside the floors: how two of our own candidates of one row compare. And whether it is all kept.
import { floorOf } from './floors.mjs'
import { ratioOf } from './measure.mjs'
import { rowTitle, times } from './table.mjs'

const ASYNC = 'auto, by kid, async, 8 at once'
const SYNC = 'auto, by kid, this thread'

/** `of` against `to`: how many times the throughput. `cores`: promised for a machine with so many. */
const COMPARISONS = [
  {
    title: 'throughput of a batch of 256 with 1 % bad, of one that is all good',
    ...{ row: 'batch 256, 1 key, 1 % bad', of: 'auto, by kid, 1 % bad', to: 'auto, by kid, all good' },
    atLeast: 0.95,
  },
  {
    title: 'all cores over one, verifyBatchAsync over verifyBatch',
    ...{ row: 'threads, verify 1024, 64 keys', of: ASYNC, to: SYNC },
    ...{ atLeast: 1.85, cores: 2 },
  },
  {
    title: 'all cores over one, signBatchAsync over signBatch',
    ...{ row: 'threads, sign 1024, 64 keys', of: ASYNC, to: SYNC },
    ...{ atLeast: 1.85, cores: 2 },
  },
]

/** The comparisons that these results have. */
export function compared(results, { tier, cores: present }) {
  return COMPARISONS.flatMap(({ title, row, of, to, atLeast, cores = present }) => {
    const [fast, slow] = [of, to].map(label =>
      results.find(it => it.tier === tier && it.row === row && it.label === label),
    )
    if (!fast || !slow) return []
    const ratio = ratioOf(slow.rounds, fast.rounds)
    return [{ title, row, of, to, ratio, ...(cores === present && { at_least: atLeast }) }]
  })
}

const line = (what, ratio, least, aim) => {
  const verdict = ratio >= least ? 'kept' : 'NOT KEPT'
  const limits = [`at least ${times(least)}`, ...(aim ? [`aim ${times(aim)}`] : [])].join(', ')
  return `promise ${verdict}: ${what}: ${times(ratio)}, ${limits}`
}

/** A line for each promise about these results, and for each comparison. */
export function promiseLines(results, comparisons, machine) {
  return [
    ...results.flatMap(result => {
      const floor = floorOf(result)
      return floor
        ? [line(`${rowTitle(result, machine)}, ${result.label}`, result.ratio, floor.ratio, floor.aim)]
        : []
    }),
    ...comparisons.map(({ title, ratio, at_least }) =>
      at_least ? line(title, ratio, at_least) : `${title}: ${times(ratio)}`,
    ),
  ]
}
