// What a flood of strangers does to the keys in use: memory of the tables, and how fast known keys are meanwhile.
// Part of `npm run bench`; alone it prints. --keys N: a flood of another size.
import { parseArgs } from 'node:util'
import { Kms } from 'ron-kms'
import { ed25519 } from 'ron-kms/primitives'
import { kmsItems, signedItems } from './lib/data.mjs'
import { floodLines } from './lib/flood-lines.mjs'
import { median } from './lib/measure.mjs'
import { sodiumNative } from './lib/peers.mjs'
import { tableStats } from './lib/tables.mjs'

/** What the tables have unless set otherwise. */
const BOUND = 64 * 2 ** 20
/** Valid signatures at which a stranger asks for a table (precomputed.rs), and one of how many strangers goes so far. */
const ASKS_AFTER = 64
const ONE_OF = 8
const STRANGERS_A_BATCH = 64
/** Working sets, as in the rows `batch 64`. */
const KNOWN = [1, 64]
const BATCH = 64
/** Calls that are timed between two batches of strangers; of the control, as many signatures. */
const TIMED = 4
const QUIET_STEPS = 400
/** Enough for the larger tables. */
const WARM_UP = 1_000

const { values: flags } = parseArgs({ options: { keys: { type: 'string', default: '100000' } } })
const strangers = Number(flags.keys)

/** What is timed: batches of known keys by kid, and sodium-native as the control. */
async function knownKeys() {
  const kms = await Kms.open({ backend: 'inmem' })
  const entries = []
  for (const keys of KNOWN) {
    const items = await kmsItems(kms, BATCH, keys)
    const input = items.map(({ kid, message, signature }) => ({ kid, message, signature }))
    entries.push({ keys, signatures: BATCH, run: () => kms.verifyBatch(input), times: {} })
  }
  const [{ publicKey, message, signature }] = signedItems(1, 1)
  const control = () => sodiumNative.verify(publicKey, message, signature)
  return { entries, control: { signatures: 1, run: control, times: {} } }
}

function time({ entries, control }, phase) {
  for (const { run, signatures, times } of [...entries, control]) {
    times[phase] ??= []
    for (let i = 0; i < TIMED; i++) {
      const since = process.hrtime.bigint()
      run()
      times[phase].push(Number(process.hrtime.bigint() - since) / signatures)
    }
  }
}

/** Signatures of new keys: one of each, or as many as it takes to ask for a table. */
function batchOfStrangers(from) {
  const items = signedItems(STRANGERS_A_BATCH, STRANGERS_A_BATCH, 10_000_000 + from)
  return items.flatMap(({ publicKey, message, signature }, i) =>
    Array.from({ length: i % ONE_OF === 0 ? ASKS_AFTER : 1 }, () => ({ publicKey, message, signature })),
  )
}

/** Nanoseconds of each phase, and how the ratio to the control changed since before the flood. */
function summary({ keys, times }, control) {
  const ns = phase => median(times[phase])
  const ratio = phase => median(control.times[phase]) / ns(phase)
  const kept = phase => ratio(phase) / ratio('before')
  return {
    ...{ keys, ns_before: ns('before'), ns_during: ns('during'), ns_after: ns('after') },
    ...{ kept_during: kept('during'), kept_after: kept('after') },
  }
}

async function flood() {
  ed25519.setTableCacheBytes(BOUND)
  const known = await knownKeys()
  for (let i = 0; i < WARM_UP; i++) for (const { run } of known.entries) run()
  for (let step = 0; step < QUIET_STEPS; step++) time(known, 'before')
  const before = tableStats()
  let bytes = before.bytes
  for (let sent = 0; sent < strangers; sent += STRANGERS_A_BATCH) {
    if (ed25519.verifyBatch(batchOfStrangers(sent)).includes(0)) throw new Error('a stranger was refused')
    bytes = Math.max(bytes, tableStats().bytes)
    time(known, 'during')
  }
  const { builds, evictions } = tableStats()
  for (let step = 0; step < QUIET_STEPS; step++) time(known, 'after')
  return {
    ...{ strangers, bound: BOUND, bytes_before: before.bytes, bytes_most: bytes },
    ...{ builds: builds - before.builds, evictions: evictions - before.evictions },
    known: known.entries.map(entry => summary(entry, known.control)),
  }
}

const result = await flood()
if (process.send) process.send(result)
else for (const line of floodLines(result)) console.log(line)
