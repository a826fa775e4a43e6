// Every kind of buffer that JavaScript can hand over.
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { type CallContext, Kms, KmsError } from '../../src/index.js'
import { requireNative } from '../../src/native.js'
import { blake3, ed25519, mlDsa, mlKem, slhDsa, x25519 } from '../../src/primitives.js'
import { signer } from '../support/ed25519.js'
import { ML_KEM, mlDsaSigner, PQ_LANES, SLH_DSA_FAST } from '../support/post-quantum.js'

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

/** An `ArrayBuffer` that can be resized up to `most`; the library of this project's target does not know them. */
function resizable(length: number, most: number) {
  const make = ArrayBuffer as unknown as new (
    length: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & { resize(length: number): void }
  return new make(length, { maxByteLength: most })
}

describe('a buffer', () => {
  it('that is a part of a larger one is read at its place', () => {
    const around = Uint8Array.from([9, ...message, 9])
    const part = around.subarray(1, 1 + message.length)
    expect(ed25519.verify(Buffer.from(publicKey), part, Buffer.from(signature))).toBe(true)
  })

  it('that was detached is refused', async () => {
    const kms = await Kms.open({ backend: 'inmem' })
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
    const calls = [
      () => ed25519.verify(publicKey, detached(message), signature),
      () => ed25519.verify(publicKey, message, detached(signature)),
      () => ed25519.verify(detached(publicKey), message, signature),
      () => ed25519.verifyBatch([{ publicKey, message: detached(message), signature }]),
      () => blake3(detached(message)),
      () => kms.sign(kid, detached(message)),
      () => kms.verifyBatch([{ kid, message: detached(message), signature }]),
    ]
    for (const call of calls) expect(call).toThrow('its buffer was detached')
    // The addon itself reads it as empty.
    const hash = new Uint8Array(32)
    requireNative().blake3(detached(message), hash)
    expect(hash).toEqual(blake3(new Uint8Array(0)))
    kms.close()
  })

  // In a function that has seen resizable buffers, the compiler of Node 20 reads the length of a detached one as it was.
  it('that was detached is refused in compiled code too', async () => {
    const kms = await Kms.open({ backend: 'inmem' })
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
    const kinds = [
      (length: number) => new Uint8Array(length),
      (length: number) => Buffer.alloc(length),
      (length: number) => shared(new Uint8Array(length)),
      (length: number) => new Uint8Array(resizable(length, 64)),
      (length: number) => new Uint8Array(new ArrayBuffer(64), 1, length),
    ].map(make => [make(32), make(0)] as const)
    for (let i = 0; i < 60_000; i++) {
      const [some, none] = kinds[i % 5] as [Uint8Array, Uint8Array]
      blake3(i % 7 === 0 ? none : some)
      if (i % 20 === 0) kms.verifyBatch([{ kid, message: some, signature: some }])
      if (i % 600 !== 0) continue
      expect(() => blake3(detached(message))).toThrow('its buffer was detached')
      expect(() => kms.sign(kid, detached(message))).toThrow('its buffer was detached')
      expect(() => kms.verifyBatch([{ kid, message: detached(message), signature }])).toThrow('was detached')
      expect(() => kms.verifyBatch([{ kid, message, signature: detached(signature) }])).toThrow(
        'was detached',
      )
    }
    kms.close()
  })

  it('that was shrunk below its view is refused, and one that grew is read at its new length', async () => {
    const kms = await Kms.open({ backend: 'inmem' })
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
    const buffer = resizable(8, 16)
    const [tracking, fixed] = [new Uint8Array(buffer), new Uint8Array(buffer, 4, 4)]
    buffer.resize(16)
    expect(kms.verify(kid, new Uint8Array(16), kms.sign(kid, tracking))).toBe(true)
    buffer.resize(6)
    expect(() => kms.sign(kid, fixed)).toThrow('its buffer was detached')
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
    expect(() => ed25519.verifyBatch([growing])).toThrow('changed while it was read')
    let gone = 0
    const vanishing = {
      publicKey,
      signature,
      get message() {
        return gone++ === 0 ? message : (null as unknown as Uint8Array)
      },
    }
    expect(() => ed25519.verifyBatch([vanishing])).toThrow('changed while it was read')
  })

  it('that empties the array it is in is refused', () => {
    const items: object[] = [
      { publicKey, message, signature },
      {
        publicKey,
        get message() {
          items.length = 1
          return message
        },
        signature,
      },
    ]
    expect(() => ed25519.verifyBatch(items as never)).toThrow(KmsError)
  })

  it('whose getter takes the body away cannot reach its memory', async () => {
    const kms = await Kms.open({ backend: 'inmem' })
    for (const shrink of [true, false]) {
      const call = (act: (body: Uint8Array, context: CallContext) => unknown) => {
        const buffer = resizable(2 ** 20, 2 ** 20)
        const context = {
          requestId: 'r',
          get actor() {
            if (shrink) buffer.resize(0)
            else structuredClone(buffer, { transfer: [buffer] })
            return 'test'
          },
        }
        return act(new Uint8Array(buffer).fill(0x20), context)
      }
      expect(() => call((body, context) => kms.dispatch('create', null, body, context))).toThrow('JSON')
      const task = call((body, context) => kms.dispatchAsync('create', null, body, context))
      await expect(task).rejects.toThrow('JSON')
    }
    kms.close()
  })

  it('that only looks like a key or an array of offsets is refused', () => {
    const fakeKey = Object.create(Object.getPrototypeOf(ed25519.importKey(publicKey)))
    const packed = { publicKeys: publicKey, signatures: signature, messages: message }
    const offsets = Uint32Array.of(0, message.length)
    const calls = [
      () => ed25519.verify(fakeKey, message, signature),
      () => ed25519.verifyBatch([{ publicKey: fakeKey, message, signature }]),
      () => ed25519.verifyBatch({ ...packed, offsets: Object.create(Uint32Array.prototype) }),
      () => ed25519.verifyBatch({ ...packed, offsets: new Proxy(offsets, {}) }),
      () => ed25519.verifyBatch({ ...packed, offsets: new Uint32Array(0) }),
    ]
    for (const call of calls) {
      expect(call).toThrow(KmsError)
      expect(call).toThrow(/must be/)
    }
  })

  it('that is both input and result does not change the verdicts, in any lane', () => {
    for (const lane of ed25519.lanes()) {
      const signatures = Buffer.concat([signature, signature])
      const packed = {
        publicKeys: Buffer.concat([publicKey, publicKey]),
        signatures,
        messages: Buffer.concat([message, message]),
        offsets: Uint32Array.of(0, message.length, 2 * message.length),
        out: signatures.subarray(64, 66),
      }
      expect([...ed25519.verifyBatch(packed, { lane })], lane).toEqual([1, 1])
    }
  })
})

describe('a buffer of a post-quantum verb', () => {
  const { set, publicKey: lattice, sign: signLattice } = mlDsaSigner('ml-dsa-44')
  const context = Uint8Array.of(5)
  const signed = signLattice(message, context)
  const { publicKey: kem, secretKey } = ML_KEM['ml-kem-512'].keygen()
  const mu = new Uint8Array(64)
  const hashed = new Uint8Array(7856)

  it('may be a part of a larger one, shared with other threads, or a Buffer', () => {
    const part = (bytes: Uint8Array) => Uint8Array.from([9, ...bytes, 9]).subarray(1, 1 + bytes.length)
    for (const lane of PQ_LANES) {
      for (const as of [part, shared, Buffer.from]) {
        const [key, text, under, signature] = [lattice, message, context, signed].map(each => as(each)) as [
          Uint8Array,
          Uint8Array,
          Uint8Array,
          Uint8Array,
        ]
        const options = { context: under, lane }
        expect(mlDsa.verify(set, key, text, signature, options)).toBe(true)
        expect(mlDsa.verify(set, mlDsa.importKey(set, key), text, signature, options)).toBe(true)
        const { ciphertext, sharedSecret } = mlKem.encapsulate('ml-kem-512', as(kem), { lane })
        expect(ML_KEM['ml-kem-512'].decapsulate(ciphertext, secretKey)).toEqual(sharedSecret)
        // Nothing that was given is written to.
        expect([key, text, under, signature].map(each => Buffer.from(each).toString('hex'))).toEqual(
          [lattice, message, context, signed].map(each => Buffer.from(each).toString('hex')),
        )
      }
    }
  })

  it('that was detached is refused', () => {
    const key = mlDsa.importKey(set, lattice)
    const calls = [
      () => mlDsa.verify(set, detached(lattice), message, signed),
      () => mlDsa.verify(set, key, detached(message), signed),
      () => mlDsa.verify(set, lattice, message, detached(signed)),
      () => mlDsa.verify(set, lattice, message, signed, { context: detached(context) }),
      () => mlDsa.verifyMu(set, lattice, detached(mu), signed),
      () => mlDsa.verifyMu(set, lattice, mu, detached(signed)),
      () => mlDsa.importKey(set, detached(lattice)),
      () => slhDsa.verify('slh-dsa', detached(context), message, hashed),
      () => slhDsa.verify('slh-dsa', new Uint8Array(32), detached(message), hashed),
      () => mlKem.checkPublicKey('ml-kem-512', detached(kem)),
      () => mlKem.encapsulate('ml-kem-512', detached(kem)),
      () => x25519.checkPublicKey(detached(kem)),
    ]
    for (const call of calls) expect(call).toThrow('its buffer was detached')
  })

  it('that a getter of the options takes away is refused, not read as empty', () => {
    // Valid of the empty message: what a detached message would read as.
    const nothing = new Uint8Array(0)
    const taking = (bytes: Uint8Array<ArrayBuffer>) => ({
      get lane() {
        structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
        return undefined
      },
    })
    const calls = [
      (taken: Uint8Array<ArrayBuffer>) =>
        mlDsa.verify(set, lattice, taken, signLattice(nothing), taking(taken) as object),
      (taken: Uint8Array<ArrayBuffer>) =>
        ed25519.verify(publicKey, taken, sign(nothing), taking(taken) as object),
      (taken: Uint8Array<ArrayBuffer>) =>
        slhDsa.verify('slh-dsa', new Uint8Array(32), taken, hashed, taking(taken) as object),
    ]
    for (const call of calls) expect(() => call(message.slice())).toThrow('its buffer was detached')
  })

  it('may be changed as soon as an asynchronous call has returned its promise', async () => {
    const large = new Uint8Array(2 ** 20).fill(3)
    const [key, under, signature] = [lattice.slice(), context.slice(), signLattice(large, context)]
    const verdict = mlDsa.verifyAsync(set, key, large, signature, { context: under })
    for (const bytes of [key, large, under, signature]) bytes.fill(0)
    expect(await verdict).toBe(true)

    const scheme = SLH_DSA_FAST['slh-dsa-sha2-128f']
    const pair = scheme.keygen(new Uint8Array(48))
    const given = [pair.publicKey, message.slice(), scheme.sign(message, pair.secretKey)] as const
    const promise = slhDsa.verifyAsync('slh-dsa-sha2-128f', ...given)
    for (const bytes of given) bytes.fill(0)
    expect(await promise).toBe(true)
  })

  it('of a wrong kind is refused by the addon itself, and the process lives', () => {
    const native = requireNative()
    const wrong: unknown[] = [undefined, null, 7, 'x', {}, [], new ArrayBuffer(64), new Float64Array(8)]
    const key = new native.MlDsaPublicKey(set, lattice)
    const empty = new Uint8Array(0)
    for (const value of wrong) {
      const bytes = value as Uint8Array
      const calls = [
        () => native.mlDsaVerify(set, 0, bytes, message, empty, signed),
        () => native.mlDsaVerify(set, 0, lattice, bytes, empty, signed),
        () => native.mlDsaVerify(set, 0, lattice, message, bytes, signed),
        () => native.mlDsaVerify(set, 0, lattice, message, empty, bytes),
        () => native.mlDsaVerifyMu(set, 0, lattice, bytes, signed),
        () => key.verify(0, bytes, empty, signed),
        () => key.verifyMu(0, bytes, signed),
        () => new native.MlDsaPublicKey(set, bytes),
        () => native.mlDsaVerifyAsync(set, 0, lattice, bytes, empty, signed),
        () => native.slhDsaVerify('slh-dsa-sha2-128s', bytes, message, empty, hashed),
        () => native.slhDsaVerifyAsync('slh-dsa-sha2-128s', bytes, message, empty, hashed),
        () => native.mlKemCheckPublicKey('ml-kem-512', bytes),
        () => native.mlKemEncapsulate('ml-kem-512', 0, kem, bytes, bytes),
        () => native.x25519CheckPublicKey(bytes),
      ]
      for (const call of calls) expect(call).toThrow()
    }
    expect(key.verify(0, message, context, signed)).toBe(true)
  })

  it('has its size checked by the addon itself', () => {
    const native = requireNative()
    const empty = new Uint8Array(0)
    const large = new Uint8Array(2 ** 20)
    for (const bytes of [empty, large]) {
      expect(native.mlDsaVerify(set, 0, lattice, message, context, bytes)).toBe(false)
      expect(native.mlDsaVerifyMu(set, 0, lattice, mu, bytes)).toBe(false)
      expect(native.slhDsaVerify('slh-dsa-sha2-128s', new Uint8Array(32), message, empty, bytes)).toBe(false)
      const refused: [() => unknown, string][] = [
        [() => native.mlDsaVerify(set, 0, bytes, message, empty, signed), 'publicKey'],
        [() => native.mlDsaVerifyMu(set, 0, lattice, bytes, signed), 'mu'],
        [() => new native.MlDsaPublicKey(set, bytes), 'publicKey'],
        [() => native.mlDsaVerifyAsync(set, 0, bytes, message, empty, signed), 'publicKey'],
        [() => native.slhDsaVerify('slh-dsa-sha2-128s', bytes, message, empty, hashed), 'publicKey'],
        [() => native.slhDsaVerifyAsync('slh-dsa-sha2-128s', bytes, message, empty, hashed), 'publicKey'],
        [() => native.mlKemCheckPublicKey('ml-kem-512', bytes), 'publicKey'],
        [() => native.mlKemEncapsulate('ml-kem-512', 0, bytes, new Uint8Array(768), mu), 'publicKey'],
        [() => native.mlKemEncapsulate('ml-kem-512', 0, kem, bytes, new Uint8Array(32)), 'out'],
        [() => native.x25519CheckPublicKey(bytes), 'publicKey'],
      ]
      for (const [call, field] of refused) expect(call).toThrow(`"field":"${field}"`)
    }
    expect(() => native.mlDsaVerify(set, 0, lattice, message, large, signed)).toThrow('"field":"context"')
    expect(() => native.mlDsaVerifyAsync(set, 0, lattice, message, large, signed)).toThrow(
      '"field":"context"',
    )
    expect(() => native.mlDsaVerify(set, 99, lattice, message, empty, signed)).toThrow('"field":"lane"')
    expect(() => native.mlDsaVerify('ml-dsa', 0, lattice, message, empty, signed)).toThrow('"field":"set"')
  })

  it('of the result that is also the key does not change the secret', () => {
    const native = requireNative()
    const buffer = new Uint8Array(800)
    buffer.set(kem)
    const secret = new Uint8Array(32)
    native.mlKemEncapsulate('ml-kem-512', 0, buffer, buffer.subarray(0, 768), secret)
    expect(ML_KEM['ml-kem-512'].decapsulate(buffer.slice(0, 768), secretKey)).toEqual(secret)
  })
})
