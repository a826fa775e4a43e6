import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Command } from 'commander'
import { describe, expect, it, vi } from 'vitest'
import { doctorCommand } from '../../src/cli/doctor.js'
import { serveCommand } from '../../src/cli/serve.js'
import { captureTests } from '../support/command.js'
import { part } from '../support/parts.js'
import { send } from './support.js'

const sh = promisify(execFile)
const FREE = ['--bind', '127.0.0.1:0', '--metrics', '127.0.0.1:0', '--log-level', 'error']

const output = captureTests(/^RON_KMS_/)

async function run(command: Command, ...args: string[]): Promise<void> {
  command.exitOverride().configureOutput({ writeErr: text => process.stderr.write(text) })
  await command.parseAsync(args, { from: 'user' })
}

/** Sends a signal to the service in this process; the exit code it asks for. */
async function stop(signal: 'SIGTERM' | 'SIGINT' = 'SIGTERM'): Promise<unknown> {
  const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as never)
  process.emit(signal, signal)
  await expect.poll(() => exit.mock.calls.length).toBeGreaterThan(0)
  for (const each of ['SIGTERM', 'SIGINT'] as const) process.removeAllListeners(each)
  return exit.mock.calls[0]?.[0]
}

describe('serve without --dev', () => {
  it('exits 78 with a line for every fault, before anything binds', async () => {
    process.env.RON_KMS_NOPE = 'hunter2'
    await run(serveCommand(), '--max-conns', 'many')
    expect(process.exitCode).toBe(78)
    expect(output.stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(
        /^config: max_conns = many: must be a whole number .* \(from the command line\)$/,
      ),
      'config: RON_KMS_NOPE = (not shown): is not a variable of this version',
    ])
    expect(output.stdout).toBe('')
  })

  it('exits 78 without a root key of capabilities, and names the command that makes one', async () => {
    await run(serveCommand(), '--backend', 'inmem', ...FREE)
    expect(process.exitCode).toBe(78)
    expect(output.stderr).toMatch(
      /^config: capability\.root_key_file = \(empty\): [^\n]*`ronctl cap root-key new FILE`[^\n]*\n$/,
    )
  })

  it.each([
    ['--capability-root-key-file', '/nowhere/root.keys', 'capability.root_key_file'],
    ['--capability-root-key-env', 'NO_SUCH_VARIABLE', 'capability.root_key_env'],
  ])('exits 78 where %s cannot be read', async (flag, value, key) => {
    await run(serveCommand(), '--backend', 'inmem', flag, value, ...FREE)
    expect(process.exitCode).toBe(78)
    expect(output.stderr).toMatch(
      new RegExp(`^config: ${key} = ${value}: [^\\n]*root-key new FILE[^\\n]*\\n$`),
    )
  })

  it('exits 78 where the list of revoked capabilities cannot be read', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'ron-kms-serve-'))
    writeFileSync(join(dir, 'root.keys'), '0'.repeat(64))
    const key = ['--capability-root-key-file', join(dir, 'root.keys')]
    await run(
      serveCommand(),
      '--backend',
      'inmem',
      ...key,
      '--capability-revocation-file',
      '/nowhere/list',
      ...FREE,
    )
    expect(process.exitCode).toBe(78)
    expect(output.stderr).toMatch(
      /^config: capability\.revocation_file = \/nowhere\/list: [^\n]*cannot be read[^\n]*\n$/,
    )
    rmSync(dir, { recursive: true })
  })
})

describe('serve', () => {
  it('refuses unknown flags and arguments', async () => {
    await expect(run(serveCommand(), '--dev', '--nope')).rejects.toThrow(/unknown option '--nope'/)
    await expect(run(serveCommand(), '--dev', 'nope')).rejects.toThrow(/too many arguments/)
  })

  it('exits 1 with one line when an address is taken', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await expect.poll(() => taken.listening).toBe(true)
    const { port } = taken.address() as { port: number }
    await run(serveCommand(), '--dev', ...FREE, '--bind', `127.0.0.1:${port}`)
    expect(process.exitCode).toBe(1)
    expect(output.stderr).toBe(`ron-kms: bind_addr = 127.0.0.1:${port}: the address is in use (EADDRINUSE)\n`)
    taken.close()
  })
})

describe('serve --dev', () => {
  const curl = part('curl')

  it.skipIf(!curl.available)('prints a token and three curl lines that work when pasted', async () => {
    await run(serveCommand(), '--dev', ...FREE)
    const lines = output.stdout.split('\n')
    const token = /^Authorization: Bearer ([A-Za-z0-9_-]{300,900})$/m.exec(output.stdout)?.[1] ?? ''
    expect(token).not.toBe('')
    expect(output.stdout).toContain('in development mode')
    expect(output.stdout).toMatch(/^WARNING: .*memory only/m)
    const url = /^API +(http:\S+)\/v1\/kms$/m.exec(output.stdout)?.[1] ?? ''
    expect(lines).toContain(`RON_KMS_TOKEN=${token} npx ron-kms demo --url ${url}`)

    const curls = lines.filter(line => line.startsWith('curl '))
    const answers = []
    for (const line of curls) answers.push(JSON.parse((await sh('sh', ['-c', line])).stdout))
    expect(answers).toEqual([
      {
        kid: expect.stringMatching(/^dev\/first\/ed25519\/.*#v1$/),
        public: expect.anything(),
        audit: { log: 'ron-kms/main', index: 2 },
      },
      {
        kid: expect.stringMatching(/^dev\/demo\/ed25519\/.*#v1$/),
        sigs: [expect.anything()],
        audit: { log: 'ron-kms/main', index: 3 },
      },
      expect.objectContaining({ ok: true }),
    ])
    expect((await send(url, 'POST', '/v1/kms/sign', { anonymous: true })).status).toBe(401)
    expect(output.stderr).not.toContain(token)
    expect(await stop()).toBe(0)
  })

  it('exits 0 on SIGINT too, and at once on a second signal', async () => {
    await run(serveCommand(), '--dev', ...FREE)
    const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as never)
    process.emit('SIGINT', 'SIGINT')
    process.emit('SIGINT', 'SIGINT')
    expect(exit.mock.calls).toEqual([[130]])
    await expect.poll(() => exit.mock.calls.at(-1)).toEqual([0])
    for (const each of ['SIGTERM', 'SIGINT'] as const) process.removeAllListeners(each)
  })

  it('takes settings by their old names', async () => {
    process.env.KMS_MAX_PAYLOAD = '2KiB'
    await run(serveCommand(), '--dev', ...FREE)
    const url = /^API +(http:\S+)\/v1\/kms$/m.exec(output.stdout)?.[1] ?? ''
    const token = /^Authorization: (Bearer \S+)$/m.exec(output.stdout)?.[1] ?? ''
    const headers = { authorization: token }
    const answer = await send(url, 'POST', '/v1/kms/sign', { body: ' '.repeat(2049), headers })
    expect(answer.status).toBe(413)
    delete process.env.KMS_MAX_PAYLOAD
    expect(await stop('SIGINT')).toBe(0)
  })
})

describe('doctor', () => {
  it('tells what works, as text', async () => {
    await run(doctorCommand())
    expect(process.exitCode).toBe(0)
    expect(output.stdout).toMatch(/^CPU tier +(avx512|avx2|scalar)$/m)
    for (const lane of ['simd', 'dalek', 'dalek-batch', 'aws-lc', 'ring', 'noble']) {
      expect(output.stdout).toMatch(new RegExp(`^Ed25519 ${lane} +ok$`, 'm'))
    }
    for (const lane of ['auto', 'aws-lc', 'rustcrypto', 'noble']) {
      expect(output.stdout).toMatch(new RegExp(`^post-quantum ${lane} +ok$`, 'm'))
    }
    for (const row of ['secrets locked in RAM', 'secrets not in core dumps', 'secrets wiped on fork']) {
      expect(output.stdout).toMatch(new RegExp(`^${row} +(yes|no: .+)`, 'm'))
    }
    expect(output.stdout).toMatch(/^verdict +healthy$/m)
  })

  it('tells the same as JSON', async () => {
    await run(doctorCommand(), '--json')
    expect(JSON.parse(output.stdout)).toMatchObject({
      node: process.version,
      addon: { loaded: true },
      rng_ok: true,
      healthy: true,
      limits: { max_conns: '1024' },
      secret_memory: { lockedBytes: expect.any(Number), lastErrors: expect.any(Array) },
    })
  })
})
