import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type CreatedKey,
  type CreateKeyOptions,
  Kms,
  type KmsOptions,
  type SignatureBundle,
  type SigningAlgorithm,
} from '../src/index.js'
import { ed25519 } from '../src/primitives.js'
import { detached, refusal } from './support/refusal.js'

const bytes = (text: string) => new TextEncoder().encode(text)
const message = bytes('a message')
let kms: Kms

beforeEach(async () => {
  kms = await Kms.open({ backend: 'inmem' })
})
afterEach(() => kms.close())

const newKey = (alg: CreateKeyOptions['alg'], more: Partial<CreateKeyOptions> = {}): Promise<CreatedKey> =>
  kms.createKey({ tenant: 'core', purpose: 'audit', alg, ...more })
const keyOf = (kid: string) => kid.replace(/#.*/, '')

/** The signatures of a bundle with one byte of one of them changed. */
const spoilt = ({ sigs }: SignatureBundle, which: number): SignatureBundle['sigs'] =>
  sigs.map(({ alg, signature }, i) => ({
    alg,
    signature: i === which ? signature.map((byte, at) => (at === 40 ? byte ^ 1 : byte)) : signature,
  }))

/** Lengths of public keys and signatures: FIPS 204, table 2; FIPS 205, table 2. */
const SINGLE: readonly [SigningAlgorithm, number, number][] = [
  ['ed25519', 32, 64],
  ['ml-dsa-44', 1312, 2420],
  ['ml-dsa', 1952, 3309],
  ['ml-dsa-87', 2592, 4627],
]

describe('a key with one track', () => {
  it.each(SINGLE)('of %s has a public key of %i bytes and signs with %i', async (alg, keyLen, length) => {
    const made = await newKey(alg)
    expect(made.kid).toContain(`/${alg}/`)
    expect(made.alg).toBe(alg)
    expect(made.publicKey).toHaveLength(keyLen)
    expect(made.pq).toBeUndefined()
    expect(await kms.describeKey(made.kid)).toMatchObject({ alg, publicKey: made.publicKey, versions: [1] })

    const signature = kms.sign(made.kid, message)
    expect(signature).toHaveLength(length)
    expect(kms.verify(made.kid, message, signature)).toBe(true)
    expect(kms.verify(made.kid, bytes('another'), signature)).toBe(false)
    for (const wrong of [signature.subarray(1), new Uint8Array(length), new Uint8Array(0)]) {
      expect(kms.verify(made.kid, message, wrong)).toBe(false)
    }
    const other = await newKey(alg)
    expect(kms.verify(other.kid, message, signature)).toBe(false)

    const { kid } = await kms.rotateKey(made.kid)
    expect(kms.verify(made.kid, message, signature)).toBe(true)
    expect(kms.verify(kid, message, signature)).toBe(false)
    expect(kms.verify(kid, message, kms.sign(kid, message))).toBe(true)
    expect(await refusal(() => kms.sign(made.kid, message))).toBe('Conflict kid')
  })

  it('has a bundle of one signature', async () => {
    const { kid } = await newKey('ml-dsa')
    const bundle = kms.signBundle(keyOf(kid), message)
    expect(bundle.kid).toBe(kid)
    expect(bundle.sigs.map(({ alg }) => alg)).toEqual(['ml-dsa'])
    expect(kms.verifyBundle(kid, message, bundle.sigs)).toEqual({
      ok: true,
      checked: ['ml-dsa'],
      satisfiedMode: 'and',
    })
    expect(kms.verifyBundle(kid, message, spoilt(bundle, 0))).toEqual({ ok: false, checked: ['ml-dsa'] })
  })

  it('signs under a context of FIPS 204, and verifies under no other', async () => {
    for (const alg of ['ml-dsa-44', 'ml-dsa', 'ml-dsa-87'] as const) {
      const { kid } = await newKey(alg)
      const longest = new Uint8Array(255).fill(7)
      for (const context of [bytes('invoice'), longest]) {
        const { sigs } = kms.signBundle(kid, message, { context })
        expect(kms.verifyBundle(kid, message, sigs, { context }).ok).toBe(true)
        expect(kms.verifyBundle(kid, message, sigs, { context: bytes('receipt') }).ok).toBe(false)
        expect(kms.verify(kid, message, sigs[0]?.signature as Uint8Array)).toBe(false)
      }
      const empty = kms.signBundle(kid, message, { context: new Uint8Array(0) })
      expect(kms.verify(kid, message, empty.sigs[0]?.signature as Uint8Array)).toBe(true)
      expect(await refusal(() => kms.signBundle(kid, message, { context: new Uint8Array(256) }))).toBe(
        'BadRequest context',
      )
    }
  })

  it('of Ed25519 has no context', async () => {
    const { kid } = await newKey('ed25519')
    const context = bytes('c')
    const { sigs } = kms.signBundle(kid, message)
    expect(await refusal(() => kms.signBundle(kid, message, { context }))).toBe('Unsupported context')
    expect(await refusal(() => kms.verifyBundle(kid, message, sigs, { context }))).toBe('Unsupported context')
  })

  it('that signs digests signs the digest whatever its algorithm', async () => {
    const { kid } = await newKey('ml-dsa', { signs: 'digest' })
    expect(kms.verify(kid, message, kms.sign(kid, message))).toBe(true)
    const hybrid = await newKey('hybrid', { signs: 'digest' })
    const { sigs } = kms.signBundle(hybrid.kid, message)
    expect(kms.verifyBundle(hybrid.kid, message, sigs).ok).toBe(true)
    expect(ed25519.verify(hybrid.publicKey, message, sigs[0]?.signature as Uint8Array)).toBe(false)
  })

  it('refuses messages that begin with ron-kms/', async () => {
    const { kid } = await newKey('ml-dsa')
    const reserved = bytes('ron-kms/checkpoint')
    expect(await refusal(() => kms.sign(kid, reserved))).toBe('BadRequest message')
    expect(await refusal(() => kms.signBundle(kid, reserved))).toBe('BadRequest message')
    expect(await refusal(() => kms.signBundleAsync(kid, reserved))).toBe('BadRequest message')
  })
})

describe('SLH-DSA', () => {
  it('signs off the event loop, and never on it', async () => {
    const { kid, publicKey } = await newKey('slh-dsa-sha2-128f')
    expect(publicKey).toHaveLength(32)
    expect(await refusal(() => kms.sign(kid, message))).toBe('Unsupported kid')
    expect(await refusal(() => kms.signBundle(kid, message))).toBe('Unsupported kid')

    const text = Uint8Array.from(message)
    let turns = 0
    const ticking = setInterval(() => {
      turns += 1
    }, 1)
    const waiting = Promise.all(Array.from({ length: 8 }, () => kms.signAsync(kid, text)))
    text.fill(0)
    const signatures = await waiting
    clearInterval(ticking)
    expect(turns).toBeGreaterThan(3)
    for (const signature of signatures) {
      expect(signature).toHaveLength(17_088)
      expect(kms.verify(kid, message, signature)).toBe(true)
      expect(kms.verify(kid, text, signature)).toBe(false)
    }
    const context = bytes('invoice')
    const { sigs } = await kms.signBundleAsync(kid, message, { context })
    expect(kms.verifyBundle(kid, message, sigs, { context }).ok).toBe(true)
    expect(kms.verifyBundle(kid, message, sigs).ok).toBe(false)
  })

  it('is not signed in a synchronous batch, and is in an asynchronous one', async () => {
    const { kid } = await newKey('slh-dsa-sha2-128f')
    const items = [{ kid, message }]
    const refused = kms.signBatch(items)
    expect([...refused]).toEqual([null])
    expect(refused.errors.get(0)?.code).toBe('Unsupported')
    const [signature] = await kms.signBatchAsync(items)
    expect(kms.verify(kid, message, signature as Uint8Array)).toBe(true)
  })

  it('is not mistaken for something fast by another spelling of its kid', async () => {
    const { kid } = await newKey('slh-dsa-sha2-128f')
    const disguised = kid.replace('slh-dsa-sha2-128f', 'ed25519')
    expect(await refusal(() => kms.sign(disguised, message))).toBe('NotFound kid')
    expect(await refusal(() => kms.signBundle(disguised, message))).toMatch(/^NotFound/)
  })
})

describe('a hybrid key', () => {
  it('has two tracks and the name of the classical one', async () => {
    const made = await newKey('hybrid')
    expect(made.kid).toMatch(/^core\/audit\/ed25519\/[0-9a-f-]{36}#v1$/)
    expect(made).toMatchObject({ alg: 'ed25519', pq: { alg: 'ml-dsa' } })
    expect([made.publicKey.length, made.pq?.publicKey.length]).toEqual([32, 1952])
    const { publicKey, pq } = made
    expect(await kms.describeKey(made.kid)).toMatchObject({ alg: 'ed25519', publicKey, pq, head: 1 })
  })

  it('has no single signature: sign and verify are Unsupported', async () => {
    const { kid } = await newKey('hybrid')
    const unsupported = 'Unsupported kid'
    expect(await refusal(() => kms.sign(kid, message))).toBe(unsupported)
    expect(await refusal(() => kms.signAsync(kid, message))).toBe(unsupported)
    const [classical] = kms.signBundle(kid, message).sigs
    const signature = classical?.signature as Uint8Array
    expect(await refusal(() => kms.verify(kid, message, signature))).toBe(unsupported)
  })

  it('signs with both halves, and both must hold', async () => {
    const { kid, publicKey } = await newKey('hybrid')
    const context = bytes('invoice')
    for (const options of [{}, { context }]) {
      for (const bundle of [
        kms.signBundle(kid, message, options),
        await kms.signBundleAsync(keyOf(kid), message, options),
      ]) {
        const { sigs } = bundle
        expect(bundle.kid).toBe(kid)
        expect(sigs.map(({ alg, signature }) => [alg, signature.length])).toEqual([
          ['ed25519', 64],
          ['ml-dsa', 3309],
        ])
        const verify = (given: SignatureBundle['sigs']) => kms.verifyBundle(kid, message, given, options)
        expect(verify(sigs)).toEqual({ ok: true, checked: ['ed25519', 'ml-dsa'], satisfiedMode: 'and' })
        expect(verify([...sigs].reverse())).toMatchObject({ ok: true, checked: ['ml-dsa', 'ed25519'] })
        expect(verify(spoilt(bundle, 0))).toEqual({ ok: false, checked: ['ed25519', 'ml-dsa'] })
        expect(verify(spoilt(bundle, 1)).ok).toBe(false)
        expect(verify(sigs.slice(0, 1)).ok).toBe(false)
        expect(verify(sigs.slice(1)).ok).toBe(false)
        // The classical half is a classical signature: documented, and only policy stops it.
        expect(ed25519.verify(publicKey, message, sigs[0]?.signature as Uint8Array)).toBe(true)
      }
    }
  })

  it('ties its ML-DSA half to key, version and context; its halves over one message are interchangeable', async () => {
    const { kid } = await newKey('hybrid')
    const other = await newKey('hybrid')
    const [first, second] = [kms.signBundle(kid, message), kms.signBundle(kid, message)]
    const [ours, theirs] = [first.sigs[1], kms.signBundle(other.kid, message).sigs[1]]
    const ed = first.sigs[0]
    if (!ours || !theirs || !ed || !second.sigs[1]) throw new Error('two halves each')
    expect(kms.verifyBundle(kid, message, [ed, second.sigs[1]]).ok).toBe(true)
    expect(kms.verifyBundle(kid, message, [ed, theirs]).ok).toBe(false)
    const bound = kms.signBundle(kid, message, { context: bytes('c') }).sigs[1]
    if (!bound) throw new Error('two halves')
    expect(kms.verifyBundle(kid, message, [ed, bound]).ok).toBe(false)
    expect(kms.verifyBundle(kid, message, [ed, bound], { context: bytes('c') }).ok).toBe(true)
    const { kid: v2 } = await kms.rotateKey(kid)
    const next = kms.signBundle(v2, message).sigs[0]
    if (!next) throw new Error('two halves')
    expect(kms.verifyBundle(v2, message, [next, ours]).ok).toBe(false)
  })

  it('takes one signature of each of its algorithms', async () => {
    const { kid } = await newKey('hybrid')
    const { sigs } = kms.signBundle(kid, message)
    const [ed, pq] = sigs as [SignatureBundle['sigs'][0], SignatureBundle['sigs'][0]]
    const verify = (given: unknown) => refusal(() => kms.verifyBundle(kid, message, given as typeof sigs))
    expect(await verify([])).toBe('BadRequest sigs')
    expect(await verify([ed, ed])).toBe('BadRequest sigs[1]')
    expect(await verify(Array(100_000).fill(pq))).toBe('BadRequest sigs[1]')
    expect(await verify([ed, { ...pq, alg: 'ml-dsa-87' }])).toBe('BadRequest sigs[1].alg')
    expect(await verify([{ ...ed, alg: 'rsa' }])).toBe('Unsupported sigs[0].alg')
    expect(await verify([{ ...ed, alg: 'hybrid' }])).toBe('Unsupported sigs[0].alg')
    const swapped: SignatureBundle['sigs'] = [
      { alg: 'ml-dsa', signature: ed.signature },
      { alg: 'ed25519', signature: pq.signature },
    ]
    expect(kms.verifyBundle(kid, message, swapped).ok).toBe(false)
    expect(await refusal(() => kms.verifyBundle(keyOf(kid), message, sigs))).toBe('BadRequest kid')
    expect(await refusal(() => kms.verifyBundle(kid.replace('#v1', '#v9'), message, sigs))).toBe(
      'NotFound kid',
    )
  })

  it('is what a rotation makes of a classical key, and stays one', async () => {
    const { kid } = await newKey('ed25519')
    const old = kms.sign(kid, message)
    const { kid: v2, previous } = await kms.rotateKey(kid, { alg: 'hybrid' })
    expect(previous).toBe(kid)
    expect((await kms.describeKey(v2)).pq?.alg).toBe('ml-dsa')
    expect((await kms.describeKey(kid)).pq).toBeUndefined()
    expect(kms.verify(kid, message, old)).toBe(true)
    expect(await refusal(() => kms.sign(keyOf(kid), message))).toBe('Unsupported kid')
    expect(kms.verifyBundle(v2, message, kms.signBundle(v2, message).sigs).ok).toBe(true)
    for (const alg of ['ed25519', 'ml-dsa', 'x25519'] as const) {
      expect(await refusal(() => kms.rotateKey(v2, { alg }))).toBe('Unsupported alg')
    }
    const { kid: v3 } = await kms.rotateKey(v2)
    expect(kms.signBundle(v3, message).sigs).toHaveLength(2)
    const pq = await newKey('ml-dsa')
    expect(await refusal(() => kms.rotateKey(pq.kid, { alg: 'hybrid' }))).toBe('Unsupported alg')
    const kem = await newKey('x25519', { purpose: 'kem' })
    const { kid: wing } = await kms.rotateKey(kem.kid, { alg: 'hybrid' })
    expect((await kms.describeKey(wing)).pq?.alg).toBe('ml-kem')
    expect((await kms.wrap(wing, message)).alg).toBe('hybrid')
  })
})

describe('a batch', () => {
  it('mixes algorithms, in order, and says of hybrid keys that they have bundles', async () => {
    const made = await Promise.all(
      (['ed25519', 'ml-dsa', 'hybrid', 'ml-dsa-44', 'ed25519', 'ml-dsa-87'] as const).map(alg => newKey(alg)),
    )
    const wrapping = await newKey('ml-kem', { purpose: 'kem' })
    const items = [...made, wrapping].map(({ kid }, i) => ({ kid, message: bytes(`message ${i}`) }))
    const lengths = [64, 3309, undefined, 2420, 64, 4627, undefined]
    for (const signatures of [kms.signBatch(items), await kms.signBatchAsync(items)]) {
      expect(signatures.map(signature => signature?.length)).toEqual(lengths)
      expect([signatures[2], signatures[6]]).toEqual([null, null])
      expect([...signatures.errors].map(([item, { code }]) => [item, code])).toEqual([
        [2, 'Unsupported'],
        [6, 'Unsupported'],
      ])
      const checks = items.map((item, i) => ({ ...item, signature: signatures[i] ?? new Uint8Array(64) }))
      for (const verdicts of [kms.verifyBatch(checks), await kms.verifyBatchAsync(checks)]) {
        expect([...verdicts]).toEqual([1, 1, 2, 1, 1, 1, 2])
        expect([...verdicts.errors].map(([item, { code }]) => [item, code])).toEqual([
          [2, 'Unsupported'],
          [6, 'Unsupported'],
        ])
      }
      // Each under its neighbour's key: wrong lengths and wrong keys are invalid, not faults.
      const crossed = checks.map((check, i) => ({ ...check, kid: items[i === 5 ? 0 : i + 1]?.kid as string }))
      expect([...kms.verifyBatch(crossed.slice(0, 6))]).toEqual([0, 2, 0, 0, 0, 0])
    }
  })

  it('is refused whole for a signature whose memory is gone, even where a getter does it on the way', async () => {
    const { kid } = await newKey('ml-dsa')
    const signature = kms.sign(kid, message)
    const item = { kid, message, signature: Uint8Array.from(signature) }
    const thief = {
      kid,
      message,
      get signature() {
        if (item.signature.length > 0)
          structuredClone(item.signature.buffer, { transfer: [item.signature.buffer] })
        return signature
      },
    }
    const gone = { kid, message, signature: detached() }
    expect(await refusal(() => kms.verifyBatch([item, gone]))).toBe('BadRequest items[1].signature')
    expect(await refusal(() => kms.verifyBatchAsync([gone]))).toBe('BadRequest items[0].signature')
    expect(await refusal(() => kms.verifyBatch([item, thief]))).toBe('BadRequest items[0].signature')
  })
})

describe('wrapping', () => {
  const KEMS = [
    ['x25519', 'classical', 'x25519', 32],
    ['ml-kem-512', 'pq', 'ml-kem-512', 768],
    ['ml-kem', 'pq', 'ml-kem', 1088],
    ['ml-kem-1024', 'pq', 'ml-kem-1024', 1568],
    ['hybrid', 'hybrid', 'hybrid', 1120],
  ] as const

  it.each(KEMS)('with %s keeps what it wrapped through rotations', async (alg, kemMode, name, encLength) => {
    const { kid } = await newKey(alg, { purpose: 'kem' })
    const dataKey = bytes('sixteen byte key')
    const old = await kms.wrap(kid, dataKey, { kemMode })
    expect(old).toEqual({ wrapped: expect.any(Uint8Array), alg: name, kid })
    expect(old.wrapped).toHaveLength(12 + kid.length + encLength + dataKey.length + 16)
    expect((await kms.wrap(kid, dataKey)).wrapped).not.toEqual(old.wrapped)

    const { kid: v2 } = await kms.rotateKey(kid)
    expect(await refusal(() => kms.wrap(kid, dataKey))).toBe('Conflict kid')
    expect(await kms.unwrap(old.wrapped)).toEqual({ dataKey, alg: name, kid })
    expect(await kms.unwrap(old.wrapped, { kid: keyOf(kid) })).toMatchObject({ dataKey })
    expect(await refusal(() => kms.unwrap(old.wrapped, { kid: v2 }))).toBe('BadRequest envelope')

    const moved = await kms.rewrap(old.wrapped)
    expect(moved).toEqual({ wrapped: expect.any(Uint8Array), alg: name, kid: v2 })
    expect(await kms.unwrap(moved.wrapped, { kid: v2 })).toMatchObject({ dataKey, kid: v2 })

    for (const other of ['classical', 'pq', 'hybrid'] as const) {
      if (other === kemMode) continue
      expect(await refusal(() => kms.wrap(v2, dataKey, { kemMode: other }))).toBe('Unsupported kemMode')
    }
    for (const cipher of ['aes-256-gcm', 'chacha20-poly1305']) {
      const made = await newKey(alg, { purpose: 'kem', policyHints: { aead: cipher } })
      const { wrapped } = await kms.wrap(made.kid, dataKey)
      expect(Buffer.from(wrapped).readUInt16BE(8)).toBe(cipher === 'aes-256-gcm' ? 2 : 3)
      expect((await kms.unwrap(wrapped)).dataKey).toEqual(dataKey)
    }
  })

  it('makes data keys of 1 to 512 bytes, and takes those of 1 to 4,096', async () => {
    const { kid } = await newKey('ml-kem', { purpose: 'kem' })
    for (const size of [1, 32, 512]) {
      const { dataKey, wrapped } = await kms.wrap(kid, { size })
      expect(dataKey).toHaveLength(size)
      expect((await kms.unwrap(wrapped)).dataKey).toEqual(dataKey)
    }
    const drawn = await Promise.all([1, 2].map(() => kms.wrap(kid, { size: 32 })))
    expect(drawn[0]?.dataKey).not.toEqual(drawn[1]?.dataKey)
    for (const size of [0, 513, 1.5, -1, Number.NaN, 2 ** 32 + 1, '32', null, undefined]) {
      expect(await refusal(() => kms.wrap(kid, { size } as { size: number }))).toBe('BadRequest size')
    }
    for (const length of [1, 4096]) {
      const given = new Uint8Array(length).fill(length)
      expect((await kms.unwrap((await kms.wrap(kid, given)).wrapped)).dataKey).toEqual(given)
    }
    for (const length of [0, 4097]) {
      expect(await refusal(() => kms.wrap(kid, new Uint8Array(length)))).toBe('BadRequest dataKey')
    }
  })

  it('fails alike for every reason that an envelope does not open', async () => {
    const { kid } = await newKey('hybrid', { purpose: 'kem' })
    const other = await newKey('hybrid', { purpose: 'kem' })
    const signer = await newKey('ed25519')
    const { wrapped } = await kms.wrap(kid, message)
    const header = 12 + kid.length
    const flipped = (at: number) => wrapped.map((byte, i) => (i === at ? byte ^ 1 : byte))
    const renamed = (name: string) =>
      Buffer.concat([
        wrapped.subarray(0, 11),
        Buffer.from([name.length]),
        bytes(name),
        wrapped.subarray(header),
      ])
    const stranger = await Kms.open({ backend: 'inmem' })
    const attempts: (() => unknown)[] = [
      ...[0, 3, 4, 6, 8, 10, 11, 12, header, header + 1087, header + 1088, wrapped.length - 1].map(
        at => () => kms.unwrap(flipped(at)),
      ),
      ...[0, 1, 11, 12, header, wrapped.length - 1].map(end => () => kms.unwrap(wrapped.subarray(0, end))),
      () => kms.unwrap(Buffer.concat([wrapped, Buffer.of(0)])),
      () => kms.unwrap(new Uint8Array(50_000_000)),
      () => kms.unwrap(renamed(other.kid)),
      () => kms.unwrap(renamed(signer.kid)),
      () => kms.unwrap(renamed(kid.replace('#v1', '#v9'))),
      () => kms.unwrap(renamed('nobody')),
      () => kms.unwrap(wrapped, { kid: other.kid }),
      () => stranger.unwrap(wrapped),
      () => kms.rewrap(flipped(wrapped.length - 1)),
    ]
    const seen = new Set<string>()
    for (const attempt of attempts) {
      try {
        await attempt()
        seen.add('opened')
      } catch (error) {
        const { code, field, message: text, retryable } = error as Record<string, unknown>
        seen.add(JSON.stringify({ code, field, text, retryable }))
      }
    }
    stranger.close()
    expect([...seen].map(each => JSON.parse(each))).toEqual([
      { code: 'BadRequest', field: 'envelope', text: 'the envelope does not open', retryable: false },
    ])
    expect((await kms.unwrap(wrapped)).dataKey).toEqual(message)
    expect(await refusal(() => kms.unwrap(wrapped, { kid: 'nonsense' }))).toBe('BadRequest kid')
    expect(await refusal(() => kms.unwrap(wrapped, { kid: kid.replace('#v1', '#v9') }))).toMatch(/^\w+ /)
  })

  it('is not signing, and signing is not wrapping', async () => {
    const signer = await newKey('hybrid')
    const kem = await newKey('hybrid', { purpose: 'kem' })
    expect(kem).toMatchObject({ alg: 'x25519', pq: { alg: 'ml-kem' } })
    expect(await refusal(() => kms.wrap(signer.kid, message))).toBe('Unsupported kid')
    expect(await refusal(() => kms.sign(kem.kid, message))).toBe('Unsupported kid')
    expect(await refusal(() => kms.signBundle(kem.kid, message))).toBe('Unsupported kid')
    expect(await refusal(() => kms.verify(kem.kid, message, new Uint8Array(64)))).toBe('Unsupported kid')
    const sigs: SignatureBundle['sigs'] = [{ alg: 'ed25519', signature: new Uint8Array(64) }]
    expect(await refusal(() => kms.verifyBundle(kem.kid, message, sigs))).toBe('Unsupported kid')
  })
})

describe('a derived key', () => {
  it.each(['ed25519', 'ml-dsa', 'hybrid', 'slh-dsa-sha2-128f'] as const)(
    'of a key of %s is the same for the same version and context, and another for any other',
    async alg => {
      const parent = await newKey(alg)
      const child = await kms.deriveKey(parent.kid, 'db/users')
      expect(await kms.deriveKey(parent.kid, 'db/users')).toEqual(child)
      expect(keyOf(child.kid)).not.toBe(keyOf(parent.kid))
      expect(child.kid.split('/').slice(0, 3)).toEqual(parent.kid.split('/').slice(0, 3))
      expect(child.publicKey).not.toEqual(parent.publicKey)
      expect((await kms.deriveKey(parent.kid, 'db/orders')).kid).not.toBe(child.kid)
      const { sigs } = await kms.signBundleAsync(child.kid, message)
      expect(kms.verifyBundle(child.kid, message, sigs).ok).toBe(true)
      await kms.rotateKey(parent.kid)
      expect((await kms.deriveKey(keyOf(parent.kid), 'db/users')).kid).not.toBe(child.kid)
      expect(await kms.deriveKey(parent.kid, 'db/users')).toEqual(child)
    },
  )

  it('of a key that wraps wraps', async () => {
    const parent = await newKey('hybrid', { purpose: 'kem', policyHints: { aead: 'aes-256-gcm' } })
    const child = await kms.deriveKey(parent.kid, 'a')
    const { wrapped } = await kms.wrap(child.kid, message)
    expect(Buffer.from(wrapped).readUInt16BE(8)).toBe(2)
    expect((await kms.unwrap(wrapped)).kid).toBe(child.kid)
  })

  it('needs a context of 1 to 256 bytes of plain text', async () => {
    const { kid } = await newKey('ed25519')
    for (const context of ['', 'a\nb', 'a\0', 'x'.repeat(257), 'é'.repeat(129), '\ud800', 7, undefined]) {
      expect(await refusal(() => kms.deriveKey(kid, context as string))).toBe('BadRequest context')
    }
    await kms.deriveKey(kid, 'é'.repeat(128))
  })
})

describe('the post-quantum policy', () => {
  it('decides which halves are made and which must hold, and is replaced as a whole', async () => {
    const { kid } = await newKey('hybrid')
    const full = kms.signBundle(kid, message).sigs
    const [classical, pq] = [full.slice(0, 1), full.slice(1)]
    const verdicts = () => [classical, pq, full].map(sigs => kms.verifyBundle(kid, message, sigs).ok)
    const made = () => kms.signBundle(kid, message).sigs.map(({ alg }) => alg)

    kms.setPqPolicy({ produceHybrid: false, verifyMode: 'or' })
    expect([made(), verdicts()]).toEqual([['ed25519'], [true, true, true]])
    const asked = kms.signBundle(kid, message, { produceHybrid: true })
    expect(asked.sigs).toHaveLength(2)
    expect(kms.verifyBundle(kid, message, classical, { mode: 'and' }).ok).toBe(false)
    kms.setPqPolicy({ verifyMode: 'or' })
    expect([made(), verdicts()]).toEqual([
      ['ed25519', 'ml-dsa'],
      [true, true, true],
    ])
    kms.setPqPolicy({ verifyMode: 'pq_only', produceHybrid: false })
    expect([made(), verdicts()]).toEqual([['ml-dsa'], [false, true, true]])
    expect(kms.verifyBundle(kid, message, classical, { mode: 'or' }).ok).toBe(false)
    kms.setPqPolicy({})
    expect([made(), verdicts()]).toEqual([
      ['ed25519', 'ml-dsa'],
      [false, false, true],
    ])
    const { pqRefused, classicalOnly } = kms.engineMetrics()
    expect(pqRefused).toBeGreaterThanOrEqual(4)
    expect(classicalOnly).toEqual([{ tenant: 'core', value: 2 }])
  })

  it('of a tenant holds for that tenant, with the service’s for what it leaves out', async () => {
    kms.setPqPolicy({
      verifyMode: 'pq_only',
      legacyGraceUntil: new Date(Date.now() + 3_600_000),
      tenants: { old: { verifyMode: 'or' }, strict: { legacyGraceUntil: new Date(0) }, same: {} },
    })
    const verdict = async (tenant: string) => {
      const { kid } = await newKey('hybrid', { tenant })
      return kms.verifyBundle(kid, message, kms.signBundle(kid, message).sigs.slice(0, 1)).ok
    }
    expect([await verdict('old'), await verdict('same'), await verdict('core')]).toEqual([true, false, false])
    expect((await newKey('ed25519', { tenant: 'same' })).alg).toBe('ed25519')
    expect(await refusal(() => newKey('ed25519', { tenant: 'strict' }))).toBe('Unsupported alg')
    // What is undefined is left out: it does not loosen the service's rule to the default.
    const vague = { verifyMode: undefined } as unknown as { verifyMode: 'or' }
    kms.setPqPolicy({ verifyMode: 'pq_only', tenants: { core: vague } })
    expect(await refusal(() => newKey('ed25519'))).toBe('Unsupported alg')
  })

  it('under pq_only lets no classical key be made or used, except within the grace', async () => {
    const { kid } = await newKey('ed25519')
    const signature = kms.sign(kid, message)
    const items = [{ kid, message, signature }]
    kms.setPqPolicy({ verifyMode: 'pq_only' })
    expect(await refusal(() => newKey('ed25519'))).toBe('Unsupported alg')
    expect(await refusal(() => kms.sign(kid, message))).toBe('Unsupported kid')
    expect(kms.verify(kid, message, signature)).toBe(false)
    expect([...kms.verifyBatch(items)]).toEqual([0])
    expect([...(await kms.verifyBatchAsync(Array(100).fill(items[0])))]).toEqual(Array(100).fill(0))
    expect(kms.signBatch([{ kid, message }])).toEqual([null])
    kms.setPqPolicy({ verifyMode: 'pq_only', legacyGraceUntil: new Date(Date.now() + 60_000) })
    expect(kms.verify(kid, message, kms.sign(kid, message))).toBe(true)
    kms.setPqPolicy({ verifyMode: 'pq_only', legacyGraceUntil: new Date(Date.now() - 1) })
    expect(kms.verify(kid, message, signature)).toBe(false)
  })

  it('can be tightened by a key', async () => {
    kms.setPqPolicy({ verifyMode: 'or' })
    const { kid } = await newKey('hybrid', { policyHints: { verify_mode: 'pq_only' } })
    const { sigs } = kms.signBundle(kid, message)
    expect(kms.verifyBundle(kid, message, sigs.slice(0, 1)).ok).toBe(false)
    expect(kms.verifyBundle(kid, message, sigs.slice(1))).toMatchObject({ satisfiedMode: 'pq_only' })
    for (const [name, value] of Object.entries({ verify_mode: 'none', wrap_outside: 'yes', aead: 'rot13' })) {
      const hints = { [name]: value }
      expect(await refusal(() => newKey('hybrid', { policyHints: hints }))).toBe(
        `BadRequest policy_hints.${name}`,
      )
    }
  })

  it('is rolled out by key', async () => {
    kms.setPqPolicy({ rolloutPercent: 50 })
    const halves = new Set<number>()
    for (let i = 0; i < 64; i++) halves.add(kms.signBundle((await newKey('hybrid')).kid, message).sigs.length)
    expect(halves).toEqual(new Set([1, 2]))
  })

  it('that contradicts itself, or is none, is refused, and the old one stays', async () => {
    kms.setPqPolicy({ verifyMode: 'pq_only' })
    const bad: [unknown, string][] = [
      [{ produceHybrid: false }, 'pq.produceHybrid'],
      [{ verifyMode: 'and', produceHybrid: false }, 'pq.produceHybrid'],
      [{ tenants: { acme: { produceHybrid: false } } }, 'pq.tenants.acme.produceHybrid'],
      [
        { verifyMode: 'or', produceHybrid: false, tenants: { acme: { verifyMode: 'and' } } },
        'pq.tenants.acme.produceHybrid',
      ],
      [{ verifyMode: 'none' }, 'pq.verifyMode'],
      [{ verifyMode: null }, 'pq.verifyMode'],
      [{ produceHybrid: 'false' }, 'pq.produceHybrid'],
      ...[101, -1, 1.5, Number.NaN, '50', 50n].map((rolloutPercent): [unknown, string] => [
        { rolloutPercent },
        'pq.rolloutPercent',
      ]),
      ...[7, '2027-01-01', null, new Date(Number.NaN), { getTime: () => 7 }].map(
        (legacyGraceUntil): [unknown, string] => [{ legacyGraceUntil }, 'pq.legacyGraceUntil'],
      ),
      [{ verifyMod: 'or' }, 'pq'],
      [{ tenants: { acme: { verify_mode: 'or' } } }, 'pq.tenants.acme'],
      [{ tenants: { 'a b': {} } }, 'pq.tenants'],
      [{ tenants: JSON.parse('{"__proto__":{"verifyMode":"or"}}') }, 'pq.tenants'],
      [{ tenants: { acme: null } }, 'pq.tenants.acme'],
      [{ tenants: 7 }, 'pq.tenants'],
      [{ tenants: [] }, 'pq.tenants'],
      [[], 'pq'],
      [null, 'pq'],
      [7, 'pq'],
    ]
    for (const [policy, field] of bad) {
      const given = policy as Parameters<Kms['setPqPolicy']>[0]
      expect(await refusal(() => kms.setPqPolicy(given))).toBe(`BadRequest ${field}`)
      if (policy === null) continue
      expect(await refusal(() => Kms.open({ backend: 'inmem', pq: given }))).toBe(`BadRequest ${field}`)
    }
    expect(await refusal(() => newKey('ed25519'))).toBe('Unsupported alg')
  })
})

describe('what a service is opened with', () => {
  const opened = async (
    options: Omit<KmsOptions, 'backend'>,
    alg: CreateKeyOptions['alg'],
    purpose = 'audit',
  ) => {
    const other = await Kms.open({ backend: 'inmem', ...options })
    try {
      return await refusal(() => other.createKey({ tenant: 'core', purpose, alg }))
    } finally {
      other.close()
    }
  }

  it('allows families of algorithms, and a hybrid key needs both of its', async () => {
    const refused = 'Unsupported alg'
    const made = 'not refused'
    expect(await opened({ allowedAlgs: ['ml-dsa'] }, 'ml-dsa-87')).toBe(made)
    expect(await opened({ allowedAlgs: ['ml-dsa'] }, 'hybrid')).toBe(refused)
    expect(await opened({ allowedAlgs: ['ed25519'] }, 'hybrid')).toBe(refused)
    expect(await opened({ allowedAlgs: ['ed25519', 'ml-dsa'] }, 'hybrid')).toBe(made)
    expect(await opened({ allowedAlgs: ['ed25519', 'ml-dsa'] }, 'hybrid', 'kem')).toBe(refused)
    expect(await opened({ allowedAlgs: ['x25519', 'ml-kem'] }, 'hybrid', 'kem')).toBe(made)
    expect(await opened({ allowedAlgs: ['ed25519'] }, 'slh-dsa-sha2-128f')).toBe(refused)
    const rotated = await Kms.open({ backend: 'inmem', allowedAlgs: ['ed25519'] })
    const { kid } = await rotated.createKey({ tenant: 'core', purpose: 'audit', alg: 'ed25519' })
    expect(await refusal(() => rotated.rotateKey(kid, { alg: 'hybrid' }))).toBe(refused)
    rotated.close()
    const open = (allowedAlgs: unknown) =>
      refusal(() => Kms.open({ backend: 'inmem', allowedAlgs } as KmsOptions))
    expect(await open(['ml-dsa-44'])).toBe('Unsupported allowedAlgs')
    expect(await open('ed25519')).toBe('BadRequest allowedAlgs')
    expect(await open(7)).toBe('BadRequest allowedAlgs')
  })

  it('computes in the lane that it names, with the same results', async () => {
    const aws = await Kms.open({ backend: 'inmem', lanes: { pq: 'aws-lc' } })
    const rust = await Kms.open({ backend: 'inmem', lanes: { pq: 'rustcrypto' } })
    for (const each of [aws, rust]) {
      for (const alg of ['ml-dsa-44', 'ml-dsa', 'ml-dsa-87', 'hybrid'] as const) {
        const { kid } = await each.createKey({ tenant: 'core', purpose: 'audit', alg })
        const { sigs } = each.signBundle(kid, message)
        expect(each.verifyBundle(kid, message, sigs).ok).toBe(true)
      }
      for (const alg of ['ml-kem-512', 'ml-kem', 'ml-kem-1024', 'hybrid'] as const) {
        const { kid } = await each.createKey({ tenant: 'core', purpose: 'kem', alg })
        expect((await each.unwrap((await each.wrap(kid, message)).wrapped)).dataKey).toEqual(message)
      }
      each.close()
    }
    const unknown = { pq: 'openssl' } as unknown as { pq: 'auto' }
    expect(await refusal(() => Kms.open({ backend: 'inmem', lanes: unknown }))).toBe('BadRequest lane')
  })

  it('verifies its post-quantum signatures before they leave, if it is told to', async () => {
    const checking = await Kms.open({ backend: 'inmem', verifyAfterSign: true })
    for (const alg of ['ml-dsa', 'hybrid'] as const) {
      const { kid } = await checking.createKey({ tenant: 'core', purpose: 'audit', alg })
      const { sigs } = checking.signBundle(kid, message)
      expect(checking.verifyBundle(kid, message, sigs).ok).toBe(true)
    }
    checking.close()
    expect(await refusal(() => checking.wrap('core/kem/x25519/x', message))).toBe(
      'StoreUnavailable undefined',
    )
  })
})

describe('arguments', () => {
  it('of a wrong type are named', async () => {
    const { kid } = await newKey('hybrid')
    const kem = await newKey('x25519', { purpose: 'kem' })
    const { sigs } = kms.signBundle(kid, message)
    const wrong = (value: unknown) => value as never
    const calls: [() => unknown, string][] = [
      [() => kms.signBundle(wrong(7), message), 'kid'],
      [() => kms.signBundle(kid, wrong('m')), 'message'],
      [() => kms.signBundle(kid, message, wrong(null)), 'options'],
      [() => kms.signBundle(kid, message, { context: wrong('c') }), 'context'],
      [() => kms.signBundle(kid, message, { produceHybrid: wrong('yes') }), 'produceHybrid'],
      [() => kms.signBundleAsync(kid, message, { produceHybrid: wrong(1) }), 'produceHybrid'],
      [() => kms.verifyBundle(wrong(7), message, sigs), 'kid'],
      [() => kms.verifyBundle(kid, message, wrong('sigs')), 'sigs'],
      [() => kms.verifyBundle(kid, message, wrong([null])), 'sigs[0]'],
      [() => kms.verifyBundle(kid, message, wrong(Array(2))), 'sigs[0]'],
      [() => kms.verifyBundle(kid, message, wrong([{ alg: 7, signature: message }])), 'sigs[0].alg'],
      [() => kms.verifyBundle(kid, message, wrong([sigs[0], { alg: 'ml-dsa' }])), 'sigs[1].signature'],
      [() => kms.verifyBundle(kid, message, sigs, { mode: wrong(7) }), 'mode'],
      [() => kms.verifyBundle(kid, message, sigs, { mode: wrong(null) }), 'mode'],
      [() => kms.verifyBundle(kid, message, sigs, { mode: wrong('all') }), 'mode'],
      [() => kms.wrap(kem.kid, wrong(undefined)), 'dataKey'],
      [() => kms.wrap(kem.kid, wrong(new Uint16Array(2))), 'dataKey'],
      [() => kms.wrap(kem.kid, wrong(new ArrayBuffer(4))), 'dataKey'],
      [() => kms.wrap(kem.kid, wrong({})), 'dataKey'],
      [() => kms.wrap(kem.kid, message, { kemMode: wrong(7) }), 'kemMode'],
      [() => kms.wrap(kem.kid, message, { kemMode: wrong('both') }), 'kemMode'],
      [() => kms.unwrap(wrong('x')), 'envelope'],
      [() => kms.unwrap(message, { kid: wrong(7) }), 'kid'],
      [() => kms.unwrap(message, wrong(null)), 'options'],
      [() => kms.rewrap(wrong(null)), 'envelope'],
    ]
    for (const [call, field] of calls) expect(await refusal(call)).toBe(`BadRequest ${field}`)
  })

  it('whose memory is gone are refused, even where a getter does it on the way', async () => {
    const { kid } = await newKey('hybrid')
    const kem = await newKey('x25519', { purpose: 'kem' })
    const { sigs } = kms.signBundle(kid, message)
    expect(await refusal(() => kms.signBundle(kid, detached()))).toBe('BadRequest message')
    expect(await refusal(() => kms.signBundle(kid, message, { context: detached() }))).toBe(
      'BadRequest context',
    )
    const gone = [{ alg: 'ed25519' as const, signature: detached() }]
    expect(await refusal(() => kms.verifyBundle(kid, message, gone))).toBe('BadRequest sigs[0].signature')
    expect(await refusal(() => kms.wrap(kem.kid, detached()))).toBe('BadRequest dataKey')
    expect(await refusal(() => kms.unwrap(detached()))).toBe('BadRequest envelope')

    const victim = Uint8Array.from(sigs[0]?.signature as Uint8Array)
    const trap = {
      get mode(): undefined {
        structuredClone(victim.buffer, { transfer: [victim.buffer] })
        return undefined
      },
    }
    const given: SignatureBundle['sigs'] = [{ alg: 'ed25519', signature: victim }]
    expect(await refusal(() => kms.verifyBundle(kid, message, given, trap as never))).toBe(
      'BadRequest sigs[0].signature',
    )
    const text = Uint8Array.from(message)
    const greedy = {
      get context() {
        structuredClone(text.buffer, { transfer: [text.buffer] })
        return new Uint8Array(0)
      },
    }
    expect(await refusal(() => kms.signBundle(kid, text, greedy))).toBe('BadRequest message')
  })

  it('are copied before work leaves the thread', async () => {
    const { kid } = await newKey('hybrid')
    const [text, context] = [Uint8Array.from(message), bytes('context')]
    const signing = kms.signBundleAsync(kid, text, { context })
    text.fill(0)
    context.fill(0)
    const { sigs } = await signing
    expect(kms.verifyBundle(kid, message, sigs, { context: bytes('context') }).ok).toBe(true)
  })
})
