// What is timed: rows of candidates that do the same work. Ratios are taken within a row only.
import { isControl, itemsFor, label } from './implementations.mjs'

const BATCH_SIZES = [8, 32, 64, 256]
const THREAD_SIZES = [256, 512]
/** How much longer than others: a scheduler needs some time to give every thread a core of its own. */
const THREAD_TURNS = 5
/** Single calls walk over this many messages, so that no branch predictor learns one of them by heart. */
const SINGLES = 64

/** A function without arguments that does the next item, and what it counts for. */
function candidate(implementation, signatures, run) {
  const { name, lane = null, how = null, slow = false } = implementation
  return { name, lane, how, slow, label: label(implementation), signatures, run }
}

async function single(implementation, load, call) {
  const items = await itemsFor(implementation, SINGLES, 1)
  const key = await load(items[0])
  let next = 0
  return candidate(implementation, 1, () => {
    next = (next + 1) % SINGLES
    return call(key, items[next])
  })
}

const signRow = async ({ signers }) => ({
  name: 'sign',
  candidates: await Promise.all(
    signers.map(signer => single(signer, signer.loadSecret, (key, { message }) => signer.sign(key, message))),
  ),
})

const verifyRow = async ({ verifiers }) => ({
  name: 'verify',
  candidates: await Promise.all(
    verifiers.map(it =>
      single(it, it.load, (key, { message, signature }) => it.verify(key, message, signature)),
    ),
  ),
})

async function batchCandidate(batcher, count, keys) {
  const input = batcher.prepare(await itemsFor(batcher, count, keys))
  return candidate(batcher, count, () => batcher.run(input))
}

const batchRow = async (name, batchers, count, keys) => ({
  name,
  candidates: await Promise.all(batchers.map(batcher => batchCandidate(batcher, count, keys))),
})

/** Every row, in the order of the table. */
export async function allRows(implementations) {
  const { batchers, threadBatchers } = implementations
  const rows = [await signRow(implementations), await verifyRow(implementations)]
  for (const count of BATCH_SIZES) {
    rows.push(await batchRow(`batch ${count}, 1 key`, batchers, count, 1))
    rows.push(await batchRow(`batch ${count}, ${count} keys`, batchers, count, count))
  }
  for (const count of THREAD_SIZES) {
    const candidates = [...threadBatchers, batchers.find(isControl)]
    const row = await batchRow(`threads ${count}, ${count} keys`, candidates, count, count)
    rows.push({ ...row, turns: THREAD_TURNS })
  }
  return rows
}
