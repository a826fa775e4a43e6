// The shape of the post-quantum verbs: what is refused, by which name, and what is false.
import { describe, expect, it } from 'vitest'
import {
  type MlDsaSet,
  type MlKemSet,
  mlDsa,
  mlKem,
  type PostQuantumLane,
  type SlhDsaSet,
  slhDsa,
  x25519,
} from '../../src/primitives.js'
import {
  ML_DSA_SETS,
  ML_KEM,
  ML_KEM_SETS,
  mlDsaSigner,
  muOf,
  PQ_LANES,
  prefix,
  refusal,
  SLH_DSA_FAST,
} from '../support/post-quantum.js'

const message: Uint8Array = new TextEncoder().encode('a message')
const context: Uint8Array = Uint8Array.of(1, 2, 3)
const none: Uint8Array = new Uint8Array(0)
const bad = 'x' as unknown as Uint8Array
const signers = ML_DSA_SETS.map(set => mlDsaSigner(set))
const signed = signers.map(signer => ({ ...signer, signature: signer.sign(message, context) }))

describe.each(PQ_LANES)('mlDsa in lane %s', lane => {
  it.each(signed)('tells valid from invalid with $set', ({ set, publicKey, signature }) => {
    const options = { context, lane }
    for (const key of [publicKey, mlDsa.importKey(set, publicKey), Buffer.from(publicKey)]) {
      expect(mlDsa.verify(set, key, message, signature, options)).toBe(true)
      expect(mlDsa.verify(set, key, message.slice(1), signature, options)).toBe(false)
      expect(mlDsa.verify(set, key, message, signature, { lane })).toBe(false)
      expect(mlDsa.verifyMu(set, key, muOf(publicKey, prefix(context), message), signature, { lane })).toBe(
        true,
      )
      expect(mlDsa.verifyMu(set, key, new Uint8Array(64), signature, { lane })).toBe(false)
    }
  })

  it.each(signed)(
    'finds a signature of a wrong length invalid with $set',
    ({ set, publicKey, signature }) => {
      for (const wrong of [
        none,
        signature.slice(1),
        Uint8Array.from([...signature, 0]),
        new Uint8Array(1e6),
      ]) {
        expect(mlDsa.verify(set, publicKey, message, wrong, { context, lane })).toBe(false)
        expect(mlDsa.verifyMu(set, publicKey, new Uint8Array(64), wrong, { lane })).toBe(false)
      }
    },
  )

  it.each(signed)(
    'refuses what it cannot check with $set, naming the field',
    ({ set, publicKey, signature }) => {
      const verify = (key: Uint8Array, text = message, signature_ = signature, under = context) =>
        refusal(() => mlDsa.verify(set, key, text, signature_, { context: under, lane }))
      for (const key of [none, publicKey.slice(1), Uint8Array.from([...publicKey, 0]), bad]) {
        expect(verify(key)).toBe('BadRequest publicKey')
        // The key is at fault even where the signature is too.
        expect(verify(key, message, none)).toBe('BadRequest publicKey')
        expect(refusal(() => mlDsa.verifyMu(set, key, new Uint8Array(64), signature, { lane }))).toBe(
          'BadRequest publicKey',
        )
        expect(refusal(() => mlDsa.importKey(set, key))).toBe('BadRequest publicKey')
      }
      expect(verify(publicKey, bad)).toBe('BadRequest message')
      expect(verify(publicKey, message, bad)).toBe('BadRequest signature')
      expect(verify(publicKey, message, signature, bad)).toBe('BadRequest context')
      expect(verify(publicKey, message, signature, new Uint8Array(256))).toBe('BadRequest context')
      expect(verify(publicKey, message, signature, new Uint8Array(255))).toBe('not refused')
      for (const mu of [none, new Uint8Array(63), new Uint8Array(65), bad]) {
        expect(refusal(() => mlDsa.verifyMu(set, publicKey, mu, signature, { lane }))).toBe('BadRequest mu')
      }
    },
  )

  it('does not take a key of another set', () => {
    for (const { set, publicKey, signature } of signed) {
      const key = mlDsa.importKey(set, publicKey)
      for (const other of ML_DSA_SETS.filter(each => each !== set)) {
        for (const wrong of [key, publicKey]) {
          expect(refusal(() => mlDsa.verify(other, wrong, message, signature, { lane }))).toBe(
            'BadRequest publicKey',
          )
        }
      }
    }
  })

  it('signs and verifies under the longest context', () => {
    const longest = new Uint8Array(255).fill(7)
    const [signer] = signers as [(typeof signers)[number]]
    const signature = signer.sign(message, longest)
    const verify = (under: Uint8Array) =>
      mlDsa.verify(signer.set, signer.publicKey, message, signature, { context: under, lane })
    expect([longest, longest.slice(1), none].map(verify)).toEqual([true, false, false])
  })
})

describe('mlDsa', () => {
  it('means ml-dsa-65 by ml-dsa', () => {
    const { publicKey, signature } = signed[1] as (typeof signed)[number]
    expect(mlDsa.verify('ml-dsa', publicKey, message, signature, { context })).toBe(true)
    const key = mlDsa.importKey('ml-dsa', publicKey)
    expect(key.set).toBe('ml-dsa-65')
    expect(mlDsa.verify('ml-dsa-65', key, message, signature, { context })).toBe(true)
  })

  it('keeps its own copy of an imported key', () => {
    const { set, publicKey, signature } = signed[0] as (typeof signed)[number]
    const bytes = publicKey.slice()
    const key = mlDsa.importKey(set, bytes)
    bytes.fill(0)
    key.bytes.fill(0)
    expect(key.bytes).toEqual(publicKey)
    for (const lane of PQ_LANES) {
      expect(mlDsa.verify(set, key, message, signature, { context, lane })).toBe(true)
    }
  })

  it('refuses what only looks like an imported key', () => {
    const { set, publicKey, signature } = signed[0] as (typeof signed)[number]
    const fake = Object.create(Object.getPrototypeOf(mlDsa.importKey(set, publicKey)))
    expect(refusal(() => mlDsa.verify(set, fake, message, signature))).toBe('BadRequest publicKey')
  })

  it('verifies a message of 64 MiB', () => {
    const { set, publicKey } = signers[0] as (typeof signers)[number]
    const large = new Uint8Array(64 * 2 ** 20).fill(7)
    expect(mlDsa.verify(set, publicKey, large, new Uint8Array(2420))).toBe(false)
    expect(mlDsa.verify(set, publicKey, large, none)).toBe(false)
  })
})

describe.each(slhDsa.lanes())('slhDsa in lane %s', lane => {
  const set = 'slh-dsa-sha2-128f'
  const { publicKey, secretKey } = SLH_DSA_FAST[set].keygen(new Uint8Array(48).fill(1))
  const signature: Uint8Array = SLH_DSA_FAST[set].sign(message, secretKey, {
    context: Uint8Array.from(context),
  })

  it('tells valid from invalid', () => {
    expect(slhDsa.verify(set, publicKey, message, signature, { context, lane })).toBe(true)
    expect(slhDsa.verify(set, publicKey, message, signature, { lane })).toBe(false)
    for (const wrong of [none, signature.slice(1), Uint8Array.from([...signature, 0])]) {
      expect(slhDsa.verify(set, publicKey, message, wrong, { context, lane })).toBe(false)
    }
    // The same key bytes under another set, whose signatures are of another or of the same length.
    for (const other of ['slh-dsa', 'slh-dsa-sha2-128s', 'slh-dsa-shake-128f'] as const) {
      expect(slhDsa.verify(other, publicKey, message, signature, { context, lane })).toBe(false)
    }
  })

  it('refuses what it cannot check, naming the field', () => {
    const verify = (key: Uint8Array, text = message, signature_ = signature, under = context) =>
      refusal(() => slhDsa.verify(set, key, text, signature_, { context: under, lane }))
    for (const key of [none, publicKey.slice(1), new Uint8Array(48), bad]) {
      expect(verify(key)).toBe('BadRequest publicKey')
    }
    expect(verify(publicKey, bad)).toBe('BadRequest message')
    expect(verify(publicKey, message, bad)).toBe('BadRequest signature')
    expect(verify(publicKey, message, signature, bad)).toBe('BadRequest context')
    expect(verify(publicKey, message, signature, new Uint8Array(256))).toBe('BadRequest context')
  })
})

describe('the asynchronous forms', () => {
  const large = new Uint8Array(2 ** 17).fill(5)

  it.each(PQ_LANES)(
    'of ML-DSA give the same verdicts in lane %s, of short messages and long ones',
    async lane => {
      for (const { set, publicKey, sign } of signers) {
        for (const text of [message, large]) {
          const signature = sign(text, context)
          for (const key of [publicKey, mlDsa.importKey(set, publicKey)]) {
            const verify = (signed_: Uint8Array, under: Uint8Array) =>
              mlDsa.verifyAsync(set, key, text, signed_, { context: under, lane })
            expect(await verify(signature, context)).toBe(true)
            expect(await verify(signature, none)).toBe(false)
            expect(await verify(signature.slice(1), context)).toBe(false)
          }
        }
      }
    },
  )

  it.each(slhDsa.lanes())('of SLH-DSA give the same verdicts in lane %s', async lane => {
    const set = 'slh-dsa-sha2-128f'
    const { publicKey, secretKey } = SLH_DSA_FAST[set].keygen(new Uint8Array(48).fill(1))
    for (const text of [message, large]) {
      const signature: Uint8Array = SLH_DSA_FAST[set].sign(text, secretKey)
      expect(await slhDsa.verifyAsync(set, publicKey, text, signature, { lane })).toBe(true)
      expect(await slhDsa.verifyAsync(set, publicKey, text, signature, { context, lane })).toBe(false)
      expect(await slhDsa.verifyAsync(set, publicKey, text, signature.slice(1), { lane })).toBe(false)
    }
  })

  it('reject what they cannot check, naming the field', async () => {
    const [{ set, publicKey, signature }] = signed as [(typeof signed)[number]]
    const lattice = (key: Uint8Array, text: Uint8Array, under: Uint8Array) =>
      mlDsa.verifyAsync(set, key, text, signature, { context: under })
    await expect(lattice(none, large, none)).rejects.toMatchObject({ code: 'BadRequest', field: 'publicKey' })
    await expect(lattice(publicKey, bad, none)).rejects.toMatchObject({ field: 'message' })
    await expect(lattice(publicKey, large, new Uint8Array(256))).rejects.toMatchObject({ field: 'context' })
    const hashed = new Uint8Array(7856)
    await expect(slhDsa.verifyAsync('slh-dsa', none, message, hashed)).rejects.toMatchObject({
      code: 'BadRequest',
      field: 'publicKey',
    })
    await expect(slhDsa.verifyAsync('x' as SlhDsaSet, none, message, hashed)).rejects.toMatchObject({
      field: 'set',
    })
  })
})

describe('mlKem', () => {
  it.each(ML_KEM_SETS)('refuses keys that are not of %s', set => {
    const { publicKey } = ML_KEM[set].keygen()
    mlKem.checkPublicKey(set, publicKey)
    const reduced = publicKey.slice()
    reduced.fill(0xff, 0, 3)
    for (const key of [none, publicKey.slice(1), Uint8Array.from([...publicKey, 0]), reduced, bad]) {
      expect(refusal(() => mlKem.checkPublicKey(set, key))).toBe('BadRequest publicKey')
      for (const lane of PQ_LANES) {
        expect(refusal(() => mlKem.encapsulate(set, key, { lane }))).toBe('BadRequest publicKey')
      }
      expect(refusal(() => mlKem.importKey(set, key))).toBe('BadRequest publicKey')
    }
  })

  it('means ml-kem-768 by ml-kem, and gives buffers of its own', () => {
    const { publicKey, secretKey } = ML_KEM['ml-kem-768'].keygen()
    for (const lane of [undefined, ...PQ_LANES]) {
      const { ciphertext, sharedSecret } = mlKem.encapsulate('ml-kem', publicKey, lane && { lane })
      expect(ciphertext).toHaveLength(1088)
      expect(ciphertext.buffer.byteLength).toBe(1088)
      expect(sharedSecret.buffer.byteLength).toBe(32)
      expect(ML_KEM['ml-kem-768'].decapsulate(ciphertext, secretKey)).toEqual(sharedSecret)
    }
  })

  it.each(ML_KEM_SETS)('takes an imported key of %s wherever it takes a key of that set', set => {
    const { publicKey, secretKey } = ML_KEM[set].keygen()
    const encoded = publicKey.slice()
    const key = mlKem.importKey(set, encoded)
    encoded.fill(0)
    key.bytes.fill(0)
    expect(key.bytes).toEqual(publicKey)
    expect(key.set).toBe(set)
    for (const lane of [undefined, ...PQ_LANES]) {
      const made = [1, 2].map(() => mlKem.encapsulate(set, key, lane && { lane }))
      for (const { ciphertext, sharedSecret } of made) {
        expect(ML_KEM[set].decapsulate(ciphertext, secretKey)).toEqual(sharedSecret)
      }
      expect(made[0]?.sharedSecret).not.toEqual(made[1]?.sharedSecret)
    }
    const other = set === 'ml-kem-512' ? 'ml-kem-768' : 'ml-kem-512'
    expect(refusal(() => mlKem.encapsulate(other, key))).toBe('BadRequest publicKey')
    const copy = Object.create(Object.getPrototypeOf(key), Object.getOwnPropertyDescriptors(key))
    expect(refusal(() => mlKem.encapsulate(set, copy))).toBe('BadRequest publicKey')
  })
})

describe('x25519', () => {
  it('refuses what is not a key of large order', () => {
    x25519.checkPublicKey(new Uint8Array(32).fill(9))
    for (const key of [
      none,
      new Uint8Array(31).fill(9),
      new Uint8Array(33).fill(9),
      new Uint8Array(32),
      bad,
    ]) {
      expect(refusal(() => x25519.checkPublicKey(key))).toBe('BadRequest publicKey')
    }
  })
})

describe('names', () => {
  it('of lanes are these, and others are refused', () => {
    for (const lanes of [mlDsa.lanes(), mlKem.lanes()])
      expect([...lanes].sort()).toEqual([...PQ_LANES].sort())
    expect(slhDsa.lanes()).toEqual(['auto', 'rustcrypto', 'noble'])
    for (const name of ['dalek', 'AWS-LC', '', null, 7]) {
      const lane = name as PostQuantumLane
      const [{ set, publicKey, signature }] = signed as [(typeof signed)[number]]
      const calls = [
        () => mlDsa.verify(set, publicKey, message, signature, { lane }),
        () => mlDsa.verifyMu(set, publicKey, new Uint8Array(64), signature, { lane }),
        () => slhDsa.verify('slh-dsa', new Uint8Array(32), message, signature, { lane: lane as 'noble' }),
        () => mlKem.encapsulate('ml-kem', new Uint8Array(1184), { lane }),
      ]
      for (const call of calls) expect(refusal(call)).toBe('BadRequest lane')
    }
    const lane = 'aws-lc' as 'noble'
    expect(refusal(() => slhDsa.verify('slh-dsa', new Uint8Array(32), message, none, { lane }))).toBe(
      'BadRequest lane',
    )
  })

  it('of sets are refused when there is no such set', () => {
    for (const name of ['ml-dsa-66', 'ML-DSA-65', 'ed25519', 'toString', '__proto__', '', undefined, {}]) {
      const calls = [
        () => mlDsa.verify(name as MlDsaSet, none, message, none),
        () => mlDsa.verifyMu(name as MlDsaSet, none, message, none),
        () => mlDsa.importKey(name as MlDsaSet, none),
        () => slhDsa.verify(name as SlhDsaSet, none, message, none),
        () => mlKem.checkPublicKey(name as MlKemSet, none),
        () => mlKem.encapsulate(name as MlKemSet, none),
        () => mlKem.importKey(name as MlKemSet, none),
      ]
      for (const call of calls) expect(refusal(call)).toBe('BadRequest set')
    }
  })
})
