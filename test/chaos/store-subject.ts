// The key store under faults: one life of its driver with a fault in it, then a restart, then the verdict.
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { judgeRecords, sizeAndRoot } from './audit-judge.js'
import { examine, type LogFound } from './audit-log.js'
import type { Durability } from './audit-subject.js'
import { drive, type Ended } from './driver.js'
import { type Found, isInDoubt, type Life, readLife } from './history.js'
import { judge, known } from './model.js'
import {
  type Operation,
  operations,
  PREFIXES,
  PROBES,
  type Prepared,
  preparation,
  prepared,
} from './operations.js'
import { Place } from './place.js'
import { type Injection, stopsWriter, straceArgs } from './strace.js'
import type { Subject } from './sweep.js'

const DRIVER = fileURLToPath(new URL('fixtures/store-driver.mjs', import.meta.url))
/**
 * Threads of the driver: it opens the store and destroys what is due in the first, carries out operations in the second;
 * the others are the audit log's.
 */
const THREADS = { main: undefined, pool: 'ron-kms-0', log: 'kms-audit', sync: 'kms-audit-sync' } as const

/** Flushed and checkpointed often, so that there is much to interrupt. */
const AUDIT = { log: 'ron-kms/chaos', flushIntervalMs: 2, checkpointIntervalOps: 5 }

/** What a driver is to do. */
export interface Plan {
  readonly mode?: 'run' | 'check'
  /** What the service is opened with; that of the place, where it is made if need be. */
  readonly store?: Readonly<Record<string, unknown>>
  /** The durability of its audit log; none without. */
  readonly audit?: Durability | undefined
  readonly operations: readonly Operation[]
  /** Kids of keys that are there. */
  readonly keys?: readonly string[]
  /** Which operations to send again. */
  readonly again?: readonly number[]
  readonly signatures?: readonly { kid: string; signature: string }[]
}

/** One life of a driver: what its client saw, and how it ended. */
export interface Lived extends Ended {
  readonly life: Life
}

/** Lets a driver live once. */
export async function live(
  place: Place,
  { mode = 'run', store = place.store(), audit, operations, keys = [], again = [], signatures = [] }: Plan,
  thread?: string,
  strace?: readonly string[],
): Promise<Lived> {
  const log = audit && { ...AUDIT, dir: place.at('store', 'audit'), durability: audit }
  const plan = { store, audit: log, operations, keys, again, signatures, prefixes: PREFIXES }
  // Not among the files of the case: a fault in reading it would be one of the driver.
  const file = place.beside('plan.json')
  writeFileSync(file, JSON.stringify({ ...plan, wait: thread }))
  const ended = await drive({
    command: [process.execPath, DRIVER, mode, file],
    // One thread carries out all operations, so that their order is that of the plan.
    env: { RAYON_NUM_THREADS: '1' },
    ...(strace && { strace }),
    ...(thread !== undefined && { thread }),
  })
  return { ...ended, life: readLife(ended.text) }
}

/** What a subject has beside the key store. */
export interface Beside {
  /** The durability of an audit log. */
  readonly audit?: Durability
  /** The program that checks audit logs. */
  readonly program?: string
}

/** A store with keys, and every kind of change of them under a fault. */
export class StoreSubject implements Subject<Lived> {
  readonly name: string
  readonly threads: readonly string[]
  readonly template: Place
  readonly found: Found
  readonly keys: Partial<Prepared>
  readonly operations: readonly Operation[]
  readonly #beside: Beside

  private constructor(template: Place, found: Found, keys: Prepared | undefined, beside: Beside) {
    const { audit } = beside
    this.name = `${keys ? 'store' : 'fresh'}${audit ? `-${audit}` : ''}`
    const threads = ['main', 'pool', ...(audit ? ['log'] : []), ...(audit === 'fsync' ? ['sync'] : [])]
    // Of a store that is being made only the making is interrupted.
    this.threads = keys ? threads : ['main']
    this.template = template
    this.found = found
    this.keys = keys ?? {}
    this.operations = keys ? operations(keys) : PROBES.slice(0, 1)
    this.#beside = beside
  }

  /** No store yet: it is made, and a key in it. */
  static fresh(beside: Beside = {}): StoreSubject {
    return new StoreSubject(Place.make(), { keys: [], signatures: [] }, undefined, beside)
  }

  /** Makes the keys, two versions of each, and signatures by them. */
  static async prepare(beside: Beside = {}): Promise<StoreSubject> {
    const { audit } = beside
    const template = Place.make()
    const made = await live(template, { audit, operations: preparation() })
    const kids = [...made.life.outcomes.values()].map(outcome => {
      if (outcome.kind !== 'done') throw new Error(`no key was made: ${JSON.stringify(outcome)}`)
      return outcome.answer.kid.split('#')[0] as string
    })
    await live(template, { audit, operations: kids.map(kid => ({ op: 'rotate', kid, body: {} })) })
    const { life, stderr } = await live(template, { audit, mode: 'check', operations: [] })
    if (!life.found) throw new Error(`the keys that were made are not found: ${stderr}`)
    const silent = life.found.keys.find(({ signature }) => Buffer.from(signature, 'base64').length !== 64)
    if (silent) throw new Error(`a key that was made does not sign: ${silent.signature}`)
    return new StoreSubject(template, life.found, prepared(kids), beside)
  }

  async live(place: Place, thread: string, strace: readonly string[], fault?: Injection): Promise<Lived> {
    const plan = {
      audit: this.#beside.audit,
      operations: stopsWriter(fault) ? [...this.operations, ...PROBES] : this.operations,
      keys: Object.values(this.keys),
      signatures: this.#signatures(),
    }
    return live(place, plan, THREADS[thread as keyof typeof THREADS], strace)
  }

  get audit(): Durability | undefined {
    return this.#beside.audit
  }

  async judge(place: Place, lived: Lived, fault: Injection): Promise<readonly string[]> {
    return [...judgeEnd(lived, fault), ...(await this.restart(place, lived.life))]
  }

  /** Opens the store again, and sends what had an op_id again. */
  async restart(place: Place, life: Life): Promise<readonly string[]> {
    const sent = [...this.operations, ...PROBES]
    const again = [...life.outcomes.keys()].filter(index => sent[index]?.body.op_id !== undefined)
    const { audit } = this.#beside
    const before = await this.#examine(place, life)
    const plan = { audit, mode: 'check', operations: sent, again, signatures: this.#signatures() } as const
    const restarted = await live(place, plan)
    if (restarted.code !== 0) return [`the restart ended with ${restarted.code}: ${restarted.stderr}`]
    const after = await this.#examine(place, life)
    return [
      ...judge(known(this.found), sent, life, restarted.life),
      ...(before && after ? judgeRecords(life, restarted.life, before, after) : []),
    ]
  }

  async #examine(place: Place, life: Life): Promise<LogFound | undefined> {
    const { audit, program } = this.#beside
    const checkpoints = life.proofs.map(({ checkpoint }) => sizeAndRoot(checkpoint))
    return audit && program ? examine(program, place.at('store', 'audit'), checkpoints) : undefined
  }

  remove(): void {
    this.template.remove()
  }

  /** Of a key that no operation changes. */
  #signatures() {
    const key = this.found.keys.find(({ kid }) => kid === this.keys.sign)
    return key ? [{ kid: `${key.kid}${key.head}`, signature: key.signature }] : []
  }
}

/** A store whose process was killed in the middle of a change, and the start that cleans up under a fault. */
export class RecoverySubject implements Subject<Lived> {
  readonly threads = ['main']
  readonly name: string
  readonly template: Place
  readonly #store: StoreSubject
  /** The one that was killed. */
  readonly #life: Life

  private constructor(name: string, store: StoreSubject, template: Place, life: Life) {
    this.name = name
    this.template = template
    this.#store = store
    this.#life = life
  }

  /** Crashes at the `n`th call of this name on the files of the store; `name` is `<store>-recovery-<syscall>-<n>`. */
  static async prepare(
    store: StoreSubject,
    counts: readonly number[],
    name: string,
  ): Promise<RecoverySubject> {
    const [, syscall = '', n] = /-recovery-(\w+)-(\d+)$/.exec(name) ?? []
    const when = counts[Number(n) - 1]
    if (when === undefined) throw new Error(`${name} names no case: there are ${counts.length} such calls`)
    const template = store.template.copy()
    const injection = { name: syscall, when, fault: 'kill' } as const
    const { life } = await store.live(template, 'pool', straceArgs(template.beside('trace'), injection))
    return new RecoverySubject(name, store, template, life)
  }

  live(place: Place, _thread: string, strace: readonly string[]): Promise<Lived> {
    return live(place, { audit: this.#store.audit, operations: [] }, undefined, strace)
  }

  async judge(place: Place, lived: Lived, fault: Injection): Promise<readonly string[]> {
    return [...judgeEnd(lived, fault), ...(await this.#store.restart(place, this.#life))]
  }

  remove(): void {
    this.template.remove()
  }
}

/** How the life with the fault ended. */
function judgeEnd({ life, code, signal, stderr }: Lived, injection: Injection): string[] {
  if (injection.fault === 'kill') return signal === 'SIGKILL' ? [] : [`it was not killed: ${code} ${stderr}`]
  if (!life.opened) {
    const isTyped = code === 1 && /^(StoreUnavailable|Internal|BadRequest): .+$/.test(stderr)
    return isTyped ? [] : [`the start ended with ${code}: ${stderr}`]
  }
  const faults = []
  if (code !== 0 || !life.closed) faults.push(`it ended with ${code}: ${stderr}`)
  if (life.verified.some(verdict => verdict !== true)) faults.push(`verification: ${life.verified}`)
  let inDoubt = false
  for (const [index, outcome] of life.outcomes) {
    if (inDoubt && outcome.kind !== 'refused') faults.push(`${index} was acknowledged by a writer in doubt`)
    if (outcome.kind !== 'refused') continue
    const { code: reason, message, retryable } = outcome.error
    if (reason !== 'StoreUnavailable' && reason !== 'Conflict') faults.push(`${index}: ${reason} ${message}`)
    if (!isInDoubt(outcome.error)) continue
    inDoubt = true
    if (retryable) faults.push(`${index} is retryable, and its outcome is open`)
  }
  const last = [...life.outcomes.values()].at(-1)
  if (stopsWriter(injection) && last?.kind === 'done')
    faults.push('after a failed sync it took another change')
  return faults
}
