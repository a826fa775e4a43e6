// What is timed: rows of candidates that do the same work. Ratios are taken within a row only.

import { batches, candidate } from './candidate.mjs'
import { isControl, itemsFor } from './implementations.mjs'
import { mixedRow, outOfCacheRow, strangersBatchRow, strangersRow } from './walks.mjs'

const BATCH_SIZES = [8, 32, 64, 256]
const THREADED = 1024
/** How much longer than others: a scheduler needs some time to give every thread a core of its own. */
const THREAD_TURNS = 5
/** Single calls walk over this many messages, so that no branch predictor learns one of them by heart. */
const SINGLES = 64
/** Pure JavaScript takes a tenth of a second for this many, which is enough. */
const MOST_SLOW = 64

async function single(implementation, keys, load, call) {
  const items = await itemsFor(implementation, SINGLES, keys)
  const loaded = []
  for (const item of items.slice(0, keys)) loaded.push(await load(item))
  let next = 0
  const run = () => {
    next = (next + 1) % SINGLES
    return call(loaded[next % keys], items[next])
  }
  return candidate(implementation, 1, run, { known: keys })
}

const signRow = ({ signers }) =>
  Promise.all(signers.map(it => single(it, 1, it.loadSecret, (key, { message }) => it.sign(key, message))))

const verifyRow = keys => all =>
  Promise.all(
    all.verifiers.map(it =>
      single(it, keys, it.load, (key, { message, signature }) => it.verify(key, message, signature)),
    ),
  )

/** A batch, over and over. */
const batchCandidate = async (batcher, count, keys) =>
  batches(batcher, await itemsFor(batcher, count, keys), count, { known: keys })

const batchRow = (kind, count, keys) => async all => {
  const fast = all[kind].filter(({ slow }) => !slow || count <= MOST_SLOW)
  return Promise.all(fast.map(it => batchCandidate(it, count, keys)))
}

const keysOf = count => (count === 1 ? '1 key' : `${count} keys`)
const batchRows = count =>
  [1, count].map(keys => ({
    name: `batch ${count}, ${keysOf(keys)}`,
    make: batchRow('batchers', count, keys),
  }))
const threadRow = (what, kind) => ({
  name: `threads, ${what} ${THREADED}, 64 keys`,
  make: batchRow(kind, THREADED, 64),
  turns: THREAD_TURNS,
})

/** Every row, in the order of the table. */
const ROWS = [
  { name: 'sign', make: signRow },
  ...[1, 64].map(keys => ({ name: `sign 64, ${keysOf(keys)}`, make: batchRow('signBatchers', 64, keys) })),
  { name: 'verify', make: verifyRow(1) },
  { name: 'verify, 64 keys', make: verifyRow(64) },
  strangersRow,
  ...BATCH_SIZES.flatMap(batchRows),
  ...[strangersBatchRow, outOfCacheRow, mixedRow],
  threadRow('sign', 'threadSigners'),
  threadRow('verify', 'threadBatchers'),
]

/** The rows that are wanted by name, of the implementations given. */
export async function rowsOf(all, wanted = () => true) {
  const rows = []
  for (const { make, ...row } of ROWS.filter(({ name }) => wanted(name))) {
    const candidates = await make(all)
    if (!candidates.every(isControl)) rows.push({ ...row, candidates })
  }
  return rows
}
