// Known answers of others, in every strict lane.
import { describe, expect, it } from 'vitest'
import * as noble from '../../src/lanes/noble.js'
import { blake3, ed25519 } from '../../src/primitives.js'
import { STRICT_LANES } from '../support/ed25519.js'
import { hex, json, text } from '../support/vectors.js'

describe.each(STRICT_LANES)('lane %s', lane => {
  const verify = (publicKey: string, message: string, signature: string) => {
    const item = { publicKey: hex(publicKey), message: hex(message), signature: hex(signature) }
    const single = ed25519.verify(item.publicKey, item.message, item.signature, { lane })
    expect([...ed25519.verifyBatch([item], { lane })], 'batch of one').toEqual([single ? 1 : 0])
    return single
  }

  it('accepts RFC 8032, section 7.1', () => {
    type Case = { name: string; publicKey: string; message: string; signature: string }
    for (const { name, publicKey, message, signature } of json<Case[]>('rfc8032/ed25519.json')) {
      expect(verify(publicKey, message, signature), name).toBe(true)
    }
  })

  it('agrees with Wycheproof', () => {
    type Test = { tcId: number; comment: string; msg: string; sig: string; result: string }
    type File = { numberOfTests: number; testGroups: { publicKey: { pk: string }; tests: Test[] }[] }
    const file = json<File>('wycheproof/ed25519_test.json')
    let count = 0
    for (const { publicKey, tests } of file.testGroups) {
      for (const { tcId, comment, msg, sig, result } of tests) {
        expect(verify(publicKey.pk, msg, sig), `${tcId} ${comment}`).toBe(result === 'valid')
        count++
      }
    }
    expect(count).toBe(file.numberOfTests)
  })

  it('accepts of the speccheck cases only the one that is strict', () => {
    type Case = { message: string; pub_key: string; signature: string }
    const verdicts = json<Case[]>('ed25519-speccheck/cases.json').map(({ message, pub_key, signature }) =>
      verify(pub_key, message, signature),
    )
    expect(verdicts).toEqual([...Array(12).keys()].map(i => i === 3))
  })

  it('agrees with ACVP', () => {
    type Test = { tcId: number; q: string; message: string; signature: string; testPassed: boolean }
    type File = { testGroups: { curve: string; preHash: boolean; tests: Test[] }[] }
    const groups = json<File>('acvp/EDDSA-SigVer-1.0.internalProjection.json').testGroups
    for (const { tests } of groups.filter(group => group.curve === 'ED-25519' && !group.preHash)) {
      for (const { tcId, q, message, signature, testPassed } of tests) {
        expect(verify(q, message, signature), `tcId ${tcId}`).toBe(testPassed)
      }
    }
  })

  it('accepts the TESTVECTORS of dalek', () => {
    const lines = text('ed25519-dalek/TESTVECTORS').trim().split('\n')
    // A pure JavaScript verification takes a millisecond: the noble lane takes every fourth.
    for (const line of lane === 'noble' ? lines.filter((_, i) => i % 4 === 0) : lines) {
      const [, publicKey, message, signed] = line.split(':') as [string, string, string, string]
      expect(verify(publicKey, message, signed.slice(0, 128))).toBe(true)
    }
  })
})

describe('BLAKE3', () => {
  it('agrees with the vectors of its authors, native and in JavaScript', () => {
    type File = { cases: { input_len: number; hash: string }[] }
    for (const { input_len, hash } of json<File>('blake3/test_vectors.json').cases) {
      const input = Uint8Array.from({ length: input_len }, (_, i) => i % 251)
      expect(blake3(input)).toEqual(hex(hash.slice(0, 64)))
      expect(noble.blake3(input)).toEqual(hex(hash.slice(0, 64)))
    }
  })

  it('is what everyone gets for "hello world"', () => {
    const digest = hex('d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24')
    expect(blake3(new TextEncoder().encode('hello world'))).toEqual(digest)
  })
})
