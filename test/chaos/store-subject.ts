// The key store under faults: one life of its driver with a fault in it, then a restart, then the verdict.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Case } from './cases.js'
import { type Found, isInDoubt, type Life, readLife } from './history.js'
import { judge, known } from './model.js'
import { type Operation, operations, PREFIXES, type Prepared, preparation, prepared } from './operations.js'
import { Place } from './place.js'
import { attach, callsIn, type Fault, hitIn, type Injection, straceArgs, syscallsFor } from './strace.js'

const DRIVER = fileURLToPath(new URL('fixtures/store-driver.mjs', import.meta.url))

/** A driver that ended. */
interface Ended {
  readonly life: Life
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stderr: string
}

/** How a driver is run. */
interface Run {
  readonly mode?: 'run' | 'check'
  readonly operations: readonly Operation[]
  readonly keys?: readonly string[]
  readonly again?: readonly number[]
  readonly signatures?: readonly { kid: string; signature: string }[]
  /** Threads to trace by attaching once the store is open; all of the main thread's life where there is none. */
  readonly attachTo?: string
  readonly strace?: readonly string[]
}

/** What the threads of a driver are called, and what they do. */
export const THREADS = ['main', 'pool'] as const
const POOL = 'ron-kms-0'

async function drive(place: Place, run: Run): Promise<Ended> {
  const { mode = 'run', attachTo, strace, signatures = [], keys = [], again = [] } = run
  const plan = {
    ...{ store: place.store(), operations: run.operations, keys, again, signatures, prefixes: PREFIXES },
    wait: attachTo !== undefined,
  }
  // Not among the files of the case: a fault in reading it would be one of the driver.
  const planFile = place.beside('plan')
  writeFileSync(planFile, JSON.stringify(plan))
  const command = [process.execPath, DRIVER, mode, planFile]
  const traced = strace && attachTo === undefined ? ['strace', ...strace, ...command] : command
  // One thread carries out all operations, so that their order is that of the plan.
  const env = { ...process.env, RAYON_NUM_THREADS: '1' }
  const child = spawn(traced[0] as string, traced.slice(1), { env, stdio: ['pipe', 'pipe', 'pipe'] })
  const [said, stderr] = [collect(child.stdout), collect(child.stderr)]
  const ended = once(child, 'close')
  let tracer: ChildProcess | undefined
  if (strace && attachTo !== undefined) {
    tracer = await attachTo_(child, said, attachTo, strace, ended)
  }
  child.stdin.on('error', () => {})
  child.stdin.end('.')
  const [code, signal] = await ended
  if (tracer && tracer.exitCode === null && tracer.signalCode === null) await once(tracer, 'close')
  return { life: readLife(said.text), code, signal, stderr: stderr.text.trim() }
}

async function attachTo_(
  child: ChildProcess,
  said: { text: string },
  name: string,
  strace: readonly string[],
  ended: Promise<unknown>,
): Promise<ChildProcess | undefined> {
  while (!said.text.includes('\n')) {
    const over = await Promise.race([once(child.stdout as NonNullable<typeof child.stdout>, 'data'), ended.then(() => 'over')])
    if (over === 'over') return undefined
  }
  const { threads } = JSON.parse(said.text.split('\n')[0] as string)
  const id = threads[name]
  if (id === undefined) throw new Error(`no thread is named ${name}: ${Object.keys(threads)}`)
  return attach([id], strace)
}

function collect(stream: NodeJS.ReadableStream): { text: string } {
  const said = { text: '' }
  stream.setEncoding('utf8').on('data', chunk => {
    said.text += chunk
  })
  return said
}

/** A store with keys, to be copied for every case. */
export class StoreSubject {
  private constructor(
    readonly template: Place,
    readonly found: Found,
    readonly keys: Prepared,
    readonly operations: readonly Operation[],
  ) {}

  /** Makes the keys, two versions of each, and signatures by them. */
  static async prepare(): Promise<StoreSubject> {
    const template = Place.make()
    const made = await drive(template, { operations: preparation() })
    const kids = [...made.life.outcomes.values()].map(outcome => {
      if (outcome.kind !== 'done') throw new Error(`no key was made: ${JSON.stringify(outcome)} ${made.stderr}`)
      return outcome.answer.kid.split('#')[0] as string
    })
    await drive(template, { operations: kids.map(kid => ({ op: 'rotate', kid, body: {} })) })
    const { life } = await drive(template, { mode: 'check', operations: [] })
    if (!life.found) throw new Error('the keys that were made are not found')
    const keys = prepared(kids)
    return new StoreSubject(template, life.found, keys, operations(keys))
  }

  remove(): void {
    this.template.remove()
  }

  /** How often each call that a fault may hit is made on the files of the store. */
  async count(thread: string): Promise<ReadonlyMap<string, readonly number[]>> {
    const place = this.template.copy()
    const log = place.beside('trace')
    const { code, stderr } = await this.#live(place, thread, straceArgs(log))
    if (code !== 0) throw new Error(`without a fault the driver ended with ${code}: ${stderr}`)
    const whens = new Map<string, number[]>()
    for (const { name, when } of callsIn(log, place.dir)) whens.set(name, [...(whens.get(name) ?? []), when])
    place.remove()
    return whens
  }

  /** All cases of a fault, by what a run without faults did. */
  async cases(fault: Fault): Promise<readonly Case[]> {
    const all: Case[] = []
    for (const thread of THREADS) {
      const counts = await this.count(thread)
      for (const syscall of syscallsFor(fault)) {
        const count = counts.get(syscall)?.length ?? 0
        for (let n = 1; n <= count; n++) all.push({ subject: 'store', thread, syscall, fault, n })
      }
    }
    return all
  }

  /** Faults of the product in this case, in words. */
  async run(it: Case, counts: ReadonlyMap<string, readonly number[]>): Promise<readonly string[]> {
    const when = counts.get(it.syscall)?.[it.n - 1]
    if (when === undefined) return [`a run without faults has no such call: ${it.syscall} ${it.n}`]
    const place = this.template.copy()
    const log = place.beside('trace')
    try {
      const injection: Injection = { name: it.syscall, when, fault: it.fault }
      const ended = await this.#live(place, it.thread, straceArgs(log, injection))
      const hit = hitIn(log, injection)
      if (!hit?.includes(place.dir)) return [`missed: the call that was hit is ${hit}`]
      const restarted = await this.#restart(place, ended.life)
      return [...judgeEnd(it, ended, this.operations), ...this.#judge(ended.life, restarted)]
    } finally {
      place.remove()
    }
  }

  #live(place: Place, thread: string, strace: readonly string[]): Promise<Ended> {
    const signatures = this.#signatures()
    const run = { operations: this.operations, keys: Object.values(this.keys), signatures, strace }
    return drive(place, thread === 'pool' ? { ...run, attachTo: POOL } : run)
  }

  /** Opens the store again and sends what had an op_id again. */
  #restart(place: Place, life: Life): Promise<Ended> {
    const again = [...life.outcomes.keys()].filter(index => this.operations[index]?.body.op_id !== undefined)
    return drive(place, { mode: 'check', operations: this.operations, again, signatures: this.#signatures() })
  }

  #judge(life: Life, restarted: Ended): string[] {
    if (restarted.code !== 0) return [`the restart ended with ${restarted.code}: ${restarted.stderr}`]
    return judge(known(this.found), this.operations, life, restarted.life)
  }

  /** Those of a key that no operation changes. */
  #signatures() {
    const kid = this.keys.sign
    const key = this.found.keys.find(each => each.kid === kid)
    return key ? [{ kid: `${kid}${key.head}`, signature: key.signature }] : []
  }
}

/** How the life with the fault ended. */
function judgeEnd(it: Case, { life, code, signal, stderr }: Ended, operations: readonly Operation[]): string[] {
  if (it.fault === 'kill') return signal === 'SIGKILL' ? [] : [`it was not killed: ${code} ${stderr}`]
  if (!life.opened) {
    const isTyped = code === 1 && /^(StoreUnavailable|Internal|BadRequest): ./.test(stderr)
    return isTyped ? [] : [`the start ended with ${code}: ${stderr}`]
  }
  const faults = []
  if (code !== 0 || !life.closed) faults.push(`it ended with ${code}: ${stderr}`)
  if (life.verified.some(verdict => verdict !== true)) faults.push(`verification: ${life.verified}`)
  let stopped = false
  for (const [index, outcome] of life.outcomes) {
    const name = operations[index]?.op
    if (stopped && outcome.kind !== 'refused') faults.push(`${name} was acknowledged by a writer in doubt`)
    if (outcome.kind !== 'refused') continue
    const { code: reason, message, retryable } = outcome.error
    if (reason !== 'StoreUnavailable' && reason !== 'Conflict') faults.push(`${name}: ${reason} ${message}`)
    if (isInDoubt(outcome.error)) {
      stopped = true
      if (retryable) faults.push(`${name} is retryable, and its outcome is open`)
    }
  }
  return faults
}
