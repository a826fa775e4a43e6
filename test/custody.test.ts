import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { type FileStoreOptions, Kms, type KmsError } from 'ron-kms'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addonStatus } from '../src/cli/addon.js'
import { rootKeyCommand } from '../src/cli/root-key.js'
import { storeCommand } from '../src/cli/store.js'
import { SmallDisk } from './chaos/disk.js'
import { runCommandAsync } from './support/command.js'
import { part } from './support/parts.js'

const message = new TextEncoder().encode('message')
const wish = { tenant: 'core', purpose: 'audit', alg: 'ed25519' } as const

let dir: string
let opened: Kms[]

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-custody-'))
  opened = []
})

afterEach(() => {
  for (const kms of opened) kms.close()
  rmSync(dir, { recursive: true })
})

const at = (name: string) => join(dir, name)

async function open(store: Partial<FileStoreOptions> = {}): Promise<Kms> {
  const rootKey = { kind: 'key-file', file: at('root.key') } as const
  const kms = await Kms.open({
    backend: 'file',
    store: { dir: at('store'), rootKey, create: true, ...store },
    minDestroyDelayMs: 0,
  })
  opened.push(kms)
  return kms
}

const run = (command: Command, ...argv: string[]) => runCommandAsync(command, argv)

const refusal = async (work: () => unknown) => {
  try {
    await work()
  } catch (error) {
    const { code, field } = error as KmsError
    return `${code} ${field}`
  }
  return 'not refused'
}

describe.skipIf(!addonStatus().loaded || process.platform === 'win32')('keys in files', () => {
  beforeEach(async () => {
    expect(await run(rootKeyCommand(), 'new', at('root.key'))).toMatchObject({ status: 0 })
  })

  it('are on disk when a change was acknowledged, whenever the service is closed', async () => {
    await run(rootKeyCommand(), 'new', at('root.key'))
    for (let round = 0; round < 5; round += 1) {
      const kms = await open()
      const { kid } = await kms.createKey(wish)
      const [key] = kid.split('#')
      for (let i = 0; i < 19; i += 1) await kms.rotateKey(kid.replace('#v1', ''))
      const changes = Array.from({ length: 20 }, (_, i) => kms.disableKey(`${key}#v${i + 1}`))
      await changes[round]
      kms.close()
      const settled = await Promise.allSettled(changes)
      const again = await open()
      const { versionStates } = await again.describeKey(`${key}#v1`)
      settled.forEach(({ status }, i) => {
        if (status === 'fulfilled')
          expect(versionStates[i]).toMatchObject({ version: i + 1, state: 'disabled' })
      })
      again.close()
    }
  })

  it('change their root key and are copied while a service has them open', async () => {
    await run(rootKeyCommand(), 'new', at('root.key'))
    await run(rootKeyCommand(), 'new', at('other.key'))
    const other = { kind: 'key-file', file: at('other.key') } as const
    const kms = await open()
    const { kid } = await kms.createKey({ ...wish, signs: 'message' })
    const signature = kms.sign(kid, message)
    await kms.store.rekey(other)
    expect(await kms.store.backup(at('copy'))).toBe(1)
    const { kid: later } = await kms.rotateKey(kid)
    kms.sign(later, message)
    await expect(kms.store.backup(at('copy'))).rejects.toMatchObject({ code: 'StoreUnavailable' })
    kms.close()
    await expect(kms.store.rekey(other)).rejects.toMatchObject({ code: 'Unsupported' })
    await expect(open()).rejects.toMatchObject({ code: 'StoreUnavailable' })
    for (const store of [{ rootKey: other }, { rootKey: other, dir: at('copy') }]) {
      const again = await open(store)
      expect(again.verify(kid, message, signature)).toBe(true)
      again.close()
    }
  })

  it('sign, verify and keep their states after the process ended', async () => {
    const kms = await open()
    const { kid } = await kms.createKey(wish)
    const pending = await kms.rotateKey(kid, { activateAfterMs: 3_600_000 })
    const hybrid = await kms.createKey({ ...wish, alg: 'hybrid' })
    const gone = await kms.createKey(wish)
    await kms.scheduleDestroy(gone.kid, { delayMs: 0 })
    const signature = kms.sign(kid, message)
    const before = await kms.describeKey(kid)
    kms.close()

    const again = await open()
    expect(await again.describeKey(kid)).toEqual(before)
    expect(again.verify(kid, message, signature)).toBe(true)
    expect(again.sign(kid, message)).toEqual(signature)
    expect(await refusal(() => again.sign(pending.kid, message))).toBe('Conflict kid')
    const { sigs } = again.signBundle(hybrid.kid, message)
    expect(again.verifyBundle(hybrid.kid, message, sigs).ok).toBe(true)
    expect(await refusal(() => again.sign(gone.kid, message))).toBe('Conflict kid')
    expect((await again.describeKey(gone.kid)).publicKey).toEqual(gone.publicKey)
    expect((await again.attest(kid)).class).toBe('software-file')
  })

  it('answer an op_id again after the process ended, and refuse it for another wish', async () => {
    const opId = '0b2e7c1e-5a1c-4a5e-9d58-0d4a4a0b2e7c'
    const kms = await open()
    const made = await kms.createKey({ ...wish, opId })
    kms.close()
    const again = await open()
    expect(await again.createKey({ ...wish, opId })).toEqual(made)
    expect(await refusal(() => again.createKey({ ...wish, purpose: 'other', opId }))).toBe('Conflict op_id')
  })

  it('are refused to a second process, to another root key, and where there is no store', async () => {
    await open()
    expect(await refusal(() => open())).toBe('StoreUnavailable undefined')
    opened[0]?.close()
    await run(rootKeyCommand(), 'new', at('other.key'))
    const other = { kind: 'key-file', file: at('other.key') } as const
    expect(await refusal(() => open({ rootKey: other }))).toBe('StoreUnavailable undefined')
    expect(await refusal(() => open({ dir: at('elsewhere'), create: false }))).toMatch(/^\w+ /)
    expect(await refusal(() => open({ rootKey: { kind: 'key-file', file: at('no.key') } }))).toBe(
      'BadRequest root_key.file',
    )
    expect(await refusal(() => open({ rootKey: { kind: 'key-file' } }))).toBe('BadRequest root_key')
    expect(await refusal(() => open({ anchor: at('store/anchor') }))).toBe('BadRequest anchor')
    await open()
  })

  it('open with a passphrase from the environment', async () => {
    process.env.TEST_PASSPHRASE = 'correct horse battery staple'
    const rootKey = { kind: 'passphrase', env: 'TEST_PASSPHRASE' } as const
    const kms = await open({ rootKey })
    const { kid } = await kms.createKey(wish)
    kms.close()
    const again = await open({ rootKey })
    expect(again.verify(kid, message, again.sign(kid, message))).toBe(true)
    again.close()
    process.env.TEST_PASSPHRASE = 'correct horse battery stable'
    expect(await refusal(() => open({ rootKey }))).toBe('StoreUnavailable undefined')
    delete process.env.TEST_PASSPHRASE
    expect(await refusal(() => open({ rootKey }))).toBe('BadRequest root_key.env')
  })

  it('are not opened from an older copy while the anchor stays, but by an explicit override', async () => {
    const anchor = at('anchor')
    const kms = await open({ anchor })
    const { kid } = await kms.createKey(wish)
    kms.close()
    cpSync(at('store'), at('copy'), { recursive: true })
    const next = await open({ anchor })
    const { kid: doomed } = await next.createKey(wish)
    await next.scheduleDestroy(kid, { delayMs: 0 })
    await refusal(() => next.sign(kid, message))
    next.close()
    rmSync(at('store'), { recursive: true })
    cpSync(at('copy'), at('store'), { recursive: true })

    await expect(open({ anchor })).rejects.toThrow(/older than/)
    const over = await open({ anchor, acceptOlder: true })
    expect(await refusal(() => over.describeKey(doomed))).toBe('NotFound kid')
    // What was destroyed stays so.
    expect(await refusal(() => over.sign(kid, message))).toBe('Conflict kid')
  })

  it('outlive kill -9: every key that was acknowledged is there and signs', async () => {
    const script = at('writer.mjs')
    writeFileSync(
      script,
      `import { Kms } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)}
const store = JSON.parse(process.argv[2])
const kms = await Kms.open({ backend: 'file', store })
for (;;) {
  const { kid } = await kms.createKey(${JSON.stringify(wish)})
  const { kid: next } = await kms.rotateKey(kid)
  process.stdout.write(kid + ' ' + next + '\\n')
}
`,
    )
    const store = { dir: at('store'), rootKey: { kind: 'key-file', file: at('root.key') }, create: true }
    const acknowledged: string[] = []
    for (let round = 0; round < 5; round++) {
      const child = spawn(process.execPath, [script, JSON.stringify(store)])
      let text = ''
      child.stdout.on('data', chunk => {
        text += chunk
        if (text.split('\n').length > 3 + round) child.kill('SIGKILL')
      })
      await once(child, 'exit')
      acknowledged.push(...text.split('\n').slice(0, -1))
    }
    expect(acknowledged.length).toBeGreaterThan(10)
    const kms = await open()
    for (const line of acknowledged) {
      const [first, head] = line.split(' ') as [string, string]
      expect(kms.verify(head, message, kms.sign(head, message))).toBe(true)
      expect((await kms.describeKey(first)).kid).toBe(first)
    }
  })

  it('are in files for their owner only, and the root key is in none of them', async () => {
    const kms = await open()
    const { kid } = await kms.createKey(wish)
    kms.close()
    const rootBytes = readFileSync(at('root.key'))
    const { execSync } = await import('node:child_process')
    const files = execSync('find . -type f', { cwd: at('store') })
      .toString()
      .trim()
      .split('\n')
    expect(files.length).toBeGreaterThan(3)
    for (const file of files) {
      expect(readFileSync(join(at('store'), file)).includes(rootBytes)).toBe(false)
      expect(statSync(join(at('store'), file)).mode & 0o077).toBe(0)
    }
    expect(kid).toContain('core/audit/ed25519/')
  })
})

describe.skipIf(!addonStatus().loaded || process.platform === 'win32')('ronctl', () => {
  const flags = () => ['--root-key-file', at('root.key')]

  it('makes a root key once, and for its owner only', async () => {
    expect(await run(rootKeyCommand(), 'new', at('root.key'))).toMatchObject({ status: 0 })
    expect(statSync(at('root.key')).mode & 0o777).toBe(0o600)
    expect(statSync(at('root.key')).size).toBe(32)
    const again = await run(rootKeyCommand(), 'new', at('root.key'))
    expect(again).toMatchObject({ status: 1, stderr: expect.stringMatching(/^ronctl: EEXIST/) })
  })

  it.skipIf(!part('small-disk').available)('restores from a medium that cannot be written', async () => {
    await run(rootKeyCommand(), 'new', at('root.key'))
    const disk = new SmallDisk(8 << 20)
    try {
      const kms = await open()
      const { kid } = await kms.createKey(wish)
      await kms.store.backup(join(disk.dir, 'backup'))
      const signature = kms.sign(kid, message)
      kms.close()
      // As an older version, or another program, may have copied it.
      cpSync(join(disk.dir, 'backup'), join(disk.dir, 'bare'), { recursive: true })
      rmSync(join(disk.dir, 'bare/lock'))
      disk.lock()
      for (const [name, target] of [
        ['backup', 'restored'],
        ['bare', 'restored-bare'],
      ] as const) {
        const from = join(disk.dir, name)
        expect(await run(storeCommand(), 'check', from, ...flags())).toMatchObject({ status: 0 })
        expect(await run(storeCommand(), 'restore', from, at(target), ...flags())).toEqual({
          ...{ status: 0, stdout: '1 keys are restored\n', stderr: '' },
        })
        const restored = await open({ dir: at(target), create: false })
        expect(restored.sign(kid, message)).toEqual(signature)
        restored.close()
      }
    } finally {
      disk.remove()
    }
  })

  it('checks, backs up, restores and rekeys a store', async () => {
    await run(rootKeyCommand(), 'new', at('root.key'))
    await run(rootKeyCommand(), 'new', at('next.key'))
    const kms = await open()
    const { kid } = await kms.createKey(wish)
    const busy = await run(storeCommand(), 'check', at('store'), ...flags())
    expect(busy).toMatchObject({ status: 2, stderr: expect.stringMatching(/^ronctl: /) })
    kms.close()
    const sound = await run(storeCommand(), 'check', at('store'), ...flags())
    expect(sound).toEqual({ status: 0, stdout: '1 keys with 1 versions are sound\n', stderr: '' })
    expect(await run(storeCommand(), 'backup', at('store'), at('backup'), ...flags())).toMatchObject({
      status: 0,
    })
    expect(await run(storeCommand(), 'backup', at('store'), at('backup'), ...flags())).toMatchObject({
      status: 2,
    })
    const rekey = [...flags(), '--new-root-key-file', at('next.key')]
    expect(await run(storeCommand(), 'rekey', at('store'), ...rekey)).toMatchObject({ status: 0 })
    expect(await refusal(() => open())).toBe('StoreUnavailable undefined')
    const next = { kind: 'key-file', file: at('next.key') } as const
    const again = await open({ rootKey: next })
    expect(again.verify(kid, message, again.sign(kid, message))).toBe(true)
    expect(await run(storeCommand(), 'restore', at('backup'), at('restored'), ...flags())).toMatchObject({
      status: 0,
    })
    const restored = await open({ dir: at('restored'), create: false })
    expect(restored.sign(kid, message)).toEqual(again.sign(kid, message))
    restored.close()
    const [file] = (await import('node:child_process'))
      .execSync('find . -name v1', { cwd: at('restored') })
      .toString()
      .trim()
      .split('\n') as [string]
    const bytes = readFileSync(join(at('restored'), file))
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1
    writeFileSync(join(at('restored'), file), bytes)
    const spoiled = await run(storeCommand(), 'check', at('restored'), ...flags(), '--json')
    expect(spoiled.status).toBe(1)
    expect(JSON.parse(spoiled.stdout).problems[0]).toContain(dirname(file).replace(/^\.\//, ''))
  })
})
