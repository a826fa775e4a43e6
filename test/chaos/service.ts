// The service as an operator starts it, in a process of its own.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent } from 'node:http'
import { fileURLToPath } from 'node:url'
import { CapabilityVerifier } from '../../src/capability.js'
import { type Answer, type Ask, send } from '../server/support.js'
import type { Place } from './place.js'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** The root key of capabilities, in a variable: an op_id belongs to a capability, which outlives the processes. */
const CAPABILITIES = 'CHAOS_CAPABILITY_ROOT_KEY'
process.env[CAPABILITIES] = '07'.repeat(32)
let minted: string | undefined

/** The one capability of the harness. */
function capability(): string {
  const caveats = [
    'scope = kms:read,kms:sign,kms:verify,kms:wrap,kms:unwrap,kms:rotate,kms:destroy',
    'tenant = *',
  ]
  const exp = Math.floor(Date.now() / 1000) + 24 * 3600
  minted ??= CapabilityVerifier.open({ rootKeyEnv: CAPABILITIES }).mint('chaos', [
    ...caveats,
    `exp = ${exp}`,
  ]).token
  return minted
}

/** How a service ended. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running service, or one that is no more. */
export class ServiceProcess {
  readonly url: string
  readonly metricsUrl: string
  readonly #token = capability()
  readonly #child: ChildProcess
  readonly #exit: Promise<Exit>
  readonly #agent = new Agent({ keepAlive: true })

  private constructor(child: ChildProcess, exit: Promise<Exit>, banner: string) {
    const found = (pattern: RegExp) => pattern.exec(banner)?.[1] ?? ''
    this.#child = child
    this.#exit = exit
    this.url = found(/^API +(http:\S+)\/v1\/kms$/m)
    this.metricsUrl = found(/^metrics +(http:\S+)\/metrics/m)
  }

  /** Starts one and waits until it serves; gives how it ended where it does not. */
  static async start(place: Place, flags: readonly string[] = []): Promise<ServiceProcess | Exit> {
    const { child, exit, said } = launch(place, flags)
    const over = exit.then(() => true)
    while (!said.stdout.includes('WARNING: the token')) {
      const more = child.stdout ? once(child.stdout, 'data').then(() => false) : over
      if (await Promise.race([more, over])) return exit
    }
    return new ServiceProcess(child, exit, said.stdout)
  }

  /** Starts one that must serve. */
  static async mustStart(place: Place, flags?: readonly string[]): Promise<ServiceProcess> {
    const started = await ServiceProcess.start(place, flags)
    if (started instanceof ServiceProcess) return started
    throw new Error(`the service ended with ${started.code}: ${started.stderr}`)
  }

  /** A request to the API, below its base path. Rejects where the connection ends first. */
  ask(method: string, path: string, ask: Ask = {}): Promise<Answer> {
    const headers = { authorization: `Bearer ${this.#token}` }
    return send(this.url, method, `/v1/kms${path}`, { ...ask, headers }, this.#agent)
  }

  /** The value of a series without labels. */
  async metric(name: string): Promise<number> {
    const { text } = await send(this.metricsUrl, 'GET', '/metrics', { anonymous: true })
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
  }

  ready(): Promise<Answer> {
    return send(this.metricsUrl, 'GET', '/readyz', { anonymous: true })
  }

  /** Sends a signal, and waits for the end. */
  async stop(signal: NodeJS.Signals): Promise<Exit> {
    this.#child.kill(signal)
    const exit = await this.#exit
    this.#agent.destroy()
    return exit
  }

  get exit(): Promise<Exit> {
    return this.#exit
  }
}

function launch(place: Place, flags: readonly string[]) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('RON_KMS_')))
  const args = [
    ...[MAIN, 'serve', '--dev', '--backend', 'file', '--file-dir', place.at('store')],
    ...['--root-key-file', place.at('root.key'), '--anchor', place.at('beside', 'anchor')],
    ...['--bind', '127.0.0.1:0', '--metrics', '127.0.0.1:0', '--log-level', 'error'],
    ...['--capability-root-key-env', CAPABILITIES],
    ...['--destroy-min-delay', '1ms', ...flags],
  ]
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', chunk => {
    said.stdout += chunk
  })
  child.stderr.on('data', chunk => {
    said.stderr += chunk
  })
  const exit = once(child, 'close').then(([code, signal]): Exit => ({ code, signal, ...said }))
  return { child, exit, said }
}
