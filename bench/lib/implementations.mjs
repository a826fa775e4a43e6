// Every implementation that is timed, in one table. `name` and `lane` say who, `how` says by which call.
// A signer or verifier loads its key once, outside of what is timed; a batcher prepares its input once.
import { Kms } from 'ron-kms'
import { ed25519 } from 'ron-kms/primitives'
import { kmsItems, packed, signedItems } from './data.mjs'
import { nobleCurves, nodeCrypto, sodiumNative, webCrypto } from './peers.mjs'

const OURS = 'ron-kms'
export const isOurs = ({ name }) => name === OURS
export const isControl = ({ name }) => name === 'sodium-native'
/** `count` signed messages under `keys` keys in turn, as this implementation can have them. */
export const itemsFor = async (implementation, count, keys) =>
  (await implementation.ownItems?.(count, keys)) ?? signedItems(count, keys)
export const label = ({ name, lane, how }) => [lane ?? name, how].filter(Boolean).join(', ')

/**
 * Calls of a key service, which share the keys that it makes: no seed can be put into one, so it brings its own items.
 */
async function inKms(lanes, calls) {
  const kms = await Kms.open({ backend: 'inmem', lanes })
  return {
    ...{ name: OURS, lane: lanes.verify ?? lanes.sign, how: 'by kid' },
    ownItems: (count, keys) => kmsItems(kms, count, keys),
    ...calls(kms),
  }
}

const kmsSigner = lane =>
  inKms({ sign: lane }, kms => ({
    loadSecret: item => item.kid,
    sign: (kid, message) => kms.sign(kid, message),
  }))
const kmsVerifier = lane =>
  inKms({ verify: lane }, kms => ({
    load: item => item.kid,
    verify: (kid, message, signature) => kms.verify(kid, message, signature),
  }))
const kmsBatcher = lane =>
  inKms({ verify: lane }, kms => ({
    prepare: items => items.map(({ kid, message, signature }) => ({ kid, message, signature })),
    run: input => kms.verifyBatch(input),
  }))

const keyVerifier = (lane, how, load) => ({
  ...{ name: OURS, lane, how, load },
  verify: (key, message, signature) => ed25519.verify(key, message, signature, { lane }),
})
const byHandle = lane => keyVerifier(lane, 'by key handle', item => ed25519.importKey(item.publicKey))
const byBytes = lane => keyVerifier(lane, 'by bytes', item => item.publicKey)

const toItems = items => items.map(({ publicKey, message, signature }) => ({ publicKey, message, signature }))
const batch = (lane, how, prepare) => ({
  ...{ name: OURS, lane, how, prepare },
  run: input => ed25519.verifyBatch(input, { lane }),
})
const asyncBatch = (lane, how, options) => ({
  ...{ name: OURS, lane, how, prepare: packed },
  run: input => ed25519.verifyBatchAsync(input, { lane, ...options }),
})

/** Verification in a loop, which is all that a library without batches offers. */
const loop = peer => ({
  ...{ name: peer.name, how: 'loop' },
  prepare: items => items.map(item => ({ ...item, key: peer.load(item) })),
  run(items) {
    const verdicts = new Uint8Array(items.length)
    for (let i = 0; i < items.length; i++) {
      const { key, message, signature } = items[i]
      verdicts[i] = peer.verify(key, message, signature) ? 1 : 0
    }
    return verdicts
  },
})

export async function implementations() {
  // Rows share the process and are timed in turn: room for the tables of all their keys, some 900, at once.
  ed25519.setTableCacheBytes(1024 * 2 ** 20)
  return {
    signers: [await kmsSigner('dalek'), await kmsSigner('ring'), sodiumNative, nodeCrypto, nobleCurves],
    verifiers: [
      await kmsVerifier('auto'),
      await kmsVerifier('dalek'),
      ...[
        byHandle('auto'),
        byBytes('auto'),
        byHandle('dalek'),
        byBytes('dalek'),
        byHandle('ring'),
        byHandle('noble'),
      ],
      ...[sodiumNative, nodeCrypto, webCrypto, nobleCurves],
    ],
    batchers: [
      await kmsBatcher('auto'),
      await kmsBatcher('dalek'),
      await kmsBatcher('dalek-batch'),
      batch('auto', 'items', toItems),
      batch('auto', 'packed', packed),
      batch('dalek', 'items', toItems),
      batch('dalek-batch', 'items', toItems),
      batch('dalek-batch', 'packed', packed),
      batch('ring', 'items', toItems),
      { ...batch('noble', 'items', toItems), slow: true },
      ...[loop(sodiumNative), loop(nodeCrypto)],
    ],
    threadBatchers: [
      ...['auto', 'dalek', 'dalek-batch', 'ring'].flatMap(lane => [
        batch(lane, 'packed, this thread', packed),
        asyncBatch(lane, 'packed, async, 1 thread', { threads: 1 }),
        asyncBatch(lane, 'packed, async, all threads', {}),
      ]),
      // Pure JavaScript has this thread only, whatever it is asked for.
      { ...batch('noble', 'packed, this thread', packed), slow: true },
      { ...asyncBatch('noble', 'packed, async, all threads', {}), slow: true },
    ],
  }
}
