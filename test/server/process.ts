// The service as a process of its own, in development mode, with a file of settings that is rewritten under it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { vi } from 'vitest'

const PROGRAMS = {
  'ron-kms': { script: 'main.js', opsAddress: 'metrics_addr' },
  'svc-passport': { script: 'passport-main.js', opsAddress: 'admin_addr' },
}

export class ServiceProcess {
  readonly dir = mkdtempSync(join(tmpdir(), 'ron-kms-process-'))
  readonly log: Record<string, unknown>[] = []
  /** Lines that are no log. */
  readonly plain: string[] = []
  /** Whether it is given its file. */
  file = true
  child: ChildProcess | undefined
  api = ''
  ops = ''
  token = ''
  readonly #program: (typeof PROGRAMS)[keyof typeof PROGRAMS]

  constructor(program: keyof typeof PROGRAMS = 'ron-kms') {
    this.#program = PROGRAMS[program]
  }

  at(name: string): string {
    return join(this.dir, name)
  }

  configure(...lines: string[]): void {
    const base = ['bind_addr', this.#program.opsAddress].map(key => `${key} = "127.0.0.1:0"`)
    writeFileSync(this.at('kms.toml'), [...base, ...lines, ''].join('\n'))
  }

  /** Starts it, and waits until it serves; where it ends instead, its exit code. */
  async start(flags: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<number | undefined> {
    const clean = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^((RON_)?KMS|PASSPORT)_/.test(name)),
    )
    const file = this.file ? ['--config', this.at('kms.toml')] : []
    const main = fileURLToPath(new URL(`../../dist/cli/${this.#program.script}`, import.meta.url))
    const argv = [main, 'serve', '--dev', ...file, ...flags]
    const child = spawn(process.execPath, argv, {
      env: { ...clean, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child = child
    createInterface(child.stderr).on('line', line => {
      if (line.startsWith('{')) this.log.push(JSON.parse(line))
      else this.plain.push(line)
    })
    for await (const line of createInterface(child.stdout)) {
      this.token ||= /Bearer (\S+)/.exec(line)?.[1] ?? ''
      if (this.token) break
    }
    if (this.token === '') {
      if (child.exitCode === null) await once(child, 'close')
      return child.exitCode ?? -1
    }
    const started = await this.event('server_started')
    this.api = `http://${started.api_addr}`
    this.ops = `http://${started.metrics_addr}`
    return undefined
  }

  /** Waits for an event in the log, from a line on. */
  event(name: string | RegExp, from = 0): Promise<Record<string, unknown>> {
    const isIt = ({ event }: Record<string, unknown>) =>
      typeof name === 'string' ? event === name : name.test(String(event))
    return vi.waitUntil(() => this.log.slice(from).find(isIt), { timeout: 10_000 })
  }

  /** Tells it to read its file again, and waits for what it says of that. */
  reload(): Promise<Record<string, unknown>> {
    const before = this.log.length
    this.child?.kill('SIGHUP')
    return this.event(/^config_re/, before)
  }

  /** Ends it, by SIGTERM, and removes its files; the exit code. */
  async end(): Promise<number | null> {
    const { child } = this
    if (child && child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
    rmSync(this.dir, { recursive: true })
    return child?.exitCode ?? null
  }
}
