// A panic in any export is an exception or a rejection, the process lives, and the next call works.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { toKmsError } from '../../src/errors.js'
import type { Native } from '../../src/native.js'
import { ed25519Signer, LogWriter } from '../support/audit-log.js'
import { signer } from '../support/ed25519.js'
import { part } from '../support/parts.js'

type Faulty = Native & { armFault(name: string): void }

const addon = part('fault-addon')

const CLASSES = [
  'NativeCapabilities',
  'NativeGrant',
  'AuditRecords',
  'AuditVerification',
  'Ed25519PublicKey',
  'MlDsaPublicKey',
  'MlKemPublicKey',
  'NativePassport',
  'CallClock',
] as const

describe.skipIf(!addon.available)('a panic', () => {
  const native = addon.available ? (createRequire(import.meta.url)(addon.path) as Faulty) : ({} as Faulty)
  const { publicKey, sign } = signer()
  const message = Uint8Array.of(1, 2, 3)
  const signature = sign(message)
  const offsets = Uint32Array.of(0, 3)
  const context = { requestId: 'r', actor: 'test' }
  const wish = Buffer.from('{"tenant":"core","purpose":"audit","alg":"ed25519","signs":"message"}')
  const out = (length: number) => new Uint8Array(length)
  const kms = addon.available ? new native.NativeKms({}) : (undefined as never)
  const create = () => JSON.parse(kms.dispatch('create', null, context, wish) ?? '').kid as string
  const kid = addon.available ? create() : ''
  const key = addon.available ? new native.Ed25519PublicKey(publicKey) : (undefined as never)
  const zero = Uint32Array.of(0)
  const none = new Uint32Array(0)
  const kemWish = Buffer.from('{"tenant":"core","purpose":"kem","alg":"hybrid"}')
  const kemKid = addon.available
    ? (JSON.parse(kms.dispatch('create', null, context, kemWish) ?? '').kid as string)
    : ''
  const envelope = addon.available
    ? (kms.wrap(kemKid, 0, undefined, out(32)) as { wrapped: Uint8Array }).wrapped
    : out(0)
  const clock = addon.available ? new native.CallClock() : (undefined as never)
  const sigs = [{ alg: 'ed25519', signature }]
  const policy = '{"service":{"produce_hybrid":true,"verify_mode":"and","rollout_percent":100}}'
  const [latticeKey, latticeSignature] = [out(1952), out(3309)]
  const imported = addon.available ? new native.MlDsaPublicKey('ml-dsa-65', latticeKey) : (undefined as never)
  const importedKem = addon.available
    ? new native.MlKemPublicKey('ml-kem-512', out(800))
    : (undefined as never)

  const dir = mkdtempSync(join(tmpdir(), 'ron-kms-panics-'))
  afterAll(() => rmSync(dir, { recursive: true }))
  writeFileSync(join(dir, 'root.key'), out(32))
  const rootKey = { kind: 'key-file', file: join(dir, 'root.key') }
  const store = { dir: join(dir, 'store'), rootKey, create: true }
  const file = openSync(join(dir, 'root.key'), 'r')
  afterAll(() => closeSync(file))
  let copies = 0
  const copy = () => join(dir, `copy-${copies++}`)
  if (addon.available) native.storeBackup(store, copy())

  const audit = {
    log: 'ron-kms/test',
    dir: join(dir, 'audit'),
    rootKey,
    anchor: join(dir, 'audit.anchor'),
  }
  const logged = addon.available ? new native.NativeKms({ audit }) : (undefined as never)
  const stored = addon.available
    ? new native.NativeKms({ store: { ...store, dir: join(dir, 'stored') } })
    : (undefined as never)
  afterAll(() => {
    logged?.close()
    stored?.close()
  })
  const verifierKey = addon.available ? readFileSync(join(dir, 'audit/keys'), 'utf8').trim() : ''

  const capabilities = addon.available ? new native.NativeCapabilities({ skewMs: 0 }) : (undefined as never)
  const soon = Math.floor(Date.now() / 1000) + 600
  const caveats = ['scope = kms:sign', 'tenant = core', `exp = ${soon}`]
  const token = addon.available ? capabilities.mint('test', caveats).token : ''
  const authenticate = () => capabilities.authenticate(`Bearer ${token}`, undefined, 2)
  const granted = () => {
    authenticate()
    return capabilities.granted()
  }
  const grant = addon.available ? granted() : (undefined as never)
  const passportOptions = {
    ...{ clockSkewS: 120, maxMsgBytes: 4096, maxBatch: 512, requireAud: false },
    ...{ issuer: 'test', defaultTtlS: 60, maxTtlS: 60 },
  }
  const passport = addon.available ? new native.NativePassport(passportOptions) : (undefined as never)
  const passportWish = Buffer.from('{"sub":"a","aud":["b"],"scopes":[]}')
  const request = Buffer.from('{"alg":"Ed25519","kid":"k","msg":"e30","sig":""}')

  const auditLog = join(dir, 'audit-log')
  const log = new LogWriter([ed25519Signer(1)])
  log.checkpoint()
  log.write(auditLog)
  const verification = () => new native.AuditVerification(auditLog, {})
  const auditRecords = () => new native.AuditRecords(auditLog)

  // Every export, by the name of its fault; `.task` is the part that runs on another thread.
  const calls: Record<string, () => unknown> = {
    NativeKms: () => new native.NativeKms({}),
    dispatch: () => kms.dispatch('describe', kid, context, out(0)),
    dispatchAsync: () => kms.dispatchAsync('describe', kid, context, out(0)),
    'dispatchAsync.task': () => kms.dispatchAsync('describe', kid, context, out(0)),
    CallClock: () => new native.CallClock(),
    'CallClock.read': () => clock.read(),
    share: () => kms.share(),
    attachKms: () => native.attachKms(kms.share()),
    'NativeCapabilities.share': () => capabilities.share(),
    attachCapabilities: () => native.attachCapabilities(capabilities.share()),
    peerUid: () => native.peerUid(0),
    offerSocket: () => native.offerSocket(file, 9),
    takeSocket: () => closeSync(native.takeSocket(native.offerSocket(file, 9))),
    offeredSockets: () => native.offeredSockets(9),
    know: () => kms.know(kid),
    forgetKnown: () => kms.forgetKnown(),
    sign: () => kms.sign(kid, message, out(64)),
    signBatch: () => kms.signBatch([kid], zero, message, offsets, out(64)),
    signBatchAsync: () => kms.signBatchAsync([kid], zero, message, offsets),
    'signBatchAsync.task': () => kms.signBatchAsync([kid], zero, message, offsets),
    signAsync: () => kms.signAsync(kid, message),
    'signAsync.task': () => kms.signAsync(kid, message),
    signBundle: () => kms.signBundle(kid, false, message, out(0)),
    signBundleAsync: () => kms.signBundleAsync(kid, false, message, out(0)),
    'signBundleAsync.task': () => kms.signBundleAsync(kid, false, message, out(0)),
    verifyBundle: () => kms.verifyBundle(kid, sigs, undefined, message, out(0)),
    wrap: () => kms.wrap(kemKid, 32, 'hybrid', out(0)),
    unwrap: () => kms.unwrap(undefined, envelope),
    rewrap: () => kms.rewrap(kemKid, envelope),
    mintWith: () => kms.mintWith(capabilities),
    NativeCapabilities: () => new native.NativeCapabilities({ skewMs: 0 }),
    'NativeCapabilities.authenticate': authenticate,
    'NativeCapabilities.granted': () => capabilities.granted(),
    'NativeCapabilities.mint': () => capabilities.mint('test', caveats),
    'NativeCapabilities.reload': () => capabilities.reload(),
    'NativeGrant.number': () => grant.number,
    'NativeGrant.actor': () => grant.actor,
    'NativeGrant.tenant': () => grant.tenant,
    'NativeGrant.coversKey': () => grant.coversKey('x'),
    capabilityScopes: () => native.capabilityScopes(),
    capabilityRefusals: () => native.capabilityRefusals(),
    macaroonInspect: () => native.macaroonInspect(token),
    macaroonAttenuate: () => native.macaroonAttenuate(token, ['rps = 1']),
    setPqPolicy: () => kms.setPqPolicy(policy),
    setSignRate: () => kms.setSignRate(0),
    sweep: () => kms.sweep(),
    tokenStatus: () => kms.tokenStatus(),
    auditStatus: () => kms.auditStatus(),
    auditRefused: () => kms.auditRefused('NotFound'),
    auditCheckpoint: () => logged.auditCheckpoint(),
    auditProof: () => logged.auditProof(0),
    'auditProof.task': () => logged.auditProof(0),
    auditPrefixProof: () => logged.auditPrefixProof(1, 2),
    'auditPrefixProof.task': () => logged.auditPrefixProof(1, 2),
    auditPrune: () => logged.auditPrune(0),
    'auditPrune.task': () => logged.auditPrune(0),
    auditCosignedAt: () => native.auditCosignedAt('a\n\n— b YWJjZGU=\n', verifierKey),
    rekeyStore: () => stored.rekeyStore(rootKey),
    'rekeyStore.task': () => stored.rekeyStore(rootKey),
    backupStore: () => stored.backupStore(copy()),
    'backupStore.task': () => stored.backupStore(copy()),
    verifyCoalesced: () => kms.verifyCoalesced([context], out(0), Uint32Array.of(0, 0)),
    verify: () => kms.verify(kid, message, signature),
    verifyBatch: () => kms.verifyBatch([kid], zero, signature, none, message, offsets, out(1)),
    verifyBatchAsync: () => kms.verifyBatchAsync([kid], zero, signature, none, message, offsets),
    'verifyBatchAsync.task': () => kms.verifyBatchAsync([kid], zero, signature, none, message, offsets),
    metrics: () => kms.metrics(),
    close: () => new native.NativeKms({}).close(),
    Ed25519PublicKey: () => new native.Ed25519PublicKey(publicKey),
    'Ed25519PublicKey.number': () => key.number,
    'Ed25519PublicKey.verify': () => key.verify(0, message, signature),
    blake3: () => native.blake3(message, out(32)),
    cpuTier: () => native.cpuTier(),
    ed25519VerifyLanes: () => native.ed25519VerifyLanes(),
    ed25519Verify: () => native.ed25519Verify(0, publicKey, message, signature),
    ed25519VerifyBatch: () =>
      native.ed25519VerifyBatch(0, publicKey, zero, signature, message, offsets, out(1)),
    ed25519VerifyBatchAsync: () =>
      native.ed25519VerifyBatchAsync(0, publicKey, zero, signature, message, offsets, 0),
    'ed25519VerifyBatchAsync.task': () =>
      native.ed25519VerifyBatchAsync(0, publicKey, zero, signature, message, offsets, 0),
    postQuantumLanes: () => native.postQuantumLanes(),
    mlDsaVerify: () => native.mlDsaVerify('ml-dsa-65', 0, latticeKey, message, out(0), latticeSignature),
    mlDsaVerifyAsync: () =>
      native.mlDsaVerifyAsync('ml-dsa-65', 0, latticeKey, message, out(0), latticeSignature),
    'mlDsaVerifyAsync.task': () =>
      native.mlDsaVerifyAsync('ml-dsa-65', 0, latticeKey, message, out(0), latticeSignature),
    mlDsaVerifyMu: () => native.mlDsaVerifyMu('ml-dsa-65', 0, latticeKey, out(64), latticeSignature),
    MlDsaPublicKey: () => new native.MlDsaPublicKey('ml-dsa-65', latticeKey),
    'MlDsaPublicKey.verify': () => imported.verify(0, message, out(0), latticeSignature),
    'MlDsaPublicKey.verifyMu': () => imported.verifyMu(0, out(64), latticeSignature),
    slhDsaVerify: () => native.slhDsaVerify('slh-dsa-sha2-128s', out(32), message, out(0), out(7856)),
    slhDsaVerifyAsync: () =>
      native.slhDsaVerifyAsync('slh-dsa-sha2-128s', out(32), message, out(0), out(7856)),
    'slhDsaVerifyAsync.task': () =>
      native.slhDsaVerifyAsync('slh-dsa-sha2-128s', out(32), message, out(0), out(7856)),
    mlKemCheckPublicKey: () => native.mlKemCheckPublicKey('ml-kem-512', out(800)),
    MlKemPublicKey: () => new native.MlKemPublicKey('ml-kem-512', out(800)),
    'MlKemPublicKey.encapsulate': () => importedKem.encapsulate(0, out(768), out(32)),
    mlKemEncapsulate: () => native.mlKemEncapsulate('ml-kem-512', 0, out(800), out(768), out(32)),
    x25519CheckPublicKey: () => native.x25519CheckPublicKey(out(32).fill(9)),
    storeCheck: () => native.storeCheck(store),
    storeBackup: () => native.storeBackup(store, copy()),
    storeRestore: () => native.storeRestore(join(dir, 'copy-0'), rootKey, copy()),
    storeRekey: () => native.storeRekey(store, rootKey),
    AuditVerification: () => new native.AuditVerification(auditLog, {}),
    'AuditVerification.run': () => verification().run(),
    'AuditVerification.run.task': () => verification().run(),
    'AuditVerification.progress': () => verification().progress(),
    'AuditVerification.stop': () => verification().stop(),
    AuditRecords: () => new native.AuditRecords(auditLog),
    'AuditRecords.read': () => auditRecords().read(100),
    'AuditRecords.read.task': () => auditRecords().read(100),
    auditInclusion: () => native.auditInclusion(auditLog, 0),
    'auditInclusion.task': () => native.auditInclusion(auditLog, 0),
    auditConsistency: () => native.auditConsistency(auditLog, 1),
    'auditConsistency.task': () => native.auditConsistency(auditLog, 1),
    canonicalJson: () => native.canonicalJson(Buffer.from('{}')),
    NativePassport: () => new native.NativePassport(passportOptions),
    'NativePassport.trust': () => passport.trust('k', publicKey),
    'NativePassport.distrust': () => passport.distrust('x'),
    'NativePassport.verify': () => passport.verify(request, true),
    'NativePassport.verifyAsync': () => passport.verifyAsync(request, true),
    'NativePassport.verifyAsync.task': () => passport.verifyAsync(request, true),
    'NativePassport.verifyEach': () => passport.verifyEach(request, Uint32Array.of(0, request.length), true),
    'NativePassport.verifyBatch': () => passport.verifyBatch(Buffer.from('[]'), true),
    'NativePassport.verifyBatchAsync': () => passport.verifyBatchAsync(Buffer.from('[]'), true),
    'NativePassport.verifyBatchAsync.task': () => passport.verifyBatchAsync(Buffer.from('[]'), true),
    'NativePassport.issue': () => passport.issue(passportWish, 'k'),
    'NativePassport.counters': () => passport.counters(),
    secretMemory: () => native.secretMemory(),
    rngOk: () => native.rngOk(),
    ed25519TableStats: () => native.ed25519TableStats(),
    setEd25519TableCacheBytes: () => native.setEd25519TableCacheBytes(64 * 2 ** 20),
  }

  it('is tried in every export', () => {
    const methods = Object.getOwnPropertyNames(native.NativeKms.prototype)
    const ofKeys = CLASSES.flatMap(name =>
      Object.getOwnPropertyNames(native[name].prototype).map(method => `${name}.${method}`),
    )
    const exported = [
      ...Object.keys(native).filter(name => name !== 'armFault'),
      ...methods,
      ...ofKeys,
      // JavaScript cannot construct a grant.
    ].filter(name => !name.endsWith('constructor') && name !== 'ErrorCode' && name !== 'NativeGrant')
    expect(
      Object.keys(calls)
        .filter(name => !name.endsWith('.task'))
        .sort(),
    ).toEqual(exported.sort())
  })

  it.each(Object.keys(calls))('in %s is contained', async name => {
    const call = calls[name] as () => unknown
    native.armFault(name)
    const caught = await (async () => call())().then(
      () => undefined,
      error => error,
    )
    expect(caught).toBeInstanceOf(Error)
    expect(toKmsError(caught)).toMatchObject({ code: 'Internal', retryable: false })
    expect((caught as Error).message).not.toContain('injected')
    await expect((async () => call())()).resolves.not.toBeInstanceOf(Error)
  })

  it('in a rotation closes that key and no other', () => {
    const [hurt, sound] = [create(), create()]
    const rotate = (kid: string) => () => kms.dispatch('rotate', kid, context, out(0))
    const head = (kid: string) => kid.replace('#v1', '')
    native.armFault('rotate.publish')
    expect(rotate(hurt)).toThrow('Internal')
    expect(rotate(hurt)).toThrow('Internal')
    expect(() => kms.sign(hurt, message, out(64))).toThrow('Internal')
    expect(kms.verify(hurt, message, signature)).toBe(false)
    expect(rotate(sound)).not.toThrow()
    expect(() => kms.sign(head(sound), message, out(64))).not.toThrow()
  })

  it('while signing leaves no signature behind', () => {
    const signed = out(64)
    native.armFault('sign.act')
    expect(() => kms.sign(kid, message, signed)).toThrow('Internal')
    expect(signed).toEqual(out(64))
  })

  it('or a flipped bit while signing leaves no signature, where signatures are verified', () => {
    const checking = new native.NativeKms({ verifyAfterSign: true })
    const own = JSON.parse(checking.dispatch('create', null, context, wish) ?? '').kid as string
    const signed = out(64)
    native.armFault('sign.flip')
    expect(() => checking.sign(own, message, signed)).toThrow('withheld')
    expect(signed).toEqual(out(64))
    checking.sign(own, message, signed)
    expect(checking.verify(own, message, signed)).toBe(true)
    const batch = out(128)
    native.armFault('sign.flip')
    const errors = checking.signBatch(
      [own, own],
      Uint32Array.of(0, 0),
      message,
      Uint32Array.of(0, 1, 3),
      batch,
    )
    expect(JSON.parse(errors?.errors ?? '')).toMatchObject([[0, { code: 'Internal' }]])
    expect(batch.subarray(0, 64)).toEqual(out(64))
    expect(batch.subarray(64)).not.toEqual(out(64))
  })
})
