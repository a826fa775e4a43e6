// What holds for every backend, the same suite for each. What one of them does not do is skipped by name, with a reason,
// and refused with a typed error.
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kms, type KmsOptions } from 'ron-kms'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { part } from './support/parts.js'
import { refusal } from './support/refusal.js'
import { type SoftToken, softToken, useToken } from './support/softhsm.js'

const isUnix = process.platform !== 'win32'
const softhsm = part('softhsm')

type Fact = 'signs on this thread' | 'derives' | 'outlives the process'

interface Backend {
  readonly name: 'inmem' | 'file' | 'pkcs11'
  /** Why it cannot be tested here. */
  readonly absent: string | undefined
  /** What it does not do, and why. */
  readonly skips: Partial<Readonly<Record<Fact, string>>>
  readonly classes: { readonly ed25519: string; readonly hybrid: string; readonly 'ml-dsa': string }
  options(dir: string): Partial<KmsOptions>
}

const software = (name: string) => ({ ed25519: name, hybrid: name, 'ml-dsa': name })
let token: SoftToken | undefined

const backends: readonly Backend[] = [
  {
    name: 'inmem',
    absent: undefined,
    skips: { 'outlives the process': 'amnesia: nothing is ever written' },
    classes: software('software-memory'),
    options: () => ({}),
  },
  {
    name: 'file',
    absent: isUnix ? undefined : 'files need a Unix system',
    skips: {},
    classes: software('software-file'),
    options: dir => ({
      store: {
        dir: join(dir, 'store'),
        rootKey: { kind: 'key-file', file: join(dir, 'root.key') },
        create: true,
      },
    }),
  },
  {
    name: 'pkcs11',
    absent: softhsm.available ? undefined : softhsm.reason,
    skips: {
      'signs on this thread': 'a token is waited for, which the event loop must not do',
      derives: 'the seed of a key never leaves the token',
    },
    classes: {
      ed25519: 'pkcs11-softhsmv2',
      hybrid: 'pkcs11-softhsmv2-sealed',
      'ml-dsa': 'pkcs11-softhsmv2-sealed',
    },
    options: dir => {
      token ??= softToken(dir)
      useToken(token)
      return { pkcs11: token.options, store: { dir: join(dir, 'store'), create: true } }
    },
  },
]

const message = new TextEncoder().encode('message')
const wish = { tenant: 'core', purpose: 'audit', alg: 'ed25519' } as const

describe.each(backends)('backend $name', backend => {
  const suite = backend.absent === undefined ? describe : describe.skip
  const fact = (name: Fact) => (backend.skips[name] === undefined ? it : it.skip)

  suite(backend.absent ?? 'is here', () => {
    let dir: string
    let opened: Kms[]

    beforeEach(() => {
      dir = mkdtempSync(join(tmpdir(), 'ron-kms-backend-'))
      writeFileSync(join(dir, 'root.key'), new Uint8Array(32).fill(7))
      opened = []
      token = undefined
    })
    afterEach(() => {
      for (const kms of opened) kms.close()
      rmSync(dir, { recursive: true })
    })

    async function open(): Promise<Kms> {
      const kms = await Kms.open({
        backend: backend.name,
        minDestroyDelayMs: 0,
        ...backend.options(dir),
      })
      opened.push(kms)
      return kms
    }

    async function again(kms: Kms): Promise<Kms> {
      kms.close()
      return open()
    }

    it('makes keys of every family that sign, and verifies them', async () => {
      const kms = await open()
      for (const alg of ['ed25519', 'ml-dsa', 'ml-dsa-87', 'slh-dsa-sha2-128f'] as const) {
        const { kid, publicKey } = await kms.createKey({ ...wish, alg })
        const signature = await kms.signAsync(kid, message)
        expect(kms.verify(kid, message, signature)).toBe(true)
        expect(kms.verify(kid, Uint8Array.of(1), signature)).toBe(false)
        expect((await kms.describeKey(kid)).publicKey).toEqual(publicKey)
      }
    })

    it('signs bundles with both halves of a hybrid key, and upgrades a classical one', async () => {
      const kms = await open()
      const classical = await kms.createKey(wish)
      const { kid } = await kms.rotateKey(classical.kid, { alg: 'hybrid' })
      const hybrid = await kms.createKey({ ...wish, alg: 'hybrid' })
      for (const each of [kid, hybrid.kid]) {
        const { sigs, attestation } = await kms.signBundleAsync(each, message)
        const { evidence } = await kms.attest(each)
        const said = evidence && { class: backend.classes.hybrid, complete: true, b3: evidence.b3 }
        expect(attestation).toEqual(said)
        expect(sigs.map(({ alg }) => alg)).toEqual(['ed25519', 'ml-dsa'])
        expect(kms.verifyBundle(each, message, sigs)).toMatchObject({ ok: true, satisfiedMode: 'and' })
        expect(kms.verifyBundle(each, message, sigs.slice(0, 1)).ok).toBe(false)
      }
    })

    it('rotates: the new version signs, and every older one verifies', async () => {
      const kms = await open()
      const first = await kms.createKey(wish)
      const signatures = [{ kid: first.kid, signature: await kms.signAsync(first.kid, message) }]
      for (let i = 0; i < 3; i += 1) {
        const { kid } = await kms.rotateKey(first.kid.split('#')[0] as string)
        signatures.push({ kid, signature: await kms.signAsync(kid, message) })
      }
      for (const { kid, signature } of signatures) expect(kms.verify(kid, message, signature)).toBe(true)
      expect(await refusal(() => kms.signAsync(first.kid, message))).toBe('Conflict kid')
      expect(await refusal(() => kms.rotateKey(first.kid))).toBe('Conflict kid')
    })

    it('publishes a pending version before it signs', async () => {
      const kms = await open()
      const { kid } = await kms.createKey(wish)
      const pending = await kms.rotateKey(kid, { activateAfterMs: 500 })
      expect(await refusal(() => kms.signAsync(pending.kid, message))).toBe('Conflict kid')
      const signature = await vi.waitUntil(() => kms.signAsync(pending.kid, message).catch(() => undefined))
      expect(kms.verify(pending.kid, message, signature)).toBe(true)
    })

    it('takes keys out of use, into it again, and out of the world', async () => {
      const kms = await open()
      const { kid } = await kms.createKey(wish)
      const signature = await kms.signAsync(kid, message)
      await kms.disableKey(kid)
      expect(await refusal(() => kms.signAsync(kid, message))).toBe('Conflict kid')
      await kms.enableKey(kid)
      expect(kms.verify(kid, message, signature)).toBe(true)
      await kms.scheduleDestroy(kid, { delayMs: 0 })
      await vi.waitUntil(async () => (await kms.describeKey(kid)).versionStates[0]?.state === 'destroyed', {
        timeout: 10_000,
      })
      expect(await refusal(() => kms.signAsync(kid, message))).toBe('Conflict kid')
    })

    it('answers an op_id again, and refuses it for another wish', async () => {
      const kms = await open()
      const opId = randomUUID()
      const made = await kms.createKey({ ...wish, opId })
      expect(await kms.createKey({ ...wish, opId })).toEqual(made)
      expect(await refusal(() => kms.createKey({ ...wish, purpose: 'other', opId }))).toBe('Conflict op_id')
      const rotation = { opId: randomUUID() }
      expect(await kms.rotateKey(made.kid, rotation)).toEqual(await kms.rotateKey(made.kid, rotation))
    })

    it('signs batches, in which one bad item spoils no other', async () => {
      const kms = await open()
      const { kid } = await kms.createKey(wish)
      const { kid: lattice } = await kms.createKey({ ...wish, alg: 'ml-dsa' })
      const nobody = kid.replace(/[^/]+#/, `${randomUUID()}#`)
      const items = Array.from({ length: 40 }, (_, i) => ({
        kid: [kid, lattice, nobody][i % 3] as string,
        message: Uint8Array.of(i),
      }))
      const signatures = await kms.signBatchAsync(items)
      const made = items.flatMap((item, i) => (signatures[i] ? [{ ...item, signature: signatures[i] }] : []))
      expect(made.length).toBe(27)
      expect(signatures.errors.get(2)).toMatchObject({ code: 'NotFound' })
      expect([...(await kms.verifyBatchAsync(made))].every(verdict => verdict === 1)).toBe(true)
    })

    it('wraps and unwraps', async () => {
      const kms = await open()
      const dataKey = new Uint8Array(32).fill(3)
      for (const alg of ['x25519', 'ml-kem', 'hybrid'] as const) {
        const { kid } = await kms.createKey({ tenant: 'core', purpose: 'kem', alg })
        const { wrapped } = await kms.wrap(kid, dataKey)
        await kms.rotateKey(kid)
        expect((await kms.unwrap(wrapped)).dataKey).toEqual(dataKey)
      }
    })

    it('says where a key is held, and exports none', async () => {
      const kms = await open()
      for (const [alg, held] of Object.entries(backend.classes)) {
        const { kid } = await kms.createKey({ ...wish, alg: alg as 'ed25519' })
        expect((await kms.attest(kid)).class).toBe(held)
        expect(await refusal(() => kms.exportKey(kid))).toBe('ExportForbidden undefined')
      }
    })

    it('refuses everything once it is closed', async () => {
      const kms = await open()
      const { kid } = await kms.createKey(wish)
      kms.close()
      kms.close()
      const calls = [() => kms.signAsync(kid, message), () => kms.createKey(wish), () => kms.describeKey(kid)]
      for (const call of calls) expect(await refusal(call)).toBe('StoreUnavailable undefined')
    })

    const signs = backend.skips['signs on this thread']
    fact('signs on this thread')(`signs on this thread${signs ? `: ${signs}` : ''}`, async () => {
      const kms = await open()
      const { kid } = await kms.createKey(wish)
      expect(kms.verify(kid, message, kms.sign(kid, message))).toBe(true)
    })

    const derives = backend.skips.derives
    fact('derives')(`derives keys${derives ? `: ${derives}` : ''}`, async () => {
      const kms = await open()
      const { kid } = await kms.createKey(wish)
      const derived = await kms.deriveKey(kid, 'orders')
      expect(await kms.deriveKey(kid, 'orders')).toMatchObject({ kid: derived.kid })
    })

    const outlives = backend.skips['outlives the process']
    fact('outlives the process')(`keeps its keys${outlives ? `: ${outlives}` : ''}`, async () => {
      const kms = await open()
      const { kid } = await kms.createKey(wish)
      const hybrid = await kms.createKey({ ...wish, alg: 'hybrid' })
      const signature = await kms.signAsync(kid, message)
      const next = await kms.rotateKey(kid)
      const before = await kms.describeKey(kid)
      const reopened = await again(kms)
      expect(await reopened.describeKey(kid)).toEqual(before)
      expect(reopened.verify(kid, message, signature)).toBe(true)
      const later = await reopened.signAsync(next.kid, message)
      expect(reopened.verify(next.kid, message, later)).toBe(true)
      const { sigs } = await reopened.signBundleAsync(hybrid.kid, message)
      expect(reopened.verifyBundle(hybrid.kid, message, sigs).ok).toBe(true)
    })
  })
})
