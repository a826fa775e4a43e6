import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type CreateKeyOptions, Kms, KmsError, type KmsOptions } from '../src/index.js'
import { blake3, ed25519 } from '../src/primitives.js'

const message = new TextEncoder().encode('a message')
const wish: CreateKeyOptions = { tenant: 'core', purpose: 'audit', alg: 'ed25519' }
let kms: Kms

beforeEach(async () => {
  kms = await Kms.open({ backend: 'inmem' })
})
afterEach(() => kms.close())

async function refusal(call: () => unknown): Promise<string> {
  try {
    await call()
  } catch (error) {
    expect(error).toBeInstanceOf(KmsError)
    const { code, field } = error as KmsError
    return `${code} ${field}`
  }
  return 'not refused'
}

describe('a key', () => {
  it('has a kid of the documented form', async () => {
    const { kid, alg, publicKey } = await kms.createKey(wish)
    expect(kid).toMatch(
      /^core\/audit\/ed25519\/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}#v1$/,
    )
    expect(alg).toBe('ed25519')
    expect(publicKey).toHaveLength(32)
  })

  it('signs what a stranger verifies with its public key', async () => {
    const { kid, publicKey } = await kms.createKey(wish)
    const signature = kms.sign(kid, message)
    expect(ed25519.verify(publicKey, message, signature, { lane: 'noble' })).toBe(true)
    expect(await kms.signAsync(kid, message)).toEqual(signature)
  })

  it('that signs digests signs the BLAKE3 of the message', async () => {
    const { kid, publicKey } = await kms.createKey({ ...wish, signs: 'digest' })
    const signature = kms.sign(kid, message)
    expect(ed25519.verify(publicKey, blake3(message), signature)).toBe(true)
    expect(kms.verify(kid, message, signature)).toBe(true)
  })

  it('keeps and shows its hints', async () => {
    const { kid } = await kms.createKey({ ...wish, policyHints: { rotate_days: 30, owner: 'ops' } })
    const shown = await kms.describeKey(kid)
    expect(shown.policyHints).toEqual({ rotate_days: 30, owner: 'ops' })
    expect(shown).toMatchObject({ kid, signs: 'message', head: 1, versions: [1], state: 'enabled' })
    expect(shown.createdAt).toBeInstanceOf(Date)
  })

  it('is created once under one opId', async () => {
    const opId = '018f3a6e-0000-7000-8000-000000000001'
    const first = await kms.createKey({ ...wish, opId })
    expect(await kms.createKey({ ...wish, opId })).toEqual(first)
    expect(await refusal(() => kms.createKey({ ...wish, purpose: 'x', opId }))).toBe('Conflict op_id')
    expect(await refusal(() => kms.createKey({ ...wish, opId: 'x' }))).toBe('BadRequest op_id')
  })

  it('is not exported', async () => {
    const { kid } = await kms.createKey(wish)
    expect(await refusal(() => kms.exportKey(kid))).toBe('ExportForbidden undefined')
  })
})

describe('rotation', () => {
  it('makes a head that signs alone, and old signatures verify', async () => {
    const { kid: v1 } = await kms.createKey(wish)
    const old = kms.sign(v1, message)
    const { kid: v2, previous } = await kms.rotateKey(v1)
    expect([v2, previous]).toEqual([v1.replace('#v1', '#v2'), v1])
    expect(await refusal(() => kms.sign(v1, message))).toBe('Conflict kid')
    expect(await refusal(() => kms.rotateKey(v1))).toBe('Conflict kid')
    const current = kms.sign(v2, message)
    expect(kms.verify(v1, message, old)).toBe(true)
    expect(kms.verify(v2, message, current)).toBe(true)
    expect(kms.verify(v1, message, current)).toBe(false)
    expect(await kms.attest(v1)).toMatchObject({ kid: v2, alg: 'ed25519', head: 2, versions: [1, 2] })
  })

  it('may wait: the pending version verifies and does not sign', async () => {
    const { kid: v1 } = await kms.createKey(wish)
    const { kid: v2, activeAt } = await kms.rotateKey(v1, { activateAfterMs: 3_600_000 })
    expect(activeAt?.getTime()).toBeGreaterThan(Date.now() + 3_000_000)
    expect((await kms.describeKey(v1)).pending).toEqual({ kid: v2, activeAt })
    expect(await refusal(() => kms.sign(v2, message))).toBe('Conflict kid')
    expect(await refusal(() => kms.rotateKey(v1))).toBe('Conflict kid')
    expect(kms.verify(v1, message, kms.sign(v1, message))).toBe(true)
    expect(kms.verify(v2, message, new Uint8Array(64))).toBe(false)
  })

  it('under way leaves no torn read', async () => {
    const { kid: v1 } = await kms.createKey(wish)
    const key = v1.slice(0, -3)
    const checks: Promise<Uint8Array>[] = []
    for (let version = 1; version <= 200; version++) {
      const kid = `${key}#v${version}`
      const signature = kms.sign(kid, message)
      const old = `${key}#v${Math.ceil(version / 2)}`
      checks.push(
        kms.verifyBatchAsync([
          { kid, message, signature },
          { kid: old, message, signature },
        ]),
      )
      await kms.rotateKey(kid)
    }
    const verdicts = await Promise.all(checks)
    expect(verdicts.map(pair => [...pair])).toEqual(verdicts.map((_, i) => [1, i === 0 ? 1 : 0]))
  })
})

describe('verification', () => {
  it('throws where there is no verdict', async () => {
    const { kid } = await kms.createKey(wish)
    const signature = kms.sign(kid, message)
    expect(await refusal(() => kms.verify(kid.replace('#v1', '#v2'), message, signature))).toBe(
      'NotFound kid',
    )
    expect(await refusal(() => kms.verify(kid.slice(0, -3), message, signature))).toBe('BadRequest kid')
    expect(await refusal(() => kms.verify('nonsense', message, signature))).toBe('BadRequest kid')
    expect(kms.verify(kid, message, signature.slice(1))).toBe(false)
  })

  it('of a batch keeps order and says what it could not check', async () => {
    const { kid } = await kms.createKey(wish)
    const digest = await kms.createKey({ ...wish, signs: 'digest' })
    const signature = kms.sign(kid, message)
    const items = [
      { kid, message, signature },
      { kid: 'nonsense', message, signature },
      { kid: digest.kid, message, signature: kms.sign(digest.kid, message) },
      { kid, message, signature: signature.slice(1) },
      { kid: kid.replace('#v1', '#v7'), message, signature },
    ]
    for (const verdicts of [kms.verifyBatch(items), await kms.verifyBatchAsync(items)]) {
      expect([...verdicts]).toEqual([1, 2, 1, 0, 2])
      expect([...verdicts.errors].map(([i, { code }]) => [i, code])).toEqual([
        [1, 'BadRequest'],
        [4, 'NotFound'],
      ])
    }
    expect(kms.verifyBatch([]).errors.size).toBe(0)
  })

  it('names the item of a wrong type', async () => {
    const { kid } = await kms.createKey(wish)
    const good = { kid, message, signature: kms.sign(kid, message) }
    const refuse = (item: object) => refusal(() => kms.verifyBatch([good, item as never]))
    expect(await refuse({ ...good, kid: 7 })).toBe('BadRequest items[1].kid')
    expect(await refuse({ ...good, message: 'x' })).toBe('BadRequest items[1].message')
    expect(await refusal(() => kms.verifyBatchAsync([undefined as never]))).toBe(
      'BadRequest items[0].message',
    )
  })
})

describe('refusals', () => {
  it('name the field of a bad wish', async () => {
    const refuse = (change: object) => refusal(() => kms.createKey({ ...wish, ...change }))
    expect(await refuse({ tenant: 'RON-KMS' })).toBe('BadRequest tenant')
    expect(await refuse({ purpose: 'a b' })).toBe('BadRequest purpose')
    expect(await refuse({ alg: 'rsa' })).toBe('Unsupported alg')
    expect(await refuse({ signs: 'all' })).toBe('BadRequest signs')
    expect(await refuse({ policyHints: { a: { b: 1 } } })).toBe('BadRequest policy_hints.a')
    expect(await refuse({ tenant: undefined })).toBe('BadRequest tenant')
  })

  it('are KmsErrors for options that are no options', async () => {
    const bad = (value: unknown) => value as CreateKeyOptions
    expect(await refusal(() => kms.createKey(bad(undefined)))).toBe('BadRequest options')
    expect(await refusal(() => kms.createKey(bad({ ...wish, policyHints: { n: 1n } })))).toBe(
      'BadRequest options',
    )
    const { kid } = await kms.createKey(wish)
    expect(await refusal(() => kms.rotateKey(kid, null as never))).toBe('BadRequest options')
  })

  it('cover messages that the service alone may sign', async () => {
    const { kid } = await kms.createKey(wish)
    const reserved = new TextEncoder().encode('ron-kms/audit/v1\0')
    expect(await refusal(() => kms.sign(kid, reserved))).toBe('BadRequest message')
  })

  it('cover what is not in this version', async () => {
    expect(await refusal(() => Kms.open({ backend: 'tpm' } as unknown as KmsOptions))).toBe(
      'Unsupported backend',
    )
    expect(await refusal(() => Kms.open({ backend: 'file' }))).toBe('BadRequest store')
    const lanes = { sign: 'simd' } as unknown as NonNullable<KmsOptions['lanes']>
    expect(await refusal(() => Kms.open({ backend: 'inmem', lanes }))).toBe('BadRequest lane')
    const wrong = { backend: 'inmem', lanes: { verify: 5 } } as unknown as KmsOptions
    expect(await refusal(() => Kms.open(wrong))).toBe('BadRequest undefined')
  })

  it('follow closing, which may be repeated', async () => {
    const { kid } = await kms.createKey(wish)
    kms.close()
    kms.close()
    const closed = 'StoreUnavailable undefined'
    expect(await refusal(() => kms.sign(kid, message))).toBe(closed)
    expect(await refusal(() => kms.verify(kid, message, new Uint8Array(64)))).toBe(closed)
    expect(await refusal(() => kms.createKey(wish))).toBe(closed)
    expect(await refusal(() => kms.verifyBatchAsync([]))).toBe(closed)
  })
})

describe('lanes', () => {
  it.each(['auto', 'dalek', 'ring'] as const)('sign the same with %s', async sign => {
    const other = await Kms.open({ backend: 'inmem', lanes: { sign, verify: 'dalek-batch' } })
    const { kid, publicKey } = await other.createKey(wish)
    const signature = other.sign(kid, message)
    expect(ed25519.verify(publicKey, message, signature, { lane: 'noble' })).toBe(true)
    expect([...other.verifyBatch([{ kid, message, signature }])]).toEqual([1])
    other.close()
  })
})

describe('a batch of messages', () => {
  it('is signed in order, each as it would be alone', async () => {
    const keys = await Promise.all([wish, { ...wish, signs: 'digest' as const }].map(it => kms.createKey(it)))
    const items = Array.from({ length: 40 }, (_, i) => ({
      kid: keys[i % 2]?.kid as string,
      message: new Uint8Array(i).fill(i),
    }))
    const alone = items.map(({ kid, message }) => kms.sign(kid, message))
    for (const signatures of [kms.signBatch(items), await kms.signBatchAsync(items)]) {
      expect([...signatures]).toEqual(alone)
      expect(signatures.errors.size).toBe(0)
    }
    expect(kms.signBatch([])).toHaveLength(0)
  })

  it('has null and an error in the place of what cannot be signed', async () => {
    const { kid } = await kms.createKey(wish)
    await kms.rotateKey(kid)
    const { kid: good } = await kms.createKey(wish)
    const reserved = new TextEncoder().encode('ron-kms/x')
    const items = [
      { kid: good, message },
      { kid, message },
      { kid: 'nonsense', message },
      { kid: kid.replace('#v1', '#v9'), message },
      { kid: good, message: reserved },
      { kid: good, message },
    ]
    const long = Array.from({ length: 60 }, (_, i) => items[i % 6] as (typeof items)[0])
    for (const signatures of [kms.signBatch(items), await kms.signBatchAsync(long)]) {
      const first = signatures.slice(0, 6)
      expect(first.map(signature => signature?.length)).toEqual([64, ...Array(4).fill(undefined), 64])
      expect(first.slice(1, 5)).toEqual([null, null, null, null])
      expect([1, 2, 3, 4].map(i => signatures.errors.get(i)?.code)).toEqual([
        'Conflict',
        'BadRequest',
        'NotFound',
        'BadRequest',
      ])
      expect(signatures.errors.size).toBe((signatures.length * 4) / 6)
    }
  })

  it('is refused whole for an item of a wrong type', async () => {
    const { kid } = await kms.createKey(wish)
    const bad = (item: object) => refusal(() => kms.signBatch([{ kid, message }, item as never]))
    expect(await bad({ kid })).toBe('BadRequest items[1].message')
    expect(await bad({ kid: 7, message })).toBe('BadRequest items[1].kid')
    expect(await bad(null as never)).toBe('BadRequest items[1].message')
    expect(await refusal(() => kms.signBatchAsync('x' as never))).toBe('BadRequest items')
  })
})

describe('verification after signing', () => {
  it('changes no signature', async () => {
    const checking = await Kms.open({ backend: 'inmem', verifyAfterSign: true })
    const { kid, publicKey } = await checking.createKey(wish)
    for (let i = 0; i < 300; i++) {
      const text = Uint8Array.of(i, i >> 8)
      expect(ed25519.verify(publicKey, text, checking.sign(kid, text))).toBe(true)
    }
    const signatures = checking.signBatch(Array(20).fill({ kid, message }))
    expect(signatures.every(it => it && ed25519.verify(publicKey, message, it))).toBe(true)
    checking.close()
  })
})

describe('a kid that is used often', () => {
  it('is remembered within bounds, and never mistaken for another', async () => {
    const made = await Promise.all(Array.from({ length: 100 }, () => kms.createKey(wish)))
    const signed = made.map(({ kid }) => ({ kid, message, signature: kms.sign(kid, message) }))
    // More spellings of kids than are remembered: each version that may once exist can be looked up.
    for (let i = 0; i < 700; i++) {
      for (const { kid } of made) expect(kms.verify(kid, message, new Uint8Array(64))).toBe(false)
      const { kid } = made[i % 100] as (typeof made)[0]
      for (let n = 2; n < 102; n++) {
        const later = kid.replace('#v1', `#v${i * 100 + n}`)
        await expect(async () => kms.verify(later, message, new Uint8Array(64))).rejects.toThrow(KmsError)
      }
    }
    expect(kms.verifyBatch(signed)).toEqual(new Uint8Array(100).fill(1))
    const crossed = signed.map((item, i) => ({ ...item, kid: made[(i + 1) % 100]?.kid as string }))
    expect(kms.verifyBatch(crossed)).toEqual(new Uint8Array(100))
  }, 60_000)

  it('shows the rotation of its key at once', async () => {
    const { kid } = await kms.createKey(wish)
    const key = kid.replace('#v1', '')
    const before = kms.sign(key, message)
    const { kid: v2 } = await kms.rotateKey(kid)
    const after = kms.sign(key, message)
    expect(kms.verify(kid, message, before)).toBe(true)
    expect(kms.verify(v2, message, after)).toBe(true)
    expect(await refusal(() => kms.sign(kid, message))).toBe('Conflict kid')
    kms.close()
    expect(await refusal(() => kms.sign(key, message))).toBe('StoreUnavailable undefined')
    expect(await refusal(() => kms.verifyBatch([{ kid, message, signature: before }]))).toBe(
      'StoreUnavailable undefined',
    )
  })
})
