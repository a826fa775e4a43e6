// When does it pay to hand a batch to another thread? Batches of growing size, here and there, in turn.
// Answers for src/short-work.ts. --rounds N: more are quieter.
import { parseArgs } from 'node:util'
import { Kms } from 'ron-kms'
import { ed25519 } from 'ron-kms/primitives'
import { kmsItems, packed } from './lib/data.mjs'
import { machineFacts, machineLine } from './lib/machine.mjs'
import { median } from './lib/measure.mjs'

const { values: flags } = parseArgs({ options: { rounds: { type: 'string', default: '300' } } })
const rounds = Number(flags.rounds)
const SIZES = [4, 8, 16, 32, 48, 64, 96, 128, 256, 512]

const kms = await Kms.open({ backend: 'inmem' })
const items = await kmsItems(kms, 512, 1)
// Known for some time: the key has its full table.
for (let i = 0; i < 4; i++) kms.verifyBatch(items)

const microsOf = async work => {
  const since = process.hrtime.bigint()
  await work()
  return Number(process.hrtime.bigint() - since) / 1000
}

/** A batch to sign is short below a dozen items, so this asks for threads by way of the verifier's `threads`. */
const verifyOn = {
  here: input => ed25519.verifyBatch(input),
  there: input => ed25519.verifyBatchAsync(input, { threads: 1024 }),
}

console.log(machineLine(machineFacts()))
console.log('verify n signatures of one known key: microseconds a batch, medians')
console.log('    n    here   there   here over there')
let pays
for (const size of SIZES) {
  const input = packed(items.slice(0, size))
  const times = { here: [], there: [] }
  for (let round = 0; round < rounds; round++) {
    for (const where of round % 2 ? ['here', 'there'] : ['there', 'here']) {
      times[where].push(await microsOf(() => verifyOn[where](input)))
    }
  }
  const [here, there] = [median(times.here), median(times.there)]
  if (here > there) pays ??= { size, here }
  const cells = [String(size).padStart(5), here.toFixed(1).padStart(8), there.toFixed(1).padStart(8)]
  console.log(`${cells.join('')}${(here / there).toFixed(2).padStart(10)}×`)
}
console.log(
  pays
    ? `threads pay from ${pays.size} signatures on, or ${pays.here.toFixed(0)} µs of work`
    : 'threads never pay here',
)
kms.close()
