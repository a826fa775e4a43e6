// A service as a process of its own, whose log and output a test reads.
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { type Answer, send } from '../server/support.js'

/** One that serves in development mode. */
export interface LoggedProcess {
  /** The token of its banner. */
  readonly token: string
  /** What it wrote to standard error so far. */
  errors(): string
  /** The same as lines of its log. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into lines of many shapes
  lines(): any[]
  /** A request with that token, unless headers say otherwise. */
  ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  /** Sends a signal and waits until the log has an event of that name. */
  signal(signal: NodeJS.Signals, event: string): Promise<void>
  /** Has it end by itself. */
  stop(): Promise<void>
  /** Ends it, whatever it does. */
  kill(): void
}

const PATIENCE = 800
const STEP_MS = 25

/** Starts `dist/cli/<cli> serve --dev` on a free port, and resolves when it has said where it serves. */
export async function serveLogged(
  cli: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<LoggedProcess> {
  const program = fileURLToPath(new URL(`../../dist/cli/${cli}`, import.meta.url))
  const child: ChildProcess = spawn(
    process.execPath,
    [program, 'serve', '--dev', '--bind', '127.0.0.1:0', ...args],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH ?? '', ...env } },
  )
  let [output, errors] = ['', '']
  child.stdout?.on('data', chunk => {
    output += chunk
  })
  child.stderr?.on('data', chunk => {
    errors += chunk
  })
  const until = async (what: () => boolean) => {
    for (let i = 0; !what(); i += 1) {
      if (i === PATIENCE) throw new Error(`nothing came:\n${output}\n${errors}`)
      await new Promise(resolve => setTimeout(resolve, STEP_MS))
    }
  }
  await until(() => output.includes('WARNING: the token'))
  const url = /^API +(http:\/\/[^/\s]+)/m.exec(output)?.[1] ?? ''
  const token = /Bearer ([\w-]+)/.exec(output)?.[1] ?? ''
  return {
    token,
    errors: () => errors,
    lines: () =>
      errors
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line)),
    ask: (method, path, body, headers = {}) =>
      send(url, method, path, {
        anonymous: true,
        headers: { authorization: `Bearer ${token}`, ...headers },
        ...(body !== undefined && { body }),
      }),
    async signal(signal, event) {
      child.kill(signal)
      await until(() => errors.includes(`"event":"${event}"`))
    },
    async stop() {
      child.kill('SIGTERM')
      await until(() => child.exitCode !== null)
    },
    kill: () => void child.kill('SIGKILL'),
  }
}
