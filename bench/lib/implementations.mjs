// Every implementation that is timed, in one table. `name` and `lane` say who, `how` says by which call.
// A signer or verifier loads its key once, outside of what is timed; a batcher prepares its input once.
import { signedItems } from './data.mjs'
import {
  makeRoomForTables,
  ourBatchers,
  ourSignBatchers,
  ourSigners,
  ourThreadBatchers,
  ourThreadSigners,
  ourVerifiers,
} from './ours.mjs'
import { nobleCurves, nodeCrypto, sodiumNative, webCrypto } from './peers.mjs'

export { isOurs } from './ours.mjs'
export const isControl = ({ name }) => name === 'sodium-native'
/** `count` signed messages under `keys` keys in turn, as this implementation can have them. */
export const itemsFor = async (implementation, count, keys) =>
  (await implementation.ownItems?.(count, keys)) ?? signedItems(count, keys)
export const label = ({ name, lane, how }) => [lane ?? name, how].filter(Boolean).join(', ')

/**
 * A loop of verifications, which is all that a library without batches offers. `slice`: so many items make a call
 * when it is timed, as longer samples would be interrupted more often than ours.
 */
const loop = peer => ({
  ...{ name: peer.name, how: 'loop', slow: peer.slow, slice: 8 },
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

/** The same where each key comes as bytes with its signature, and has to be loaded on the way. */
const loadingLoop = peer => ({
  ...loop({ ...peer, load: () => undefined }),
  run(items) {
    const verdicts = new Uint8Array(items.length)
    for (let i = 0; i < items.length; i++) {
      const { message, signature } = items[i]
      verdicts[i] = peer.verify(peer.load(items[i]), message, signature) ? 1 : 0
    }
    return verdicts
  },
})

const signLoop = peer => ({
  ...{ name: peer.name, how: 'loop', slow: peer.slow, slice: 8 },
  prepare: items => items.map(item => ({ message: item.message, key: peer.loadSecret(item) })),
  run: items => items.map(({ key, message }) => peer.sign(key, message)),
})

const SYNCHRONOUS = [sodiumNative, nodeCrypto, nobleCurves]

export async function implementations() {
  makeRoomForTables()
  const [verifiers, batchers] = [await ourVerifiers(), await ourBatchers()]
  const strangers = ({ takesStrangers }) => takesStrangers
  return {
    signers: [...(await ourSigners()), ...SYNCHRONOUS],
    signBatchers: [...(await ourSignBatchers()), ...SYNCHRONOUS.map(signLoop)],
    threadSigners: [...(await ourThreadSigners()), signLoop(sodiumNative)],
    verifiers: [...verifiers, sodiumNative, nodeCrypto, webCrypto, nobleCurves],
    batchers: [...batchers, ...SYNCHRONOUS.map(loop)],
    /** Those that take keys that nobody saw before. */
    strangerVerifiers: [...verifiers.filter(strangers), ...[sodiumNative, nodeCrypto, nobleCurves]],
    strangerBatchers: [...batchers.filter(strangers), ...SYNCHRONOUS.map(loadingLoop)],
    threadBatchers: [...(await ourThreadBatchers()), loop(sodiumNative)],
  }
}

/** The table with only those that `wanted` takes. */
export const only = (all, wanted) =>
  Object.fromEntries(Object.entries(all).map(([kind, list]) => [kind, list.filter(wanted)]))
