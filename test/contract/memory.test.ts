// Memory stays flat over many calls. Sizes, not times, are asserted.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import { Kms, KmsError } from '../../src/index.js'
import { blake3, ed25519, mlDsa, mlKem, slhDsa, x25519 } from '../../src/primitives.js'
import { mlDsaSigner } from '../support/post-quantum.js'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** Growth of the process over a second run of the same calls, in MiB. */
async function growth(calls: () => Promise<void>): Promise<number> {
  const settle = async () => {
    for (let i = 0; i < 3; i++) {
      gc()
      await new Promise(setImmediate)
    }
    return process.memoryUsage().rss
  }
  await calls()
  const before = await settle()
  await calls()
  return ((await settle()) - before) / 2 ** 20
}

it('is flat over hundreds of thousands of calls, successful and failing', async () => {
  const kms = await Kms.open({ backend: 'inmem' })
  const { kid, publicKey } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
  const message = new Uint8Array(128)
  const signature = kms.sign(kid, message)
  const refused = kid.replace('#v1', '#v2')
  const key = ed25519.importKey(publicKey)
  const body = Buffer.from(JSON.stringify({ kid, sigs: [], payload_b3: '' }))
  const opened = await growth(async () => {
    for (let i = 0; i < 20_000; i++) {
      blake3(message)
      kms.verify(kid, message, signature)
      ed25519.verify(publicKey, message, signature)
      expect(() => kms.sign(refused, message)).toThrow(KmsError)
      ed25519.importKey(publicKey)
    }
    for (let i = 0; i < 300; i++) {
      await ed25519.verifyBatchAsync(Array(64).fill({ publicKey, message, signature }))
      await kms.verifyBatchAsync(Array(64).fill({ kid, message, signature }))
      await kms.signBatchAsync(Array(32).fill({ kid, message }))
      kms.signBatch(Array(8).fill({ kid, message }))
      kms.verifyBatch(Array(8).fill({ kid, message, signature }))
      ed25519.verifyBatch(Array(8).fill({ publicKey: key, message, signature }))
      kms.verifyCoalesced(Array(4).fill({ body, context: { requestId: 'r', actor: 'a' } }))
    }
  })
  // 100,000 native results of 100 bytes that leaked would be 10 MiB.
  expect(opened).toBeLessThan(8)
  kms.close()
})

it('is flat over post-quantum calls and imported keys', async () => {
  const { set, publicKey, sign } = mlDsaSigner('ml-dsa-44')
  const message = new Uint8Array(128)
  const signature = sign(message)
  const kept = mlDsa.importKey(set, publicKey)
  const spoilt = new Uint8Array(1184).fill(0xff)
  const opened = await growth(async () => {
    for (let i = 0; i < 3000; i++) {
      expect(mlDsa.verify(set, publicKey, message, signature)).toBe(true)
      mlDsa.verify(set, kept, message, signature, { lane: 'rustcrypto' })
      mlDsa.verifyMu(set, kept, new Uint8Array(64), signature)
      // One that verified in this lane holds 36 KiB.
      const dropped = mlDsa.importKey(set, publicKey)
      if (i % 10 === 0) mlDsa.verify(set, dropped, message, signature, { lane: 'rustcrypto' })
      expect(() => mlDsa.verify(set, spoilt, message, signature)).toThrow(KmsError)
      mlKem.encapsulate('ml-kem', new Uint8Array(1184))
      expect(() => mlKem.checkPublicKey('ml-kem', spoilt)).toThrow(KmsError)
      x25519.checkPublicKey(new Uint8Array(32).fill(9))
      if (i % 100 === 0) slhDsa.verify('slh-dsa', new Uint8Array(32), message, new Uint8Array(7856))
      if (i % 500 === 0) gc()
    }
    const large = new Uint8Array(2 ** 16)
    for (let i = 0; i < 200; i++) {
      await mlDsa.verifyAsync(set, kept, large, signature)
      await slhDsa.verifyAsync('slh-dsa', new Uint8Array(32), large, new Uint8Array(7856))
    }
  })
  // 200 leaked messages would be 12 MiB, 3,000 leaked keys of 1,312 bytes would be 4 MiB, and 300 expanded ones 11.
  expect(opened).toBeLessThan(8)
})

it('is given back when key services are closed and dropped', async () => {
  const opened = await growth(async () => {
    for (let i = 0; i < 200; i++) {
      const kms = await Kms.open({ backend: 'inmem' })
      for (let n = 0; n < 20; n++) await kms.createKey({ tenant: 'core', purpose: 'x', alg: 'ed25519' })
      kms.close()
      if (i % 20 === 0) gc()
    }
  })
  expect(opened).toBeLessThan(8)
})
