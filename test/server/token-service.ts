// A real service with its keys in a token of SoftHSM, for tests: a directory, a token in it, and what runs there.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, vi } from 'vitest'
import { LABEL, type SoftToken, softToken } from '../support/softhsm.js'
import { send } from './support.js'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
export const ronctl = fileURLToPath(new URL('../../dist/cli/ronctl.js', import.meta.url))

let dir: string
let children: ChildProcess[]

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-hsm-'))
  children = []
})

afterEach(async () => {
  for (const child of children) await end(child)
  rmSync(dir, { recursive: true })
})

export const at = (name: string) => join(dir, name)

export async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM') {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill(signal)
  await once(child, 'exit')
}

export type Env = Readonly<Record<string, string>>

export async function serve(config: string, own: Env, ...flags: string[]) {
  const clean = Object.entries(process.env).filter(([name]) => !name.startsWith('RON_KMS_'))
  const env = { ...Object.fromEntries(clean), ...own }
  const addresses = ['--bind', '127.0.0.1:0', '--metrics', '127.0.0.1:0']
  const argv = [main, 'serve', '--dev', '--backend', 'pkcs11', '--config', config, ...addresses, ...flags]
  const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  const log: Record<string, unknown>[] = []
  const plain: string[] = []
  createInterface(child.stderr).on('line', line => {
    if (line.startsWith('{')) log.push(JSON.parse(line))
    else plain.push(line)
  })
  let token = ''
  for await (const line of createInterface(child.stdout)) {
    token ||= /Bearer (\S+)/.exec(line)?.[1] ?? ''
    if (token) break
  }
  if (token === '') {
    if (child.exitCode === null) await once(child, 'exit')
    return { child, log, plain, exit: child.exitCode }
  }
  const started = await event(log, 'server_started')
  const headers = { authorization: `Bearer ${token}` }
  const post = (path: string, body: unknown = {}, more: Env = {}) =>
    send(`http://${started.api_addr}`, 'POST', `/v1/kms${path}`, { body, headers: { ...headers, ...more } })
  const ops = (path: string) => send(`http://${started.metrics_addr}`, 'GET', path, { anonymous: true })
  return {
    ...{ child, log, plain, exit: undefined, post, ops },
    get: (path: string) => send(`http://${started.api_addr}`, 'GET', `/v1/kms${path}`, { headers }),
    create: async (alg = 'ed25519') => (await post('/keys', { ...wish, alg })).json.kid as string,
    sign: (kid: string, more: Env = {}) => post('/sign', { kid_or_set: { kid }, ...payload }, more),
    verify: (kid: string, sigs: unknown) => post('/verify', { kid, ...payload, sigs }),
    metric: async (name: string) =>
      Number(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'm').exec((await ops('/metrics')).text)?.[1] ?? 0),
  }
}

/** One that runs. */
export async function running(config: string, env: Env, ...flags: string[]) {
  const service = await serve(config, env, ...flags)
  if (service.exit !== undefined) {
    throw new Error(`it ended: ${service.plain.join('\n')}${JSON.stringify(service.log)}`)
  }
  return service
}

export const event = (log: Record<string, unknown>[], name: string) =>
  vi.waitUntil(() => log.find(each => each.event === name), { timeout: 20_000 })

export const wish = { tenant: 'core', purpose: 'orders', signs: 'message' }
export const payload = { message_b64: Buffer.from('a message').toString('base64') }

/** A configuration of a token, and the token; one that was made before where it is given. */
export function configured(
  through: 'softhsm' | 'fault',
  ...lines: string[]
): { token: SoftToken; config: string } {
  const token = softToken(dir)
  const { modulePath, pinEnv } = through === 'fault' ? token.faulty : token.options
  const settings = [
    ...[
      '[backends.pkcs11]',
      `module_path = "${modulePath}"`,
      `slot_label = "${LABEL}"`,
      `pin_env = "${pinEnv}"`,
    ],
    ...(through === 'fault' ? ['backoff_first = "5ms"', 'backoff_most = "50ms"', 'deadline = "500ms"'] : []),
    ...['[backends.file]', `dir = "${at('store')}"`, ...lines, ''],
  ]
  writeFileSync(at('kms.toml'), settings.join('\n'))
  return { token, config: at('kms.toml') }
}
