// Keys and signatures in shared memory, written by another thread while they are verified: no private key is used, and
// nothing may verify.
import { createHash } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { ed25519 as curve } from '@noble/curves/ed25519.js'
import { expect, it } from 'vitest'
import { ed25519 } from '../../src/primitives.js'

const { Point } = curve
const L = Point.Fn.ORDER
const COUNT = 16
const LENGTH = 400

const littleEndian = (bytes: Uint8Array) => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
const toBytes = (number: bigint) =>
  Uint8Array.from({ length: 32 }, (_, i) => Number((number >> BigInt(8 * i)) & 255n))

/** S, and two values of R: hashed is the first and compared the second, S is a signature of any message. */
function forgery(publicKey: Uint8Array, message: Uint8Array) {
  const s = 123_456_789n
  const hashed = Point.BASE.multiply(7n).toBytes()
  const k = littleEndian(createHash('sha512').update(hashed).update(publicKey).update(message).digest()) % L
  const compared = Point.BASE.multiply(s).add(Point.fromBytes(publicKey).multiply(k).negate()).toBytes()
  return { s: toBytes(s), hashed, compared }
}

it.each(ed25519.lanes().filter(lane => lane !== 'noble'))(
  'lane %s does not take an R that changes between its hash and its comparison',
  async lane => {
    const publicKey = curve.getPublicKey(new Uint8Array(32).fill(9))
    const message = Buffer.from('pay mallory')
    const { s, hashed, compared } = forgery(publicKey, message)
    const memory = new SharedArrayBuffer(COUNT * 64)
    const signatures = new Uint8Array(memory)
    for (let i = 0; i < COUNT; i++) signatures.set([...hashed, ...s], i * 64)
    const batch = {
      publicKeys: new Uint8Array(Buffer.concat(Array(COUNT).fill(publicKey))),
      signatures,
      messages: new Uint8Array(Buffer.concat(Array(COUNT).fill(message))),
      offsets: Uint32Array.from({ length: COUNT + 1 }, (_, i) => i * message.length),
    }
    const worker = new Worker(
      `const { workerData: { memory, rs, count } } = require('node:worker_threads')
       const view = new Uint8Array(memory)
       require('node:worker_threads').parentPort.postMessage('running')
       for (;;) for (const r of rs) for (let i = 0; i < count; i++) view.set(r, i * 64)`,
      { eval: true, workerData: { memory, rs: [compared, hashed], count: COUNT } },
    )
    try {
      await new Promise(resolve => worker.once('message', resolve))
      let accepted = 0
      const until = performance.now() + LENGTH
      while (performance.now() < until) {
        for (const verdict of ed25519.verifyBatch(batch, { lane })) accepted += verdict
        const single = signatures.subarray(0, 64)
        if (ed25519.verify(publicKey, message, single, { lane })) accepted += 1
      }
      expect(accepted).toBe(0)
    } finally {
      await worker.terminate()
    }
  },
)
