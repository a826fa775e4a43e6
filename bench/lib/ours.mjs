// The calls of this project, as implementations to time: `lane` says by whom, `how` by which call.
import { Kms } from 'ron-kms'
import { ed25519 } from 'ron-kms/primitives'
import { kmsItems, packed } from './data.mjs'

const OURS = 'ron-kms'
export const isOurs = ({ name }) => name === OURS

/**
 * Calls of a key service, which share the keys that it makes: no seed can be put into one, so it brings its own items.
 */
async function inKms({ how = 'by kid', ...options }, calls) {
  const kms = await Kms.open({ backend: 'inmem', ...options })
  const made = []
  return {
    ...{ name: OURS, lane: options.lanes.verify ?? options.lanes.sign, how },
    ownItems: (count, keys) => kmsItems(kms, count, keys, made),
    ...calls(kms),
  }
}

const VERIFIED = { how: 'by kid, verified', verifyAfterSign: true }
const kidAndMessage = items => items.map(({ kid, message }) => ({ kid, message }))
const kidItems = items => items.map(({ kid, message, signature }) => ({ kid, message, signature }))
/** Several callers, each of which calls again when it has its answer: as many calls under way at a time, as in a server. */
const AT_ONCE = 8
const CALLS_EACH = 16
const CALLS = AT_ONCE * CALLS_EACH
async function atOnce(call) {
  const caller = async () => {
    const answers = []
    while (answers.length < CALLS_EACH) answers.push(await call())
    return answers
  }
  return (await Promise.all(Array.from({ length: AT_ONCE }, caller))).flat()
}

const signer = (lane, options) =>
  inKms({ lanes: { sign: lane }, ...options }, kms => ({
    loadSecret: item => item.kid,
    sign: (kid, message) => kms.sign(kid, message),
  }))
const signBatcher = (lane, options) =>
  inKms({ lanes: { sign: lane }, ...options }, kms => ({
    prepare: kidAndMessage,
    run: input => kms.signBatch(input),
  }))
const signThreads = (how, run, calls = 1) =>
  inKms({ lanes: { sign: 'auto' }, how: `by kid, ${how}` }, kms => ({
    ...{ prepare: kidAndMessage, calls },
    run: input => run(kms, input),
  }))

const kidVerifier = lane =>
  inKms({ lanes: { verify: lane } }, kms => ({
    load: item => item.kid,
    verify: (kid, message, signature) => kms.verify(kid, message, signature),
  }))
const kidBatcher = lane =>
  inKms({ lanes: { verify: lane } }, kms => ({ prepare: kidItems, run: input => kms.verifyBatch(input) }))
const kidThreads = (how, run, calls = 1) =>
  inKms({ lanes: { verify: 'auto' }, how: `by kid, ${how}` }, kms => ({
    ...{ prepare: kidItems, calls },
    run: input => run(kms, input),
  }))

const keyVerifier = (lane, how, load) => ({
  ...{ name: OURS, lane, how, load },
  verify: (key, message, signature) => ed25519.verify(key, message, signature, { lane }),
})
const byHandle = lane => keyVerifier(lane, 'by key handle', item => ed25519.importKey(item.publicKey))
const byBytes = lane => ({ ...keyVerifier(lane, 'by bytes', item => item.publicKey), takesStrangers: true })

const toItems = items => items.map(({ publicKey, message, signature }) => ({ publicKey, message, signature }))
const toHandles = items =>
  toItems(items).map(item => ({ ...item, publicKey: ed25519.importKey(item.publicKey) }))
const batch = (lane, how, prepare) => ({
  ...{ name: OURS, lane, how, prepare, takesStrangers: prepare !== toHandles },
  run: input => ed25519.verifyBatch(input, { lane }),
})
const asyncBatch = (lane, how, options) => ({
  ...{ name: OURS, lane, how, prepare: packed },
  run: input => ed25519.verifyBatchAsync(input, { lane, ...options }),
})

/** Room for the tables of all keys at once, some 900 MiB: rows share the process and are timed in turn. */
export const makeRoomForTables = () => ed25519.setTableCacheBytes(1536 * 2 ** 20)

export const ourSigners = () =>
  Promise.all([
    signer('auto'),
    signer('auto', VERIFIED),
    ...['aws-lc', 'dalek', 'ring'].map(lane => signer(lane)),
  ])

export const ourSignBatchers = () =>
  Promise.all([
    signBatcher('auto'),
    signBatcher('auto', VERIFIED),
    ...['aws-lc', 'dalek', 'ring'].map(lane => signBatcher(lane)),
  ])

export const ourVerifiers = async () => [
  ...(await Promise.all(['auto', 'dalek'].map(kidVerifier))),
  ...[byHandle('auto'), byBytes('auto'), byHandle('dalek'), byBytes('dalek')],
  ...[byHandle('aws-lc'), byBytes('aws-lc'), byHandle('ring'), byBytes('ring')],
  { ...byHandle('noble'), slow: true },
]

export const ourBatchers = async () => [
  ...(await Promise.all(['auto', 'dalek', 'dalek-batch'].map(kidBatcher))),
  ...[
    batch('auto', 'key handles', toHandles),
    batch('auto', 'items', toItems),
    batch('auto', 'packed', packed),
  ],
  ...[batch('dalek', 'key handles', toHandles), batch('dalek', 'items', toItems)],
  ...[batch('dalek-batch', 'items', toItems), batch('dalek-batch', 'packed', packed)],
  ...[batch('aws-lc', 'items', toItems), batch('ring', 'items', toItems)],
  { ...batch('noble', 'items', toItems), slow: true },
]

export const ourThreadSigners = () =>
  Promise.all([
    signThreads('this thread', (kms, input) => kms.signBatch(input)),
    signThreads('async', (kms, input) => kms.signBatchAsync(input)),
    signThreads(`async, ${AT_ONCE} at once`, (kms, input) => atOnce(() => kms.signBatchAsync(input)), CALLS),
  ])

export const ourThreadBatchers = async () => [
  ...(await Promise.all([
    kidThreads('this thread', (kms, input) => kms.verifyBatch(input)),
    kidThreads('async', (kms, input) => kms.verifyBatchAsync(input)),
    kidThreads(`async, ${AT_ONCE} at once`, (kms, input) => atOnce(() => kms.verifyBatchAsync(input)), CALLS),
  ])),
  ...['auto', 'dalek', 'dalek-batch', 'aws-lc'].flatMap(lane => [
    batch(lane, 'packed, this thread', packed),
    asyncBatch(lane, 'packed, async, 1 thread', { threads: 1 }),
    asyncBatch(lane, 'packed, async, all threads', {}),
  ]),
]
