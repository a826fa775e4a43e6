// Settings that name files: TLS, the Unix socket, and a log that amnesia would outlive.
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { formatFault } from '../../src/config/faults.js'
import { loadConfig } from '../../src/config/load.js'
import type { Key } from '../../src/config/schema.js'
import { certificate } from '../support/certificates.js'

const hasModes = process.platform !== 'win32'
const issued = certificate('kms')

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-places-'))
  put('cert.pem', issued.cert)
  put('key.pem', issued.key)
})
afterEach(() => rmSync(dir, { recursive: true }))

const at = (name: string) => join(dir, name)
const put = (name: string, text: string, mode = 0o600) => {
  writeFileSync(at(name), text)
  chmodSync(at(name), mode)
}

function faults(flags: Partial<Record<Key, string>>): string[] {
  return loadConfig({ dev: true, env: {}, flags }).faults.map(formatFault)
}

describe('tls.*', () => {
  const tls = (more: Partial<Record<Key, string>> = {}) =>
    faults({ 'tls.enabled': 'true', 'tls.cert_path': at('cert.pem'), 'tls.key_path': at('key.pem'), ...more })

  it('takes a certificate with its key, and one that is off without any', () => {
    expect(tls()).toEqual([])
    expect(tls({ 'tls.client_ca': at('cert.pem') })).toEqual([])
    expect(faults({ 'tls.enabled': 'false' })).toEqual([])
  })

  it('needs both files', () => {
    expect(faults({ 'tls.enabled': 'true' })).toEqual([
      'config: tls.cert_path = (empty): is needed with tls.enabled = true',
      'config: tls.key_path = (empty): is needed with tls.enabled = true',
    ])
  })

  it('asks for client certificates only where there is TLS', () => {
    expect(faults({ 'tls.client_ca': 'ca.pem' })).toEqual([
      'config: tls.client_ca = ca.pem: needs tls.enabled = true',
    ])
  })

  it.each([
    ['tls.cert_path', 'cannot be read (ENOENT)'],
    ['tls.key_path', 'cannot be read (ENOENT)'],
    ['tls.client_ca', 'cannot be read (ENOENT)'],
  ] as const)('says that the file of %s is missing', (key, rule) => {
    const path = at('none.pem')
    const shown = path.length > 80 ? `${path.slice(0, 80)}…` : path
    expect(tls({ [key]: path })).toEqual([`config: ${key} = ${shown}: ${rule}`])
  })

  it.each<[Key, () => string, string]>([
    ['tls.cert_path', () => 'hunter2', 'must hold a certificate in PEM'],
    ['tls.cert_path', () => issued.key, 'must hold a certificate in PEM'],
    ['tls.client_ca', () => 'hunter2', 'must hold a certificate in PEM'],
    ['tls.key_path', () => 'hunter2', 'must hold a private key in PEM, not encrypted'],
    ['tls.key_path', encryptedKey, 'must hold a private key in PEM, not encrypted'],
    [
      'tls.key_path',
      () => certificate('other').key,
      'must hold the private key of the certificate in tls.cert_path',
    ],
  ])('says what the file of %s is not, and quotes nothing of it', (key, text, rule) => {
    put('bad.pem', text())
    const lines = tls({ [key]: at('bad.pem') })
    expect(lines).toEqual([expect.stringMatching(new RegExp(`^config: ${key} = .*: ${rule}$`))])
    expect(lines.join()).not.toContain('hunter2')
  })

  it.skipIf(!hasModes)('refuses a private key that everyone may read; a certificate is public', () => {
    put('cert.pem', issued.cert, 0o644)
    put('key.pem', issued.key, 0o640)
    expect(tls()).toEqual([])
    put('key.pem', issued.key, 0o644)
    expect(tls()).toEqual([
      expect.stringMatching(/^config: tls\.key_path = .*: must not be readable by everyone: chmod 600 FILE$/),
    ])
  })
})

describe.skipIf(!hasModes)('uds.*', () => {
  it('takes a path in a private directory, also one that is not there yet', () => {
    mkdirSync(at('mine'), { mode: 0o700 })
    expect(faults({ 'uds.path': at('mine/kms.sock'), 'uds.allow_uids': '0,1000' })).toEqual([])
    expect(faults({ 'uds.path': at('later/kms.sock') })).toEqual([])
  })

  it('refuses a directory that others may enter, and a link to one', () => {
    mkdirSync(at('open'), { mode: 0o755 })
    symlinkSync(dir, at('link'))
    expect(faults({ 'uds.path': at('open/kms.sock') })).toEqual([
      expect.stringMatching(/must be in a directory that only its owner may enter: chmod 700 DIR$/),
    ])
    expect(faults({ 'uds.path': at('link/kms.sock') })).toEqual([
      expect.stringMatching(/must be in a directory, not behind a link$/),
    ])
  })

  it('refuses a path that no socket can have, users twice, and users without a socket', () => {
    expect(faults({ 'uds.path': at('x'.repeat(104)) })).toEqual([
      expect.stringMatching(/must be at most 103 bytes$/),
    ])
    expect(faults({ 'uds.allow_uids': '1,1' })).toEqual([
      'config: uds.allow_uids = 1,1: must be user ids, comma-separated, each once (from the command line)',
    ])
    expect(faults({ 'uds.allow_uids': '4294967295' })).toHaveLength(1)
    expect(faults({ 'uds.allow_uids': '1' })).toEqual(['config: uds.allow_uids = 1: needs uds.path'])
  })
})

describe('amnesia', () => {
  it('refuses an audit log on a disk', () => {
    expect(faults({ 'audit.dir': 'package.json' })).toEqual([
      'config: audit.dir = package.json: must be absent, or on a tmpfs or ramfs, with service.amnesia',
    ])
    expect(faults({ 'audit.dir': 'package.json', 'audit.enabled': 'false' })).toEqual([])
    expect(faults({ 'audit.dir': 'package.json', 'service.amnesia': 'false' })).toEqual([])
  })

  it.skipIf(process.platform !== 'linux')(
    'takes one in RAM, also in a directory that is not there yet',
    () => {
      expect(faults({ 'audit.dir': '/dev/shm/none/such' })).toEqual([])
    },
  )
})

function encryptedKey(): string {
  const cipher = { cipher: 'aes-256-cbc', passphrase: 'hunter2' }
  return issued.privateKey.export({ type: 'pkcs8', format: 'pem', ...cipher }) as string
}
