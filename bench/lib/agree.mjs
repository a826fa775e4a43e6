// Nothing is timed before everything agrees: a fast wrong answer is worth nothing.
import { flipped } from './data.mjs'
import { itemsFor, label } from './implementations.mjs'

const underAnotherKey = (item, other) => ({ ...other, message: item.message, signature: item.signature })

/** An item with a fault, or without; faults follow each other by `n`. */
function variant(items, n) {
  const [item, other] = [items[n % items.length], items[(n + 1) % items.length]]
  const variants = [
    { what: 'a valid signature', item, expected: true },
    { what: 'a flipped bit in the signature', item: flipped(item, 'signature', n), expected: false },
    { what: 'a flipped bit in the message', item: flipped(item, 'message', n), expected: false },
    { what: 'a wrong key', item: underAnotherKey(item, other), expected: false },
  ]
  return variants[n % variants.length]
}

async function signFaults(signers, verifiers) {
  const peers = verifiers.filter(verifier => !verifier.ownItems)
  const faults = []
  for (const signer of signers) {
    // The very bytes must match: sodium-native's of the same seed, or the key service's own first ones. Those
    // have no seed that others could sign with, so all others must accept them.
    for (const item of await itemsFor(signer, 16, 4)) {
      const signature = await signer.sign(await signer.loadSecret(item), item.message)
      if (Buffer.compare(signature, item.signature) !== 0) {
        faults.push(`sign: ${label(signer)}: other bytes than expected`)
      }
      for (const peer of signer.ownItems ? peers : []) {
        if ((await peer.verify(await peer.load(item), item.message, signature)) !== true) {
          faults.push(`sign: ${label(signer)}: refused by ${label(peer)}`)
        }
      }
    }
  }
  return faults
}

/** Batches must give the bytes that single calls give, and others must accept those of the key service. */
async function signBatchFaults(batchers, verifiers) {
  const peers = verifiers.filter(verifier => !verifier.ownItems)
  const faults = []
  for (const batcher of batchers) {
    for (const keys of [1, 64]) {
      const items = await itemsFor(batcher, 64, keys)
      const answer = await batcher.run(batcher.prepare(items))
      // Several calls at once have several answers.
      for (const signatures of batcher.calls > 1 ? answer : [answer]) {
        const wrong = items.findIndex((item, i) => Buffer.compare(signatures[i], item.signature) !== 0)
        if (wrong >= 0 || signatures.length !== items.length) {
          faults.push(`sign batch: ${label(batcher)}: other bytes than expected, first at item ${wrong}`)
        }
      }
      for (const peer of batcher.ownItems ? peers : []) {
        const [{ message, signature }] = items
        if ((await peer.verify(await peer.load(items[0]), message, signature)) !== true) {
          faults.push(`sign batch: ${label(batcher)}: refused by ${label(peer)}`)
        }
      }
    }
  }
  return faults
}

async function verifyFaults(verifiers) {
  const faults = []
  for (const verifier of verifiers) {
    const items = await itemsFor(verifier, 64, 64)
    for (let n = 0; n < items.length; n++) {
      const { what, item, expected } = variant(items, n)
      const verdict = await verifier.verify(await verifier.load(item), item.message, item.signature)
      if (verdict !== expected) faults.push(`verify: ${label(verifier)}: ${what}: ${verdict}`)
    }
  }
  return faults
}

async function batchFaults(batchers) {
  const faults = []
  for (const batcher of batchers) {
    for (const count of batcher.slow ? [64] : [8, 64, 512]) {
      const valid = await itemsFor(batcher, count, count)
      const mixed = valid.map((_, n) => variant(valid, n))
      const cases = [
        { what: 'all valid, many keys', items: valid, expected: valid.map(() => 1) },
        {
          what: 'all valid, one key',
          items: await itemsFor(batcher, count, 1),
          expected: valid.map(() => 1),
        },
        { what: 'mixed', items: mixed.map(({ item }) => item), expected: mixed.map(m => Number(m.expected)) },
      ]
      for (const { what, items, expected } of cases) {
        const answer = await batcher.run(batcher.prepare(items))
        for (const verdicts of batcher.calls > 1 ? answer : [answer]) {
          const wrong = expected.findIndex((verdict, i) => verdict !== verdicts[i])
          if (wrong < 0 && verdicts.length === count) continue
          faults.push(`batch of ${count}, ${what}: ${label(batcher)}: first at item ${wrong}`)
        }
      }
    }
  }
  return faults
}

/** One line for each answer that is not the expected one; none when all implementations agree. */
export async function disagreements(all) {
  return [
    ...(await signFaults(all.signers, all.verifiers)),
    ...(await signBatchFaults([...all.signBatchers, ...all.threadSigners], all.verifiers)),
    ...(await verifyFaults(new Set([...all.verifiers, ...all.strangerVerifiers]))),
    ...(await batchFaults(new Set([...all.batchers, ...all.strangerBatchers, ...all.threadBatchers]))),
  ]
}

/** Ends the process with exit code 1 on a disagreement. */
export async function requireAgreement(implementations) {
  const faults = await disagreements(implementations)
  for (const fault of new Set(faults)) console.error(`disagreement: ${fault}`)
  if (faults.length > 0) process.exit(1)
}
