// A real service whose audit log a token of SoftHSM seals: what is under its checkpoints, how the token comes and goes, and
// what an operator sees while it is away.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, it, vi } from 'vitest'
import { openNote, parseCheckpoint, parseVkey } from '../support/c2sp.js'
import { part } from '../support/parts.js'
import { softToken } from '../support/softhsm.js'
import { expectProblem } from './support.js'
import { at, configured, type Env, end, event, ronctl, running, serve } from './token-service.js'

const softhsm = part('softhsm')
const fault = part('pkcs11-fault')

const ATTESTED = ['--audit-sealing', 'attested'] as const

/** What `ronctl audit` says of the log, and its exit code. */
function audit(...args: string[]): [number | null, string] {
  const { status, stdout, stderr } = spawnSync(process.execPath, [ronctl, 'audit', ...args], {
    encoding: 'utf8',
  })
  return [status, stdout + stderr]
}

const log = () => at('store/audit')
const vkeys = () => readFileSync(at('store/audit/keys'), 'utf8').trimEnd().split('\n')
const records = (kind: string) =>
  audit('tail', log(), '-n', '1000')[1]
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
    .filter(record => record.kind === kind)

type Service = Awaited<ReturnType<typeof running>>

/** The checkpoint that covers a signature which is made now. */
async function checkpointAfter(service: Service, kid: string): Promise<string> {
  const { index } = (await service.sign(kid)).json.audit
  const proof = await vi.waitUntil(async () => {
    const answer = await service.get(`/audit/proof/${index}`)
    return answer.status === 200 && answer
  })
  return proof.json.checkpoint
}

describe.skipIf(!softhsm.available)('a log that a token seals', () => {
  it('has its line under every checkpoint, says whose it is, and is verified by strangers with or without it', async () => {
    const { token, config } = configured('softhsm')
    const service = await running(config, token.env, ...ATTESTED)
    const kid = await service.create()
    const note = await checkpointAfter(service, kid)
    const [own, device] = [vkeys()[0], vkeys().at(-1)].map(it => parseVkey(it ?? ''))
    if (!own || !device) throw new Error('no keys')
    expect([own.name, device.name, device.type]).toEqual(['ron-kms/main', 'ron-kms/main#device', 1])
    for (const keys of [[own], [device], [own, device]]) {
      expect(parseCheckpoint(openNote(note, keys)).origin).toBe('ron-kms/main')
    }
    expect((await service.get('/audit/checkpoint')).text.split('\n— ')).toHaveLength(4)
    expect((await service.ops('/readyz')).json.audit).toMatchObject({ kind: 'log', sealing: 'attested' })
    await end(service.child)

    const listed = token.tool('--list-objects', '--type', 'privkey')
    const sealing = listed.split(/^(?=Private Key Object)/m).find(it => it.includes('ron-kms/device-key/'))
    expect(sealing).toContain('sensitive, always sensitive, never extractable, local')
    expect(sealing).toContain(`ID:         ${Buffer.from('ron-kms-seal').toString('hex')}`)
    const [status, said] = audit('verify', log(), '--keys', `${log()}/keys`)
    expect([status, said]).toEqual([0, expect.stringContaining(`sealed by     ${vkeys().at(-1)}\n`)])
    expect(said).toMatch(
      /pkcs11-softhsmv2, token_serial \S+, slot \d+, cka_local true, cka_never_extractable true; since record \d/,
    )
    const [record] = records('sealing')
    expect(record.device).toMatchObject({
      ...{ name: 'ron-kms/main#device', type: 1, public: device.key.toString('hex') },
      ...{ class: 'pkcs11-softhsmv2', facts: { cka_local: 'true', cka_never_extractable: 'true' } },
    })

    const again = await running(config, token.env, ...ATTESTED)
    // Its key is no version of a key: nothing of it is looked for, counted or cleaned up.
    expect(await event(again.log, 'token_searched')).toMatchObject({ present: 1, missing: 0, strangers: 0 })
    expect(openNote(await checkpointAfter(again, kid), [device])).toContain('ron-kms/main')
    await end(again.child)
    expect(records('sealing')).toHaveLength(1)
  })

  it('is sealed, unsealed and sealed again by records that the device signs', async () => {
    const { token, config } = configured('softhsm')
    for (const flags of [[], ATTESTED, ['--audit-sealing', 'software'], ATTESTED]) {
      await end((await running(config, token.env, ...flags)).child)
    }
    expect(records('sealing').map(({ device, signatures }) => [device?.type, signatures.length])).toEqual([
      // By both audit keys, and by the device where it ends.
      [1, 2],
      [undefined, 3],
      [1, 2],
    ])
    const device = vkeys().at(-1) as string
    const [status, said] = audit('verify', log(), '--key', device)
    expect([status, said]).toEqual([0, expect.stringContaining('no device seals the log from here on')])
  })

  it('only verifies with another token, until an operator decides, which is on record', async () => {
    writeFileSync(at('root.key'), new Uint8Array(32).fill(7), { mode: 0o600 })
    const { token, config } = configured('softhsm', '[root_key]', `file = "${at('root.key')}"`)
    const first = await running(config, token.env, ...ATTESTED)
    const kid = await first.create('ml-dsa')
    const signed = (await first.sign(kid)).json
    await end(first.child)
    const before = vkeys().at(-1) as string
    mkdirSync(at('other'))
    const other = softToken(at('other'))

    const refused = await running(config, other.env, ...ATTESTED)
    expect(await event(refused.log, 'audit_integrity_failed')).toMatchObject({
      reason: expect.stringMatching(/sealed by another device.*audit\.accept_keys/),
    })
    expect((await refused.verify(kid, signed.sigs)).json.ok).toBe(true)
    expectProblem(await refused.sign(kid), 503, 'StoreUnavailable', undefined)
    await end(refused.child)

    const decided = await running(config, other.env, ...ATTESTED, '--accept-audit-keys')
    expect((await decided.sign(kid)).status).toBe(200)
    await end(decided.child)
    await end((await running(config, other.env, ...ATTESTED)).child)
    const [status, said] = audit('verify', log())
    expect([status, said]).toEqual([0, expect.stringContaining('without a signature by the one before')])
    expect(audit('verify', log(), '--key', before)[0]).toBe(6)
    expect(audit('verify', log(), '--key', vkeys().at(-1) as string)[0]).toBe(0)
  })

  it('does not take a key for its device of which the token does not say that it cannot leave', async () => {
    const { token, config } = configured('softhsm')
    await end((await running(config, token.env, ...ATTESTED)).child)
    const listed = token.tool('--list-objects', '--type', 'privkey')
    const [, label = '', id = ''] = /label: +(ron-kms\/device-key\/\S+)\s+ID: +(\S+)/.exec(listed) ?? []
    for (const type of ['privkey', 'pubkey']) token.tool('--delete-object', '--type', type, '--id', id)
    const names = ['--id', id, '--label', label]
    token.tool('--keypairgen', '--key-type', 'EC:edwards25519', '--extractable', ...names)
    const refused = await running(config, token.env, ...ATTESTED)
    expect(await event(refused.log, 'audit_integrity_failed')).toMatchObject({
      reason: expect.stringMatching(/the token does not say that the key .*audit\.accept_keys/),
    })
    await end(refused.child)

    // A log that nothing seals yet is not begun with it.
    const elsewhere = ['--audit-dir', at('other-log'), '--accept-older-log']
    const { exit, plain } = await serve(config, token.env, ...ATTESTED, ...elsewhere)
    expect([exit, ...plain]).toEqual([
      78,
      expect.stringMatching(/^config: audit\.sealing = attested: the token does not say that the key/),
    ])
  })

  it('is not begun without a device: exit code 78 and one line that says what is needed', async () => {
    const { token, config } = configured('softhsm')
    writeFileSync(at('root.key'), new Uint8Array(32).fill(7), { mode: 0o600 })
    const refused = async (env: Env, ...flags: string[]) => {
      const { exit, plain } = await serve(config, env, ...flags, ...ATTESTED)
      return [exit, ...plain]
    }
    const needs =
      'config: audit.sealing = attested: needs service.backend = pkcs11, with a token that makes Ed25519 keys (a TPM is not in this version)'
    expect(await refused({}, '--backend', 'file', '--root-key-file', at('root.key'))).toEqual([78, needs])
    expect(await refused(token.env, '--audit', 'false')).toEqual([
      78,
      'config: audit.sealing = attested: contradicts audit.enabled = false',
    ])
  })
})

describe.skipIf(!softhsm.available || !fault.available)('a log whose device fails', () => {
  it('is not begun with a token that makes no Ed25519 keys', async () => {
    const { token, config } = configured('fault')
    token.plan('no-eddsa')
    const { exit, plain } = await serve(config, token.env, ...ATTESTED)
    expect([exit, ...plain]).toEqual([
      78,
      expect.stringMatching(/^config: audit\.sealing = attested: needs a token that makes Ed25519 keys/),
    ])
    token.plan()
    await end((await running(config, token.env, ...ATTESTED)).child)
    expect(audit('verify', log())[0]).toBe(0)
  })

  it('has no checkpoint and takes no operation while the token is away, and says why', async () => {
    const { token, config } = configured('fault')
    const service = await running(config, token.env, ...ATTESTED, '--audit-checkpoint-time', '100ms')
    const kid = await service.create('ml-dsa')
    const { sigs } = (await service.sign(kid)).json
    token.plan('gone')
    // The key is sealed in the store and needs no token: it signs until a checkpoint is due.
    const refused = await vi.waitUntil(
      async () => {
        const answer = await service.sign(kid)
        return answer.status !== 200 && answer
      },
      { timeout: 10_000 },
    )
    expectProblem(refused, 503, 'StoreUnavailable', undefined)
    expect(refused.json.error.message).toMatch(
      /^the device that seals the audit log does not sign: .*the token is/,
    )
    expect(refused.headers['retry-after']).toBe('1')
    expect((await service.verify(kid, sigs)).json.ok).toBe(true)
    const before = (await service.get('/audit/checkpoint')).text
    expectProblem(
      await service.get(`/audit/proof/${await last(service)}`),
      503,
      'StoreUnavailable',
      undefined,
    )
    const ready = await service.ops('/readyz')
    expect(ready.status).toBe(200)
    expect(ready.json.degraded).toEqual(['backend_ready', 'checkpoint_recent'])
    expect(ready.json.audit.unsealed).toMatch(/does not sign: /)
    const failed = /^kms_audit_checkpoint_total\{result="err"\} (\d+)$/m
    expect(Number(failed.exec((await service.ops('/metrics')).text)?.[1])).toBeGreaterThan(0)
    expect((await service.get('/audit/checkpoint')).text).toBe(before)

    token.plan()
    await vi.waitUntil(async () => (await service.sign(kid)).status === 200, { timeout: 10_000 })
    await vi.waitUntil(async () => (await service.ops('/readyz')).json.degraded.length === 0)
    await end(service.child)
    expect(audit('verify', log(), '--keys', `${log()}/keys`)[0]).toBe(0)
  })

  it('answers on while the device takes its time', async () => {
    const { token, config } = configured('fault')
    const service = await running(config, token.env, ...ATTESTED, '--audit-checkpoint-time', '50ms')
    const kid = await service.create('ml-dsa')
    token.plan('C_Sign 1.. hang 300')
    for (let i = 0; i < 20; i += 1) {
      expect((await service.sign(kid)).status).toBe(200)
      expect((await service.ops('/readyz')).status).toBe(200)
    }
    token.plan()
  })

  it('loses nothing where the process is killed while the device signs', async () => {
    const { token, config } = configured('fault')
    const service = await running(config, token.env, ...ATTESTED, '--audit-checkpoint-time', '50ms')
    const kid = await service.create('ml-dsa')
    await checkpointAfter(service, kid)
    const { checkpoint_size: covered } = (await service.ops('/readyz')).json.audit
    token.plan('C_Sign 1.. hang')
    const { index } = (await service.sign(kid)).json.audit
    await vi.waitUntil(async () => (await service.ops('/readyz')).json.token.sessions.busy > 0)
    await end(service.child, 'SIGKILL')
    token.plan()
    const [status, said] = audit('verify', log())
    expect([status, said]).toEqual([0, expect.stringContaining(`${covered} covered by the last of`)])
    const again = await running(config, token.env, ...ATTESTED)
    expect((await again.get(`/audit/proof/${index}`)).json.index).toBe(index)
    await end(again.child)
    expect(audit('verify', log(), '--keys', `${log()}/keys`)[0]).toBe(0)
  })
})

/** The index of the newest record. */
async function last(service: Service): Promise<number> {
  return (await service.ops('/readyz')).json.audit.size - 1
}
