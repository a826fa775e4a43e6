import { describe, expect, it } from 'vitest'
import { blake3, ed25519, KmsError, type VerifyLane } from '../src/primitives.js'
import { STRICT_LANES, signer, TORSION } from './support/ed25519.js'

const { publicKey, sign } = signer()
const message = new TextEncoder().encode('a message')
const signature = sign(message)

function refusal(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    expect(error).toBeInstanceOf(KmsError)
    const { code, field } = error as KmsError
    return `${code} ${field}`
  }
  return 'not refused'
}

describe.each([...STRICT_LANES, 'dalek-batch'] as VerifyLane[])('ed25519 in lane %s', lane => {
  it('tells valid from invalid', () => {
    expect(ed25519.verify(publicKey, message, signature, { lane })).toBe(true)
    expect(ed25519.verify(publicKey, message.slice(1), signature, { lane })).toBe(false)
  })

  it('takes an imported key wherever a public key goes', () => {
    const key = ed25519.importKey(publicKey)
    expect(ed25519.verify(key, message, signature, { lane })).toBe(true)
    expect(ed25519.verify(key, message.slice(1), signature, { lane })).toBe(false)
    const items = [
      { publicKey: key, message, signature },
      { publicKey, message, signature },
    ]
    expect([...ed25519.verifyBatch(items, { lane })]).toEqual([1, 1])
  })

  it('verifies nothing under a key that does not decode', () => {
    const keys = [...TORSION, Uint8Array.from({ length: 32 }, () => 0xff), new Uint8Array(32).fill(2)]
    for (const key of keys) {
      expect(ed25519.verify(key, message, signature, { lane })).toBe(false)
      expect([...ed25519.verifyBatch([{ publicKey: key, message, signature }], { lane })]).toEqual([0])
    }
  })

  it('finds a signature of a wrong length invalid', () => {
    for (const length of [0, 63, 65]) {
      const wrong = new Uint8Array(length)
      expect(ed25519.verify(publicKey, message, wrong, { lane })).toBe(false)
      expect([...ed25519.verifyBatch([{ publicKey, message, signature: wrong }], { lane })]).toEqual([0])
    }
  })

  it('refuses wrong types and key lengths, naming the field', () => {
    const options = { lane }
    const bad = 'x' as unknown as Uint8Array
    expect(refusal(() => ed25519.verify(bad, message, signature, options))).toBe('BadRequest publicKey')
    expect(refusal(() => ed25519.verify(new Uint8Array(31), message, signature, options))).toBe(
      'BadRequest publicKey',
    )
    expect(refusal(() => ed25519.verify(publicKey, bad, signature, options))).toBe('BadRequest message')
    expect(refusal(() => ed25519.verify(publicKey, message, bad, options))).toBe('BadRequest signature')
    const items = (item: object) => [{ publicKey, message, signature }, item as never]
    expect(refusal(() => ed25519.verifyBatch(items({ publicKey, message }), options))).toBe(
      'BadRequest items[1].signature',
    )
    expect(refusal(() => ed25519.verifyBatch(items({ message, signature }), options))).toBe(
      'BadRequest items[1].publicKey',
    )
    expect(refusal(() => ed25519.verifyBatch([null as never], options))).toBe('BadRequest items[0].message')
    expect(refusal(() => ed25519.verifyBatch(undefined as never, options))).toBe('BadRequest items')
  })

  it('refuses packed buffers that do not fit each other', () => {
    const packed = {
      publicKeys: publicKey,
      signatures: signature,
      messages: message,
      offsets: Uint32Array.of(0, message.length),
    }
    const faults: [object, string][] = [
      [{ publicKeys: publicKey.slice(1) }, 'publicKeys'],
      [{ signatures: signature.slice(1) }, 'signatures'],
      [{ offsets: Uint32Array.of(0, message.length + 1) }, 'offsets'],
      [{ offsets: Uint32Array.of(1, message.length) }, 'offsets'],
      [{ offsets: [0, message.length] }, 'offsets'],
      [{ out: new Uint8Array(2) }, 'out'],
      [{ out: 'x' }, 'out'],
    ]
    for (const [fault, field] of faults) {
      expect(refusal(() => ed25519.verifyBatch({ ...packed, ...fault }, { lane }))).toBe(
        `BadRequest ${field}`,
      )
    }
  })
})

describe('ed25519', () => {
  it('refuses to import a key under which nothing verifies', () => {
    for (const key of [...TORSION, new Uint8Array(32).fill(0xff), new Uint8Array(31)]) {
      expect(refusal(() => ed25519.importKey(key))).toBe('BadRequest publicKey')
    }
  })

  it('keeps its own copy of an imported key', () => {
    const bytes = publicKey.slice()
    const key = ed25519.importKey(bytes)
    bytes.fill(0)
    key.bytes.fill(0)
    expect(key.bytes).toEqual(publicKey)
  })

  it('names its lanes and refuses others', () => {
    expect(ed25519.lanes()).toEqual(['auto', 'simd', 'dalek', 'dalek-batch', 'aws-lc', 'ring', 'noble'])
    const lane = 'fastest' as VerifyLane
    expect(refusal(() => ed25519.verify(publicKey, message, signature, { lane }))).toBe('BadRequest lane')
  })

  it('bounds its tables as told, and verifies the same without any', () => {
    for (const bytes of [-1, 0.5, 2 ** 32, Number.NaN, '1' as unknown as number]) {
      expect(refusal(() => ed25519.setTableCacheBytes(bytes))).toBe('BadRequest bytes')
    }
    ed25519.setTableCacheBytes(0)
    const fresh = signer()
    const signed = fresh.sign(message)
    for (let i = 0; i < 20; i++) expect(ed25519.verify(fresh.publicKey, message, signed)).toBe(true)
    ed25519.setTableCacheBytes(64 * 2 ** 20)
  })

  it('rejects what its asynchronous form cannot take', async () => {
    await expect(ed25519.verifyBatchAsync([], { threads: -1 })).rejects.toMatchObject({ field: 'threads' })
    const packed = {
      publicKeys: publicKey,
      signatures: signature,
      messages: message,
      offsets: Uint32Array.of(0, 1),
    }
    await expect(ed25519.verifyBatchAsync(packed)).rejects.toMatchObject({
      code: 'BadRequest',
      field: 'offsets',
    })
  })

  it('takes a Uint8Array of another realm', async () => {
    const { runInNewContext } = await import('node:vm')
    const foreign = runInNewContext('bytes => Uint8Array.from(bytes)') as (bytes: number[]) => Uint8Array
    expect(ed25519.verify(foreign([...publicKey]), foreign([...message]), foreign([...signature]))).toBe(true)
  })
})

describe('blake3', () => {
  it('refuses what is not bytes', () => {
    expect(refusal(() => blake3('x' as never))).toBe('BadRequest payload')
  })
})
