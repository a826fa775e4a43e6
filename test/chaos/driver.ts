// Drivers: processes under test, with a tracer where faults are to be injected.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { attach } from './strace.js'

/** How a driver is run. */
export interface Drive {
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Arguments of strace. Without `thread` the driver's main thread is traced from its first instruction. */
  readonly strace?: readonly string[]
  /** The thread to trace, by name, once the driver has said its first line; it waits for a byte then. */
  readonly thread?: string
  /** Sends SIGKILL this many milliseconds after it was started. */
  readonly killAfterMs?: number
}

/** A driver that ended. */
export interface Ended {
  /** What it said. */
  readonly text: string
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stderr: string
}

/** Runs a driver to its end. */
export async function drive({ command, env, strace, thread, killAfterMs }: Drive): Promise<Ended> {
  const traced = strace && !thread ? ['strace', ...strace, ...command] : command
  const child = spawn(traced[0] as string, traced.slice(1), {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const [said, stderr] = [collect(child.stdout), collect(child.stderr)]
  const ended = once(child, 'close')
  const killer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs)
  let tracer: ChildProcess | undefined
  try {
    if (strace && thread && (await firstLine(said, ended))) {
      const { threads } = JSON.parse(said.text.split('\n', 1)[0] as string)
      if (!(thread in threads)) throw new Error(`no thread is named ${thread}: ${Object.keys(threads)}`)
      tracer = await attach(threads[thread], strace)
    }
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
  // It may have ended by now.
  child.stdin.on('error', () => {})
  child.stdin.end('.')
  const [code, signal] = (await ended) as [number | null, NodeJS.Signals | null]
  clearTimeout(killer)
  if (tracer && tracer.exitCode === null && tracer.signalCode === null) await once(tracer, 'close')
  return { text: said.text, code, signal, stderr: stderr.text.trim() }
}

interface Said {
  text: string
  readonly stream: NodeJS.ReadableStream
}

function collect(stream: NodeJS.ReadableStream): Said {
  const said = { text: '', stream }
  stream.setEncoding('utf8').on('data', chunk => {
    said.text += chunk
  })
  return said
}

/** Whether it said a line before it ended. */
async function firstLine(said: Said, ended: Promise<unknown>): Promise<boolean> {
  const over = ended.then(() => true)
  while (!said.text.includes('\n')) {
    if (await Promise.race([once(said.stream, 'data').then(() => false), over])) return false
  }
  return true
}
