// The servers that are measured, each a process of its own on one core, where taskset is to be had.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const at = path => fileURLToPath(new URL(`../../../${path}`, import.meta.url))

function hasTaskset() {
  try {
    execFileSync('taskset', ['--version'], { stdio: 'ignore' })
    return availableParallelism() > 1
  } catch {
    return false
  }
}
export const pinned = hasTaskset()

/** This process, which makes the load, on the other core. */
export function pinClient() {
  if (pinned) execFileSync('taskset', ['-acp', '1', String(process.pid)], { stdio: 'ignore' })
}

/**
 * Keeps the servers' core from sleeping, with work that gives way to any other: what a virtual processor takes to wake up is
 * its host's, and longer than a request. Undone by the function that it returns.
 */
export function keepAwake() {
  if (!pinned) throw new Error('--awake needs taskset and a core of its own for the servers')
  const spin = ['-c', '0', 'chrt', '--idle', '0', process.execPath, '-e', 'for (;;);']
  const child = spawn('taskset', spin, { stdio: 'ignore' })
  return () => child.kill()
}

async function start(args, node, ready, pins = pinned) {
  const command = pins ? ['taskset', '-c', '0', node, ...args] : [node, ...args]
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  const found = await new Promise((resolve, reject) => {
    child.on('exit', code => reject(new Error(`${args[0]} ended with ${code}`)))
    child.stdout.on('data', chunk => {
      output += chunk
      const match = ready(output)
      if (match) resolve(match)
    })
  })
  child.removeAllListeners('exit')
  const stop = () =>
    new Promise(resolve => {
      child.on('exit', resolve)
      child.kill('SIGTERM')
    })
  return { ...found, stop, pid: child.pid }
}

/** What everything is compared with: the same body through Hono's `req.json()` and `c.json()`. */
export function startEcho(node) {
  return start([at('bench/http/echo.mjs')], node, output => {
    const port = /listening on (\d+)/.exec(output)?.[1]
    return port && { port: Number(port) }
  })
}

/** `ron-kms serve` with keys in memory and a queued audit log in files; everything else as it is by default. */
export async function startKms(node, more = [], pins = pinned) {
  // Development mode forgets: what it writes must be in memory.
  const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
  const dir = mkdtempSync(join(base, 'ron-kms-bench-'))
  const key = join(dir, 'root.key')
  writeFileSync(key, '11'.repeat(32), { mode: 0o600 })
  const args = ['serve', '--dev', '--backend', 'inmem', '--bind', '127.0.0.1:0', '--metrics', '127.0.0.1:0']
  const audit = ['--audit-dir', join(dir, 'audit'), '--anchor', join(dir, 'anchor'), '--root-key-file', key]
  const quiet = ['--log-level', 'warn', ...more]
  const server = await start(
    [at('dist/cli/main.js'), ...args, ...audit, ...quiet],
    node,
    output => {
      if (!output.includes('WARNING: the token')) return undefined
      const port = /^API +http:\S+:(\d+)\//m.exec(output)?.[1]
      const token = /Bearer ([\w-]+)/.exec(output)?.[1]
      return { port: Number(port), token }
    },
    pins,
  )
  const call = async (path, body) => {
    const response = await fetch(`http://127.0.0.1:${server.port}/v1/kms${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${server.token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    const answer = await response.json()
    if (!response.ok) throw new Error(`${path}: ${JSON.stringify(answer)}`)
    return answer
  }
  const stop = async () => {
    await server.stop()
    rmSync(dir, { recursive: true })
  }
  return { ...server, call, stop }
}
