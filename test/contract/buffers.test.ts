// Every kind of buffer that JavaScript can hand over.
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { Kms } from '../../src/index.js'
import { requireNative } from '../../src/native.js'
import { blake3, ed25519 } from '../../src/primitives.js'
import { signer } from '../support/ed25519.js'

const { publicKey, sign } = signer()
const message = new TextEncoder().encode('a message')
const signature = sign(message)

function detached(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes)
  structuredClone(copy.buffer, { transfer: [copy.buffer] })
  return copy
}

function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length))
  copy.set(bytes)
  return copy
}

describe('a buffer', () => {
  it('that is a part of a larger one is read at its place', () => {
    const around = Uint8Array.from([9, ...message, 9])
    const part = around.subarray(1, 1 + message.length)
    expect(ed25519.verify(Buffer.from(publicKey), part, Buffer.from(signature))).toBe(true)
  })

  it('that was detached counts as empty', async () => {
    expect(ed25519.verify(publicKey, detached(message), signature)).toBe(false)
    expect(ed25519.verify(publicKey, message, detached(signature))).toBe(false)
    expect(() => ed25519.verify(detached(publicKey), message, signature)).toThrow('must be 32 bytes')
    expect(blake3(detached(message))).toEqual(blake3(new Uint8Array(0)))
    const kms = await Kms.open({ backend: 'inmem' })
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
    const empty = kms.sign(kid, detached(message))
    expect(kms.verify(kid, new Uint8Array(0), empty)).toBe(true)
    kms.close()
  })

  it('that is shared with other threads is read', () => {
    expect(ed25519.verify(shared(publicKey), shared(message), shared(signature))).toBe(true)
  })

  it('of a wrong kind is refused and the process lives', () => {
    const native = requireNative()
    const wrong: unknown[] = [
      undefined,
      null,
      7,
      'x',
      {},
      [],
      new ArrayBuffer(64),
      new DataView(new ArrayBuffer(64)),
      new Float64Array(8),
      new Uint16Array(32),
      Symbol('x'),
      () => 1,
      new Proxy(new Uint8Array(64), {}),
    ]
    for (const [i, value] of wrong.entries()) {
      const bytes = value as Uint8Array
      expect(() => ed25519.verify(publicKey, bytes, signature), `value ${i}`).toThrow('Uint8Array')
      // The addon itself, without the checks above it.
      expect(() => native.ed25519Verify(0, publicKey, bytes, signature)).toThrow()
      expect(() => native.blake3(bytes, bytes)).toThrow()
    }
    expect(() => native.blake3(message, new Uint8Array(31))).toThrow('out')
    expect(ed25519.verify(publicKey, message, signature)).toBe(true)
  })

  it('of 64 MiB is hashed and verified', () => {
    const large = new Uint8Array(64 * 2 ** 20).fill(7)
    expect(ed25519.verify(publicKey, large, sign(large))).toBe(true)
    expect(blake3(large)).toEqual(blake3(shared(large)))
  })

  it('may be changed as soon as an asynchronous call has returned its promise', async () => {
    const items = Array.from({ length: 300 }, () => ({
      publicKey: publicKey.slice(),
      message: message.slice(),
      signature: signature.slice(),
    }))
    const verdicts = ed25519.verifyBatchAsync(items)
    for (const item of items) for (const bytes of Object.values(item)) bytes.fill(0)
    expect([...(await verdicts)]).toEqual(items.map(() => 1))
  })

  it('that another thread changes while it is signed gives a signature over one value', async () => {
    const memory = new SharedArrayBuffer(4096)
    const writer = new Worker(
      `const { workerData } = require('node:worker_threads')
       const view = new Uint8Array(workerData)
       for (;;) { view.fill(0); view.fill(255) }`,
      { eval: true, workerData: memory },
    )
    const kms = await Kms.open({ backend: 'inmem' })
    const { kid, publicKey } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
    await sleep(50)
    const view = new Uint8Array(memory)
    const signatures = Array.from({ length: 2000 }, () => kms.sign(kid, view))
    await writer.terminate()
    kms.close()
    // A message read twice, differently, would give R for one value and S for another: two signatures with one
    // R but different S would reveal the key.
    const byR = new Map<string, string>()
    for (const signed of signatures) {
      const [r, s] = [signed.subarray(0, 32), signed.subarray(32)].map(half =>
        Buffer.from(half).toString('hex'),
      )
      expect(byR.get(r as string) ?? s).toBe(s)
      byR.set(r as string, s as string)
    }
    expect(publicKey).toHaveLength(32)
  })
})

describe('an argument', () => {
  it('with a throwing getter throws what the getter threw', () => {
    const item = {
      publicKey,
      message,
      get signature(): Uint8Array {
        throw new RangeError('from the getter')
      },
    }
    expect(() => ed25519.verifyBatch([item])).toThrow('from the getter')
  })

  it('that calls back into the library is served', () => {
    const item = {
      publicKey,
      message,
      get signature() {
        expect(ed25519.verify(publicKey, message, signature)).toBe(true)
        return signature
      },
    }
    expect([...ed25519.verifyBatch([item])]).toEqual([1])
  })

  it('that changes between two reads cannot get past the checks', () => {
    let reads = 0
    const item = {
      publicKey,
      message,
      get signature() {
        return reads++ === 0 ? signature : new Uint8Array(1000)
      },
    }
    expect(ed25519.verifyBatch([item, { publicKey, message, signature }])).toHaveLength(2)
    let lengths = 0
    const growing = {
      publicKey,
      signature,
      get message() {
        return lengths++ === 0 ? message : new Uint8Array(1000)
      },
    }
    expect(() => ed25519.verifyBatch([growing])).not.toThrow(TypeError)
  })
})
