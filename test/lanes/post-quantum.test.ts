// Known answers of others for ML-DSA, SLH-DSA, ML-KEM and X25519, in every lane.
import { describe, expect, it } from 'vitest'
import * as nobleEd25519 from '../../src/lanes/noble.js'
import * as noble from '../../src/lanes/noble-post-quantum.js'
import {
  type MlDsaSet,
  type MlKemSet,
  mlDsa,
  mlKem,
  type SlhDsaSet,
  slhDsa,
  x25519,
} from '../../src/primitives.js'
import { flipped, ML_KEM, muOf, PQ_LANES, refusal } from '../support/post-quantum.js'
import { hex, json } from '../support/vectors.js'

type Acvp<Group, Test> = { testGroups: (Group & { parameterSet: string; tests: Test[] })[] }

describe.each(PQ_LANES)('ML-DSA in lane %s', lane => {
  type Group = { signatureInterface: string; preHash: string; externalMu: boolean }
  type Test = {
    tcId: number
    pk: string
    message: string
    mu: string
    context: string
    signature: string
    testPassed: boolean
  }

  it('agrees with ACVP, and takes no signature of HashML-DSA for a pure one', () => {
    const { testGroups } = json<Acvp<Group, Test>>('acvp/ML-DSA-sigVer-FIPS204.internalProjection.json.gz')
    let count = 0
    for (const { parameterSet, signatureInterface, preHash, externalMu, tests } of testGroups) {
      const set = parameterSet.toLowerCase() as MlDsaSet
      for (const test of tests) {
        const [publicKey, signature] = [hex(test.pk), hex(test.signature)]
        const imported = mlDsa.importKey(set, publicKey)
        const name = `${set} tcId ${test.tcId}`
        if (signatureInterface === 'internal') {
          // The interface without a prefix has no door but its μ.
          const mu = externalMu ? hex(test.mu) : muOf(publicKey, hex(test.message))
          for (const key of [publicKey, imported]) {
            expect(mlDsa.verifyMu(set, key, mu, signature, { lane }), name).toBe(test.testPassed)
          }
        } else {
          const [message, context] = [hex(test.message), hex(test.context)]
          const expected = test.testPassed && preHash === 'pure'
          for (const key of [publicKey, imported]) {
            expect(mlDsa.verify(set, key, message, signature, { context, lane }), name).toBe(expected)
          }
        }
        count++
      }
    }
    expect(count).toBe(180)
  })

  it.each(['44', '65'] as const)('agrees with Wycheproof about ML-DSA-%s', strength => {
    type Case = { tcId: number; comment: string; msg: string; ctx?: string; sig: string; result: string }
    type File = { numberOfTests: number; testGroups: { publicKey: string; tests: Case[] }[] }
    const file = json<File>(`wycheproof/mldsa_${strength}_verify_test.json.gz`)
    const set = `ml-dsa-${strength}` as const
    let count = 0
    for (const { publicKey, tests } of file.testGroups) {
      for (const { tcId, comment, msg, ctx, sig, result } of tests) {
        const context = hex(ctx ?? '')
        let verdict: boolean | string
        try {
          verdict = mlDsa.verify(set, hex(publicKey), hex(msg), hex(sig), { context, lane })
        } catch (error) {
          const { field } = error as { field: string }
          expect(context.length > 255 ? 'context' : 'publicKey').toBe(field)
          verdict = false
        }
        expect(verdict, `${tcId} ${comment}`).toBe(result === 'valid')
        count++
      }
    }
    expect(count).toBe(file.numberOfTests)
  })
})

describe.each(slhDsa.lanes())('SLH-DSA in lane %s', lane => {
  type Case = { set: SlhDsaSet; publicKey: string; message: string; context: string; signature: string }
  const { cases } = json<{ cases: Case[] }>('openssl/slh-dsa.json.gz')

  it('covers every parameter set', () => {
    expect(cases).toHaveLength(12)
  })

  it.each(cases.map(each => [each.set, each] as const))(
    'accepts what OpenSSL signed with %s',
    (set, each) => {
      const [publicKey, message, signature] = [hex(each.publicKey), hex(each.message), hex(each.signature)]
      const context = hex(each.context)
      const verify = (key = publicKey, text = message, signed = signature, under = context) =>
        slhDsa.verify(set, key, text, signed, { context: under, lane })
      expect(verify()).toBe(true)
      expect(verify(publicKey, message, signature, Uint8Array.of(1))).toBe(false)
      expect(verify(publicKey, flipped(message, 3))).toBe(false)
      expect(verify(flipped(publicKey, 9))).toBe(false)
      // The randomizer, the FORS part and the last tree.
      for (const bit of [0, 8 * 100 + 1, 8 * signature.length - 1]) {
        expect(verify(publicKey, message, flipped(signature, bit)), `bit ${bit}`).toBe(false)
      }
    },
  )
})

describe('the check of ML-KEM public keys', () => {
  // The check of both: native, and the one in JavaScript that takes its place without a binary.
  const verdict = (set: MlKemSet, key: Uint8Array) => {
    const native = refusal(() => mlKem.checkPublicKey(set, key))
    expect(['not refused', 'BadRequest publicKey']).toContain(native)
    for (const lane of mlKem.lanes())
      expect(refusal(() => mlKem.encapsulate(set, key, { lane }))).toBe(native)
    if (key.length % 32 === 0) expect(refusal(() => noble.mlKemCheckPublicKey(key))).toBe(native)
    return native === 'not refused'
  }

  it('agrees with ACVP', () => {
    type Test = { tcId: number; ek: string; testPassed: boolean }
    const name = 'acvp/ML-KEM-encapDecap-FIPS203.internalProjection.json.gz'
    const groups = json<Acvp<{ function: string }, Test>>(name).testGroups
    let count = 0
    for (const { parameterSet, tests } of groups.filter(
      group => group.function === 'encapsulationKeyCheck',
    )) {
      for (const { tcId, ek, testPassed } of tests) {
        expect(verdict(parameterSet.toLowerCase() as MlKemSet, hex(ek)), `tcId ${tcId}`).toBe(testPassed)
        count++
      }
    }
    expect(count).toBe(30)
  })

  it.each(['512', '1024'] as const)('agrees with Wycheproof about ML-KEM-%s', strength => {
    type File = { testGroups: { tests: { tcId: number; ek: string; result: string }[] }[] }
    for (const { tests } of json<File>(`wycheproof/mlkem_${strength}_encaps_test.json.gz`).testGroups) {
      for (const { tcId, ek, result } of tests) {
        const key = hex(ek)
        const wrongLength = key.length !== ML_KEM[`ml-kem-${strength}`].lengths.publicKey
        const valid = wrongLength
          ? refusal(() => mlKem.checkPublicKey(`ml-kem-${strength}`, key)) === 'not refused'
          : verdict(`ml-kem-${strength}`, key)
        expect(valid, `tcId ${tcId}`).toBe(result === 'valid')
      }
    }
  })

  it('draws the line between 3328 and 3329 in both halves of three bytes', () => {
    for (const [triple, valid] of [
      [[0x00, 0x0d, 0x00], true],
      [[0x01, 0x0d, 0x00], false],
      [[0x00, 0x00, 0xd0], true],
      [[0x00, 0x10, 0xd0], false],
    ] as const) {
      for (const at of [0, 1152 - 3]) {
        const key = new Uint8Array(1184)
        key.set(triple, at)
        expect(verdict('ml-kem', key)).toBe(valid)
      }
    }
  })
})

describe.each(PQ_LANES)('ML-KEM in lane %s', lane => {
  it('encapsulates to the keys of ACVP, whose private halves decapsulate', () => {
    type Test = { ek: string; dk: string }
    const name = 'acvp/ML-KEM-encapDecap-FIPS203.internalProjection.json.gz'
    const groups = json<Acvp<{ function: string }, Test>>(name).testGroups
    for (const { parameterSet, tests } of groups.filter(group => group.function === 'encapsulation')) {
      const set = parameterSet.toLowerCase() as keyof typeof ML_KEM
      for (const { ek, dk } of tests) {
        const { ciphertext, sharedSecret } = mlKem.encapsulate(set, hex(ek), { lane })
        expect(ML_KEM[set].decapsulate(ciphertext, hex(dk))).toEqual(sharedSecret)
      }
    }
  })
})

describe('X25519', () => {
  it('refuses of the keys of Wycheproof those whose shared secret is zero, native and in JavaScript', () => {
    type File = { testGroups: { tests: { tcId: number; public: string; shared: string }[] }[] }
    let refused = 0
    for (const { tests } of json<File>('wycheproof/x25519_test.json.gz').testGroups) {
      for (const { tcId, public: key, shared } of tests) {
        const expected = /^0+$/.test(shared) ? 'BadRequest publicKey' : 'not refused'
        expect(
          refusal(() => x25519.checkPublicKey(hex(key))),
          `tcId ${tcId}`,
        ).toBe(expected)
        expect(
          refusal(() => nobleEd25519.x25519CheckPublicKey(hex(key))),
          `tcId ${tcId}`,
        ).toBe(expected)
        refused += expected === 'not refused' ? 0 : 1
      }
    }
    expect(refused).toBeGreaterThan(30)
  })
})
