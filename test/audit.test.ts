import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AuditOptions, Kms, type KmsOptions } from 'ron-kms'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addonStatus } from '../src/cli/addon.js'
import { rootKeyCommand } from '../src/cli/root-key.js'
import { start } from './server/support.js'
import { leafHash, openNote, parseCheckpoint, parseVkey, rootOfPath, rootsOfPrefix } from './support/c2sp.js'

const message = new TextEncoder().encode('message')
const wish = { tenant: 'core', purpose: 'audit', alg: 'ed25519', signs: 'message' } as const
const LOG = 'ron-kms/test'

let dir: string
let opened: Kms[]

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-audit-'))
  opened = []
  await rootKeyCommand().parseAsync(['new', at('root.key')], { from: 'user' })
})

afterEach(() => {
  for (const kms of opened) kms.close()
  rmSync(dir, { recursive: true })
})

const at = (name: string) => join(dir, name)
const rootKey = () => ({ kind: 'key-file', file: at('root.key') }) as const

/** Keys and log in files. */
async function open(audit: Partial<AuditOptions> = {}, options: Partial<KmsOptions> = {}): Promise<Kms> {
  const kms = await Kms.open({
    backend: 'file',
    store: { dir: at('data'), rootKey: rootKey(), anchor: at('anchor'), create: true },
    audit: { log: LOG, dir: at('data/audit'), ...audit },
    minDestroyDelayMs: 0,
    ...options,
  })
  opened.push(kms)
  return kms
}

/** Keys in memory, the log in files. */
async function openInMemory(audit: Partial<AuditOptions> = {}): Promise<Kms> {
  const files = { dir: at('audit'), rootKey: rootKey(), anchor: at('anchor') }
  const kms = await Kms.open({ backend: 'inmem', audit: { log: LOG, ...files, ...audit } })
  opened.push(kms)
  return kms
}

/** The first verifier key of the log. */
const verifierKey = (log = 'data/audit') => readFileSync(at(join(log, 'keys')), 'utf8').split('\n')[0] ?? ''

/** A checkpoint, after its signature was checked. */
const openCheckpoint = (note: string, vkey: string) => parseCheckpoint(openNote(note, [parseVkey(vkey)]))
const buffers = (hashes: readonly Uint8Array[]) => hashes.map(hash => Buffer.from(hash))

/** What anybody would do with a proof. */
async function expectProof(kms: Kms, index: number, log?: string) {
  const proof = await kms.audit.proof(index)
  const { origin, size, root } = openCheckpoint(proof.checkpoint, verifierKey(log))
  expect({ origin, size }).toEqual({ origin: LOG, size: proof.size })
  expect(Buffer.from(proof.leafHash)).toEqual(leafHash(proof.record ?? new Uint8Array()))
  expect(rootOfPath(Buffer.from(proof.leafHash), index, size, buffers(proof.proof))).toEqual(root)
  return proof
}

async function thrown(work: Promise<unknown>): Promise<{ code: string; message: string }> {
  return work.then(
    () => ({ code: 'nothing was thrown', message: '' }),
    error => ({ code: error.code, message: error.message }),
  )
}

describe.skipIf(!addonStatus().loaded)('the audit log', () => {
  it('has a record of every operation, each proved by its index under a signed checkpoint', async () => {
    const kms = await open({ hybrid: true })
    const created = await kms.createKey(wish)
    expect(created.audit).toEqual({ log: LOG, index: 2 })
    expect(kms.signBundle(created.kid, message).audit).toEqual({ log: LOG, index: 3 })
    kms.sign(created.kid, message)
    kms.signBatch([message, message].map(each => ({ kid: created.kid, message: each })))
    const rotated = await kms.rotateKey(created.kid)
    expect(rotated.audit).toEqual({ log: LOG, index: 8, continuity: 7 })
    const disabled = await kms.disableKey(created.kid)
    expect(disabled.audit).toEqual({ log: LOG, index: 9 })
    for (let index = 0; index < 10; index += 1) await expectProof(kms, index)
    expect(await thrown(kms.audit.proof(10))).toMatchObject({ code: 'NotFound' })
    expect(kms.audit.status()).toMatchObject({ kind: 'log', size: 10, checkpointSize: 10, writable: true })
  })

  it('goes on after a restart, and answers the same places to the same op_id', async () => {
    const opId = '6f7f8a52-30c7-4a40-8f4d-0d0c1d4e7e11'
    const first = await open()
    const { kid, audit } = await first.createKey({ ...wish, opId })
    first.close()
    const second = await open()
    expect(await second.createKey({ ...wish, opId })).toMatchObject({ kid, audit })
    const next = second.signBundle(kid, message).audit?.index ?? 0
    expect(next).toBe(4)
    await expectProof(second, audit?.index ?? -1)
    await expectProof(second, next)
  })

  it('takes a second signature and gives it up again, with the same keys', async () => {
    for (const hybrid of [false, true, false, true]) {
      const kms = await open({ hybrid })
      const { audit } = await kms.createKey(wish)
      const { checkpoint } = await expectProof(kms, audit?.index ?? -1)
      expect(checkpoint.match(/^— /gm)).toHaveLength(hybrid ? 2 : 1)
      kms.close()
    }
  })

  it('changes its keys, which those before sign', async () => {
    const keys = new Set<string>()
    for (const [keyGeneration, hybrid] of [
      [1, true],
      [2, true],
      [3, false],
    ] as const) {
      const kms = await open({ keyGeneration, hybrid })
      const { audit } = await kms.createKey(wish)
      await expectProof(kms, audit?.index ?? -1)
      keys.add(verifierKey())
      kms.close()
    }
    expect(keys.size).toBe(3)
    // Back, or over one that never signed: nobody vouches for that.
    const refused = { code: 'StoreUnavailable', message: expect.stringContaining('audit key refused') }
    expect(await thrown(open({ keyGeneration: 1 }))).toEqual(refused)
    expect(await thrown(open({ keyGeneration: 5 }))).toEqual(refused)
    const kms = await open({ keyGeneration: 5, acceptKeys: true })
    await expectProof(kms, kms.audit.status().size - 1)
  })

  it('proves that it only grew', async () => {
    const kms = await open()
    const old = openCheckpoint(kms.audit.checkpoint(), verifierKey())
    const { kid } = await kms.createKey(wish)
    for (let i = 0; i < 20; i += 1) kms.sign(kid, message)
    const { checkpoint } = await kms.audit.proof(22)
    const { size, root } = openCheckpoint(checkpoint, verifierKey())
    const { proof } = await kms.audit.consistency(old.size, size)
    expect(rootsOfPrefix(old.size, size, old.root, buffers(proof))).toEqual([old.root, root])
    await expect(kms.audit.consistency(0, size)).rejects.toMatchObject({ code: 'NotFound' })
    await expect(kms.audit.consistency(1, size + 1)).rejects.toMatchObject({ code: 'NotFound' })
  })

  it('gives up old files and goes on proving', { timeout: 60_000 }, async () => {
    const kms = await openInMemory()
    const { kid } = await kms.createKey(wish)
    const items = Array.from({ length: 1000 }, () => ({ kid, message }))
    while (!existsSync(at('audit/log-00000002'))) kms.signBatch(items)
    const { index } = await kms.audit.proof(kms.audit.status().size - 1)
    mkdirSync(at('archive'))
    const first = await kms.audit.prune(index, { archive: at('archive') })
    expect(first).toBeGreaterThan(1000)
    expect(existsSync(at('archive/log-00000000'))).toBe(true)
    expect(existsSync(at('audit/log-00000000'))).toBe(false)
    const proof = await kms.audit.proof(3)
    const { root, size } = openCheckpoint(proof.checkpoint, verifierKey('audit'))
    expect(proof.record).toBeUndefined()
    expect(rootOfPath(Buffer.from(proof.leafHash), 3, size, buffers(proof.proof))).toEqual(root)
    kms.close()
    await openInMemory()
  })

  it('records what was refused', async () => {
    const kms = await open()
    const { kid } = await kms.createKey(wish)
    const { size } = kms.audit.status()
    await kms.disableKey(kid.replace('#v1', ''))
    expect(await thrown(kms.rotateKey(kid))).toMatchObject({ code: 'Conflict' })
    expect(kms.audit.status().size).toBe(size + 2)
    const { record } = await expectProof(kms, size + 1)
    expect(Buffer.from(record ?? []).toString('latin1')).toContain('rotate')
    // What is malformed says nothing about a key.
    expect(await thrown(kms.rotateKey('nonsense'))).toMatchObject({ code: 'BadRequest' })
    expect(kms.audit.status().size).toBe(size + 2)
  })

  it('waits for the disk where it is asked to, in every kind of call', async () => {
    const kms = await openInMemory({ durability: 'fsync' })
    const { kid } = await kms.createKey(wish)
    const signatures = await Promise.all(Array.from({ length: 50 }, () => kms.signAsync(kid, message)))
    const { sigs, audit } = await kms.signBundleAsync(kid, message)
    signatures.push(...sigs.map(({ signature }) => signature))
    for (const signature of signatures) expect(kms.verify(kid, message, signature)).toBe(true)
    const batch = await kms.signBatchAsync([{ kid, message }])
    expect(batch.errors.size).toBe(0)
    expect(kms.audit.status().size).toBe(3 + 50 + 2)
    await expectProof(kms, audit?.index ?? -1, 'audit')
    const refused = expect.objectContaining({ code: 'Unsupported', field: 'audit.durability' })
    expect(() => kms.sign(kid, message)).toThrow(refused)
    expect(() => kms.signBundle(kid, message)).toThrow(refused)
    expect(() => kms.signBatch([{ kid, message }])).toThrow(refused)
  })

  it('wraps and unwraps without holding the event loop up for the disk', async () => {
    const kms = await openInMemory({ durability: 'fsync' })
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'kem', alg: 'x25519' })
    const { size } = kms.audit.status()
    const dataKey = new Uint8Array(32).fill(7)
    let turns = 0
    const counting = setInterval(() => (turns += 1), 0)
    const wrapped = await Promise.all(Array.from({ length: 20 }, () => kms.wrap(kid, dataKey)))
    expect(kms.audit.status().size).toBe(size + 20)
    const again = await Promise.all(wrapped.map(it => kms.rewrap(it.wrapped)))
    for (const { dataKey: found } of await Promise.all(again.map(it => kms.unwrap(it.wrapped)))) {
      expect(found).toEqual(dataKey)
    }
    clearInterval(counting)
    expect(turns).toBeGreaterThan(0)
    await expect(kms.wrap('nonsense', dataKey)).rejects.toMatchObject({ code: 'BadRequest' })
    const last = kms.wrap(kid, dataKey)
    kms.close()
    const [settled] = await Promise.allSettled([last])
    if (settled.status === 'rejected') expect(settled.reason.code).toBe('StoreUnavailable')
  })

  it('answers every call that was under way when it was closed', async () => {
    for (let round = 0; round < 5; round += 1) {
      const kms = await openInMemory({ durability: 'fsync' })
      const { kid } = await kms.createKey(wish)
      const calls = Array.from({ length: 40 }, (_, i) =>
        i % 2 ? kms.signAsync(kid, message) : kms.signBatchAsync([{ kid, message }]),
      )
      await calls[0]
      kms.close()
      const settled = await Promise.allSettled<unknown>(calls)
      expect(settled).toHaveLength(40)
      for (const each of settled) {
        if (each.status === 'rejected') expect(each.reason.code).toBe('StoreUnavailable')
      }
    }
  })

  it('is in memory where it has no directory', async () => {
    const kms = await Kms.open({ backend: 'inmem', audit: { log: LOG } })
    opened.push(kms)
    const { audit } = await kms.createKey(wish)
    expect(audit).toEqual({ log: LOG, index: 0 })
    expect(kms.audit.status()).toMatchObject({ kind: 'memory', size: 1 })
    expect(() => kms.audit.checkpoint()).toThrow(expect.objectContaining({ code: 'Unsupported' }))
  })

  it('has a record of each verification where all are asked for', async () => {
    const kms = await openInMemory({ verify: 'all' })
    const { kid } = await kms.createKey(wish)
    const signature = kms.sign(kid, message)
    const { size } = kms.audit.status()
    expect(kms.verify(kid, message, signature)).toBe(true)
    kms.verifyBatch([{ kid, message, signature }])
    expect(kms.audit.status().size).toBe(size + 2)
  })

  it('is opened by one service at a time, and freed by closing', async () => {
    const kms = await openInMemory()
    expect(await thrown(openInMemory())).toMatchObject({ code: 'StoreUnavailable' })
    kms.close()
    await openInMemory()
  })

  it.each([
    [{ log: 'main' }, 'audit.log'],
    [{ log: 'ron-kms/a b' }, 'audit.log'],
    [{ durability: 'never' }, 'audit.durability'],
    [{ onFull: 'forget' }, 'audit.on_full'],
    [{ verify: 'some' }, 'audit.verify'],
    [{ flushIntervalMs: 0 }, 'audit.flushIntervalMs'],
    [{ rootKey: undefined }, 'audit.root_key'],
    [{ anchor: undefined }, 'anchor'],
  ] as [object, string][])('is refused with %j', async (options, field) => {
    const refusal = openInMemory(options)
    await expect(refusal).rejects.toMatchObject({ code: 'BadRequest', field })
  })
})

describe.skipIf(!addonStatus().loaded)('an older copy of the whole directory', () => {
  async function restoreYesterday() {
    const before = await open()
    const key = await before.createKey(wish)
    const signature = before.sign(key.kid, message)
    before.close()
    cpSync(at('data'), at('yesterday'), { recursive: true })
    const after = await open()
    await after.rotateKey(key.kid)
    after.close()
    rmSync(at('data'), { recursive: true })
    cpSync(at('yesterday'), at('data'), { recursive: true })
    return { ...key, signature }
  }

  it('is refused', async () => {
    await restoreYesterday()
    expect(await thrown(open())).toEqual({
      code: 'StoreUnavailable',
      message: expect.stringMatching(
        /^audit log refused: log older than its anchor: \d+ records, the anchor saw \d+$/,
      ),
    })
  })

  it('only verifies where that is wanted, and says so', async () => {
    const { kid, signature } = await restoreYesterday()
    const kms = await open({}, { onMismatch: 'verify-only' })
    expect(kms.verify(kid, message, signature)).toBe(true)
    expect((await kms.describeKey(kid)).head).toBe(1)
    const refused = {
      code: 'StoreUnavailable',
      message: expect.stringMatching(/^this service only verifies/),
    }
    for (const work of [
      async () => kms.sign(kid, message),
      () => kms.createKey(wish),
      () => kms.rotateKey(kid),
      () => kms.disableKey(kid),
      () => kms.scheduleDestroy(kid),
    ]) {
      expect(await thrown(work())).toEqual(refused)
    }
    const older = expect.stringContaining('older than its anchor')
    expect(kms.audit.status()).toMatchObject({ kind: 'off', refused: older })
    kms.close()
    // Nothing of that was written: it is refused as before.
    expect(await thrown(open())).toEqual({ code: 'StoreUnavailable', message: older })
  })

  it('is refused without its anchor, also with a log that begins afresh', async () => {
    await restoreYesterday()
    rmSync(at('anchor'))
    rmSync(at('data/audit'), { recursive: true })
    const missing = {
      code: 'StoreUnavailable',
      message: expect.stringContaining('anchor of this store is missing'),
    }
    for (const onMismatch of ['refuse', 'verify-only'] as const) {
      expect(await thrown(open({}, { onMismatch }))).toEqual(missing)
    }
    const store = { dir: at('data'), rootKey: rootKey(), anchor: at('anchor'), acceptOlder: true }
    const kms = await open({}, { store })
    expect(kms.audit.status().overridden).toEqual([missing.message])
  })

  it('is not overridden where the log cannot say so', async () => {
    const { kid } = await restoreYesterday()
    const keys = readFileSync(at('data/audit/keys'))
    keys[keys.length - 3] = (keys.at(-3) ?? 0) ^ 1
    writeFileSync(at('data/audit/keys'), keys)
    const store = { dir: at('data'), rootKey: rootKey(), anchor: at('anchor'), acceptOlder: true }
    const kms = await open({ acceptOlder: true }, { store, onMismatch: 'verify-only' })
    expect(kms.audit.status().refused).toContain('audit log damaged')
    expect(() => kms.sign(kid, message)).toThrow(expect.objectContaining({ code: 'StoreUnavailable' }))
    kms.close()
    // The next start is refused too: nothing was accepted.
    expect(await thrown(open())).toMatchObject({ code: 'StoreUnavailable' })
  })

  it('goes on where an operator decides so, which is in the log', async () => {
    const { kid } = await restoreYesterday()
    const store = { dir: at('data'), rootKey: rootKey(), anchor: at('anchor'), acceptOlder: true }
    const kms = await open({ acceptOlder: true }, { store })
    const { overridden, size } = kms.audit.status()
    expect(overridden).toEqual([
      expect.stringContaining('store older than anchor'),
      expect.stringContaining('log older than its anchor'),
    ])
    const records = await Promise.all(Array.from({ length: size }, (_, index) => expectProof(kms, index)))
    const texts = records.map(({ record }) => Buffer.from(record ?? []).toString('latin1'))
    expect(texts.filter(text => text.includes('log older than its anchor'))).toHaveLength(1)
    expect(texts.filter(text => text.includes('store older than anchor'))).toHaveLength(1)
    kms.sign(kid, message)
    kms.close()
    await open()
  })
})

describe.skipIf(!addonStatus().loaded)('the routes of the audit log', () => {
  it('give the last checkpoint and the proof of a record', async () => {
    const kms = await openInMemory()
    const service = await start({}, undefined, kms)
    try {
      const made = await service.ask('POST', '/v1/kms/keys', { body: wish })
      const { kid, audit } = made.json
      const signed = await service.ask('POST', '/v1/kms/sign', {
        body: { kid_or_set: { kid }, message_b64: 'aGVsbG8=' },
      })
      expect(signed.json.audit).toEqual({ log: LOG, index: audit.index + 1 })
      const proved = await service.ask('GET', `/v1/kms/audit/proof/${audit.index}`)
      expect(proved).toMatchObject({ status: 200, json: { log: LOG, index: audit.index } })
      const checkpoint = await service.ask('GET', '/v1/kms/audit/checkpoint')
      expect(checkpoint.headers['content-type']).toBe('text/plain; charset=utf-8')
      const { size, root } = openCheckpoint(checkpoint.text, verifierKey('audit'))
      const { leaf_hash_b64, proof_b64 } = proved.json
      const path = proof_b64.map((hash: string) => Buffer.from(hash, 'base64'))
      expect(rootOfPath(Buffer.from(leaf_hash_b64, 'base64'), audit.index, size, path)).toEqual(root)
      expect((await service.ask('GET', '/v1/kms/audit/proof/99')).status).toBe(404)
      for (const bad of ['-1', '1.5', '01', '1e3', 'x', '9007199254740993']) {
        const refused = await service.ask('GET', `/v1/kms/audit/proof/${bad}`)
        expect(refused).toMatchObject({ status: 400, json: { error: { field: 'seq' } } })
      }
      expect((await service.ask('GET', '/v1/kms/audit/checkpoint', { anonymous: true })).status).toBe(401)
      // The refusal of a moment ago gets a record of its own, within a second.
      const before = kms.audit.status().size
      const appends = await service.metric('kms_audit_appends_total', { result: 'ok' })
      expect(appends).toBeGreaterThanOrEqual(before)
      expect(appends).toBeLessThanOrEqual(kms.audit.status().size)
      expect(await service.metric('kms_audit_appends_total', { result: 'err' })).toBe(0)
      // One for the proof, at least.
      const { checkpointsMade } = kms.audit.status()
      expect(checkpointsMade).toBeGreaterThan(0)
      const counted = await service.metric('kms_audit_checkpoint_total', { result: 'ok' })
      expect(counted).toBeGreaterThanOrEqual(checkpointsMade)
      expect(await service.metric('kms_audit_checkpoint_total', { result: 'err' })).toBe(0)
      expect(await service.metric('kms_audit_integrity_failed_total')).toBe(0)
    } finally {
      await service.close()
    }
  })

  it('tell an operator that the service only verifies', async () => {
    const before = await open()
    before.close()
    rmSync(at('data/audit'), { recursive: true })
    const kms = await open({}, { onMismatch: 'verify-only' })
    const service = await start({}, undefined, kms)
    try {
      const ready = await service.ops('GET', '/readyz')
      expect(ready.status).toBe(503)
      expect(ready.json).toMatchObject({ ready: false, missing: ['audit_ready'] })
      expect(ready.json.audit.refused).toContain('log older than its anchor')
      expect(await service.metric('kms_audit_integrity_failed_total')).toBe(1)
      const refused = await service.ask('POST', '/v1/kms/keys', { body: wish })
      expect(refused).toMatchObject({ status: 503, json: { error: { code: 'StoreUnavailable' } } })
    } finally {
      await service.close()
    }
  })
})
