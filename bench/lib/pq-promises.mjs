// What is promised of post-quantum keys, and whether it is kept.
import { times } from './table.mjs'

/** Least ratios to node:crypto of Node 24 or newer in the same row. */
const FLOORS = [
  { row: 'ml-dsa-65 sign', ratio: 3.5, aim: 5 },
  { row: 'ml-dsa-65 verify', ratio: 2.3, aim: 4 },
  { row: 'ml-kem-768 encapsulate', how: 'by key handle', ratio: 1.8, aim: 4 },
  { row: 'ml-kem-768 decapsulate', how: 'inside unwrap', ratio: 1.9, aim: 3 },
]
const MOST_OF_HALVES = 1.05

const isAuto = ({ name, lane }) => name === 'ron-kms' && lane === 'auto'

/** Hybrid against the sum of its halves: by the same call, and by the shorter one. */
export function halves(results) {
  return ['sign', 'verify'].flatMap(op =>
    ['auto', 'rustcrypto'].flatMap(lane => {
      const of = how =>
        results.find(it => it.row === `hybrid ${op}` && it.lane === lane && it.how === how)?.ns
      const whole = of(`hybrid, ${op}Bundle`)
      if (whole === undefined) return []
      return [`${op}Bundle`, op].map(call => {
        const sum = of(`ed25519, ${call}`) + of(`ml-dsa, ${call}`)
        return { op, lane, call, ratio: whole / sum, over_ns: whole - sum }
      })
    }),
  )
}

/** A line a promise. */
export function pqPromiseLines(results, compared) {
  const floors = FLOORS.flatMap(({ row, how: only, ratio, aim }) => {
    const found = results.find(it => it.row === row && isAuto(it) && (only ?? it.how) === it.how)
    if (!found) return []
    const verdict = found.ratio >= ratio ? 'kept' : 'NOT KEPT'
    const how = `${found.row}, ${found.how}`
    return [`promise ${verdict}: ${how}: ${times(found.ratio)}, at least ${times(ratio)}, aim ${times(aim)}`]
  })
  const sums = compared.map(({ op, lane, call, ratio, over_ns }) => {
    const what = `hybrid ${op} (${lane}) over the sum of its halves by ${call}: ${ratio.toFixed(3)}×`
    const over = `${(over_ns / 1000).toFixed(2)} µs more`
    // A call that takes one signature also does less: the promise is of the same call.
    if (lane !== 'auto' || call === op) return `${what}, ${over}`
    const verdict = ratio <= MOST_OF_HALVES ? 'kept' : 'NOT KEPT'
    return `promise ${verdict}: ${what}, ${over}, at most ${times(MOST_OF_HALVES)}`
  })
  return [...floors, ...sums]
}
