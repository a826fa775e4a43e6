// `ronctl config`, and flags of the service that are not in this version.
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { configCommand } from '../../src/cli/config.js'
import { serveCommand } from '../../src/cli/serve.js'
import { captureTests } from '../support/command.js'

let dir: string
const output = captureTests(/^(RON_)?KMS_/)
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-config-cli-'))
})
afterEach(() => rmSync(dir, { recursive: true }))

const at = (name: string) => join(dir, name)
/** Needed without --dev. */
const CAPABILITY = '[capability]\nroot_key_file = "root.keys"\n'
function put(name: string, text: string): string {
  writeFileSync(at(name), text)
  return at(name)
}

/** Runs a command; the exit code it leaves behind. */
async function run(command: Command, ...args: string[]): Promise<unknown> {
  command.exitOverride().configureOutput({ writeErr: text => process.stderr.write(text) })
  await command.parseAsync(args, { from: 'user' })
  return process.exitCode ?? 0
}

describe('ronctl config check', () => {
  it('passes a file without a fault', async () => {
    const file = put('kms.toml', `max_conns = 7\n[root_key]\nfile = "root.key"\n${CAPABILITY}`)
    expect(await run(configCommand(), 'check', file)).toBe(0)
    expect(output.stdout).toBe(`${file}: no fault\n`)
    expect(output.stderr).toBe('')
  })

  it('prints a line for every fault and exits 78', async () => {
    const file = put('kms.toml', 'max_conns = 0\nnope = "hunter2"\n[observability]\nlog_inputs = true\n')
    process.env.RON_KMS_READ_TIMEOUT = 'soon'
    process.env.KMS_BIND = '127.0.0.1:0'
    expect(await run(configCommand(), 'check', file, '--dev')).toBe(78)
    expect(output.stdout).toBe('')
    expect(output.stderr.trimEnd().split('\n')).toEqual([
      'config: KMS_BIND is an old name: use RON_KMS_BIND_ADDR',
      'config: nope = (not shown): is not a setting of this version',
      expect.stringMatching(/^config: max_conns = 0: must be a whole number .* \(from the file\)$/),
      expect.stringMatching(/^config: read_timeout = soon: must be .* \(from RON_KMS_READ_TIMEOUT\)$/),
      'config: observability.log_inputs = true: must be false: inputs are never logged',
    ])
  })

  it('judges the file alone where it is told to', async () => {
    process.env.RON_KMS_READ_TIMEOUT = 'soon'
    const file = put('kms.json', '{"max_conns":7}')
    expect(await run(configCommand(), 'check', file, '--dev')).toBe(78)
    process.exitCode = undefined
    expect(await run(configCommand(), 'check', file, '--dev', '--ignore-env')).toBe(0)
  })

  it('binds nothing and makes nothing', async () => {
    const files = `[backends.file]\ndir = "${at('data')}"\n[root_key]\nfile = "${at('root.key')}"\n${CAPABILITY}`
    const socket = `[uds]\npath = "${at('run/kms.sock')}"\n`
    const more = process.platform === 'win32' ? '' : socket
    expect(await run(configCommand(), 'check', put('kms.toml', files + more))).toBe(0)
    expect(statSync(at('data'), { throwIfNoEntry: false })).toBeUndefined()
    expect(statSync(at('run'), { throwIfNoEntry: false })).toBeUndefined()
  })
})

describe('ronctl config show', () => {
  it('prints every value in force with its origin, and hides what may be secret', async () => {
    process.env.RON_KMS_MAX_CONNS = '9'
    const file = put(
      'kms.toml',
      'read_timeout = "2s"\n[audit]\nexport = "http://host/?key=hunter2"\n[pq]\nlegacy_grace = 2027-01-31T00:00:00Z\n[pq.tenants.acme]\nverify_mode = "or"\n',
    )
    expect(await run(configCommand(), 'show', '--config', file, '--dev')).toBe(0)
    const lines = output.stdout.trimEnd().split('\n')
    for (const line of [
      'bind_addr = 127.0.0.1:9446  (default)',
      'max_conns = 9  (RON_KMS_MAX_CONNS)',
      'read_timeout = 2s  (the file)',
      'service.backend = inmem  (--dev)',
      'audit.export = (not shown)  (the file)',
      'audit.export_position = (empty)  (default)',
      'pq.legacy_grace = 2027-01-31T00:00:00.000Z  (the file)',
      'pq.tenants = {"acme":{"verify_mode":"or"}}  (the file)',
    ])
      expect(lines).toContain(line)
    expect(output.stdout).not.toContain('hunter2')
  })

  it('prints the same as JSON', async () => {
    await run(configCommand(), 'show', '--dev', '--json')
    expect(JSON.parse(output.stdout)).toContainEqual({
      key: 'service.amnesia',
      value: 'true',
      from: '--dev',
    })
  })

  it('prints no values where there is a fault', async () => {
    expect(await run(configCommand(), 'show', '--dev', '--config', at('none.toml'))).toBe(78)
    expect(output.stdout).toBe('')
    expect(output.stderr).toMatch(/^config: --config = .*: cannot be read \(ENOENT\)\n$/)
  })
})

describe('ronctl config init', () => {
  it('writes a file that changes nothing, and never over another', async () => {
    expect(await run(configCommand(), 'init', at('kms.toml'))).toBe(0)
    const written = readFileSync(at('kms.toml'), 'utf8')
    expect(written).toContain('#bind_addr = "127.0.0.1:9446"\n')
    expect(await run(configCommand(), 'check', at('kms.toml'), '--dev')).toBe(0)
    expect(await run(configCommand(), 'init', at('kms.toml'))).toBe(1)
    expect(output.stderr).toMatch(/^ronctl: EEXIST: /)
    expect(readFileSync(at('kms.toml'), 'utf8')).toBe(written)
  })

  it('prints it where no file is named', async () => {
    await run(configCommand(), 'init')
    expect(output.stdout).toContain('[limits]\n')
  })
})

describe('ron-kms serve', () => {
  it('exits 78 where a device is to seal the audit log and there is none, with what is needed', async () => {
    expect(await run(serveCommand(), '--dev', '--audit-sealing', 'attested')).toBe(78)
    expect(output.stderr).toBe(
      'config: audit.sealing = attested: needs service.backend = pkcs11, with a token that makes Ed25519 keys (a TPM is not in this version)\n',
    )
  })

  it('has every flag that the settings document names', () => {
    const known = new Set(serveCommand().options.map(({ long }) => long))
    const canonical = `config bind metrics max-conns read-timeout write-timeout idle-timeout backend amnesia allowed-algs
      attest pq-verify pq-produce-hybrid pq-rollout audit-dir audit-checkpoint-ops audit-sealing verify-cache-ttl
      allow-sign-fallback multi-backends log-format log-level`
    expect(canonical.split(/\s+/).filter(name => !known.has(`--${name}`))).toEqual([])
  })
})
