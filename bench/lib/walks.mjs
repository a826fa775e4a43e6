// Rows of keys that nobody saw before, of more tables than caches hold, and of batches with bad signatures.
import { batches, candidate } from './candidate.mjs'
import { flipped, signedItems } from './data.mjs'
import { itemsFor } from './implementations.mjs'
import { tableStats } from './tables.mjs'

const BATCH = 64
/**
 * Keys of a pool of strangers. A key gets a table at its eighth valid signature (precomputed.rs), so a pool may be
 * walked seven times: longer than a run lasts. `unchanged` sees to it.
 */
const STRANGERS = 384 * BATCH
/** Keys that have tables: 97 or 387 KiB each, 97 to 387 MiB in all, so that next to nothing of them is in a cache. */
const COLD_KEYS = 1024
/** Under each, so that a second walk does not touch the same lines of the tables. */
const COLD_MESSAGES = 16
const MIXED = 256
/** Three of 256 are a little more than 1 %. A bit of the point, of the scalar and of the message. */
const BAD = [
  { at: 37, field: 'signature', bit: 3 },
  { at: 120, field: 'signature', bit: 10 },
  { at: 201, field: 'message', bit: 20 },
]

let pools = 0
let shared
/** A pool of its own for each who learns keys; one for all who do not. */
function strangersFor({ lane }) {
  if (lane === 'auto') return signedItems(STRANGERS, STRANGERS, ++pools * 1_000_000)
  shared ??= signedItems(STRANGERS, STRANGERS, 1_000_000_000)
  return shared
}

/** One signature of a stranger a call: the key is loaded each time. */
export const strangersRow = {
  name: 'verify, keys never seen',
  unchanged: () => tableStats().builds,
  make({ strangerVerifiers }) {
    return strangerVerifiers.map(it => {
      const items = strangersFor(it)
      let next = 0
      return candidate(it, 1, () => {
        next = (next + 1) % items.length
        const item = items[next]
        return it.verify(it.load(item), item.message, item.signature)
      })
    })
  },
}

export const strangersBatchRow = {
  name: 'batch 64, keys never seen',
  unchanged: () => tableStats().builds,
  make: ({ strangerBatchers }) => strangerBatchers.map(it => batches(it, strangersFor(it), BATCH)),
}

/** A thousand known keys in turn. */
export const outOfCacheRow = {
  name: 'batch 64, tables out of cache',
  async make({ batchers }) {
    const known = batchers.filter(({ lane, slow }) => !slow && (!lane || lane === 'auto'))
    const items = it => itemsFor(it, COLD_KEYS * COLD_MESSAGES, COLD_KEYS)
    return Promise.all(known.map(async it => batches(it, await items(it), BATCH, { known: COLD_KEYS })))
  },
}

/** The same batch all good and with three bad ones: what they cost is the ratio of the two. */
export const mixedRow = {
  name: `batch ${MIXED}, 1 key, 1 % bad`,
  async make({ batchers }) {
    const known = batchers.filter(({ lane, how, slow }) => !slow && (!lane || how === 'by kid'))
    const made = await Promise.all(
      known.map(async it => {
        const good = await itemsFor(it, MIXED, 1)
        const mixed = [...good]
        for (const { at, field, bit } of BAD) mixed[at] = flipped(good[at], field, bit)
        return [
          batches(it, good, MIXED, { how: `${it.how}, all good`, known: 1 }),
          batches(it, mixed, MIXED, { how: `${it.how}, 1 % bad`, known: 1 }),
        ]
      }),
    )
    return made.flat()
  },
}
