// The audit log under faults: a driver in Rust appends to it, and is started again.
import { INTACT, judgeVerdicts, type LogFound, readFound, TORN } from './audit-log.js'
import { drive, type Ended } from './driver.js'
import type { Refusal } from './history.js'
import { Place } from './place.js'
import { type Injection, stopsWriter } from './strace.js'
import type { Hit, Subject } from './sweep.js'

/** Threads of the driver: appends come from the one, spare segments, syncs and checkpoints from the other. */
const THREADS = { main: undefined, log: 'kms-audit' } as const
/** Enough for a second segment. */
const BATCHES = 24
/** The last batch of a life that goes on after the fault. */
const LAST = `life.0.${2 * BATCHES - 1}`

export type Durability = 'queued' | 'fsync'

/** What one life of the driver told its client. */
export interface AuditLife {
  readonly opened: boolean
  readonly closed: boolean
  /** Records that were there when it opened. */
  readonly records: number
  /** Indexes of the records of a batch, by its name. */
  readonly acknowledged: ReadonlyMap<string, readonly number[]>
  readonly tried: ReadonlySet<string>
  readonly refusals: readonly Refusal[]
  /** Handed out, as `size:root`, the newest last. */
  readonly checkpoints: readonly string[]
}

export interface AuditLived extends Ended {
  readonly life: AuditLife
}

/** Where a log is that this driver writes. */
export class AuditPlace {
  readonly driver: string
  readonly durability: Durability

  constructor(driver: string, durability: Durability) {
    this.driver = driver
    this.durability = durability
  }

  /** One life; `batches` 0 for one that ends only by being killed. */
  async live(
    place: Place,
    life: string,
    how: {
      threads?: number
      batches?: number
      strace?: readonly string[]
      thread?: string
      killAfterMs?: number
    },
  ): Promise<AuditLived> {
    const { threads = 1, batches = BATCHES, ...rest } = how
    const wait = how.thread === undefined ? [] : ['wait']
    const args = [life, String(threads), String(batches), ...wait]
    const ended = await drive({ ...rest, command: this.#command('run', place, args) })
    return { ...ended, life: readAuditLife(ended.text) }
  }

  /** Checks offline, opens, and checks again; what is not as promised after these lives, in words. */
  async judge(place: Place, lives: readonly AuditLife[]): Promise<readonly string[]> {
    const checkpoints = lives.flatMap(life => life.checkpoints)
    const { code, stderr, text } = await drive({ command: this.#command('check', place, checkpoints) })
    if (code !== 0) return [`the restart ended with ${code}: ${stderr}`]
    return judgeLog(lives, readFound(text))
  }

  /** Opens the log: what is found, or why it is refused. */
  async open(place: Place): Promise<LogFound | string> {
    const { code, text, stderr } = await drive({ command: this.#command('check', place, []) })
    return code === 0 ? readFound(text) : `exit code ${code}: ${stderr}`
  }

  #command(mode: string, place: Place, args: readonly string[]): readonly string[] {
    return [this.driver, mode, place.at('audit'), place.at('beside', 'anchor'), this.durability, ...args]
  }
}

/** The audit log under faults, in one durability. */
export class AuditSubject implements Subject<AuditLived> {
  readonly name: string
  readonly threads: readonly string[] = Object.keys(THREADS)
  readonly template: Place
  readonly #log: AuditPlace
  readonly #before: AuditLife

  private constructor(log: AuditPlace, template: Place, before: AuditLife) {
    this.name = `audit-${log.durability}`
    this.template = template
    this.#log = log
    this.#before = before
  }

  /** A log with some records in it. */
  static async prepare(driver: string, durability: Durability): Promise<AuditSubject> {
    const template = Place.make()
    const log = new AuditPlace(driver, durability)
    const { life, code, stderr } = await log.live(template, 'before', { batches: 4 })
    if (code !== 0) throw new Error(`no log was made: ${stderr}`)
    return new AuditSubject(log, template, life)
  }

  live(place: Place, name: string, strace: readonly string[], fault?: Injection): Promise<AuditLived> {
    const thread = THREADS[name as keyof typeof THREADS]
    // Batches enough to see that none is taken after the fault.
    const batches = stopsWriter(fault) ? 2 * BATCHES : BATCHES
    return this.#log.live(place, 'life', { batches, strace, ...(thread !== undefined && { thread }) })
  }

  async judge(place: Place, lived: AuditLived, fault: Hit): Promise<readonly string[]> {
    return [...judgeEnd(lived, fault), ...(await this.#log.judge(place, [this.#before, lived.life]))]
  }

  remove(): void {
    this.template.remove()
  }
}

// biome-ignore lint/suspicious/noExplicitAny: lines of several shapes, told apart below
type Line = any

function readLines(text: string): readonly Line[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line))
}

function readAuditLife(text: string): AuditLife {
  const lines = readLines(text)
  const having = (name: string) => lines.filter(line => name in line)
  return {
    opened: having('opened').length > 0,
    closed: having('closed').length > 0,
    records: having('opened')[0]?.records ?? 0,
    acknowledged: new Map(having('done').map(line => [line.done, line.indexes])),
    tried: new Set(having('tried').map(line => line.tried)),
    refusals: [...having('refused'), ...having('no_checkpoint')].map(
      line => line.error ?? line.no_checkpoint,
    ),
    checkpoints: having('checkpoint').map(line => `${line.checkpoint}:${line.root}`),
  }
}

function judgeLog(lives: readonly AuditLife[], { requests, verdicts }: LogFound): readonly string[] {
  // They end in zeros, to be long.
  const records = requests.map(id => id?.slice(0, id.lastIndexOf('.')) ?? null)
  const faults: string[] = []
  const given = new Set<number>()
  for (const { acknowledged, records: before } of lives) {
    for (const [batch, indexes] of acknowledged) {
      for (const [i, index] of indexes.entries()) {
        if (records[index] !== `${batch}.${i}`)
          faults.push(`record ${index} is ${records[index]}, not ${batch}.${i}`)
        if (given.has(index)) faults.push(`index ${index} was given twice`)
        if (index < before) faults.push(`index ${index} was given again: there were ${before} records`)
        given.add(index)
      }
    }
  }
  const tried = new Set(lives.flatMap(life => [...life.tried]))
  const ids = records.filter(id => id !== null)
  if (new Set(ids).size !== ids.length) faults.push('a record is there twice')
  for (const id of ids) if (!tried.has(id.slice(0, id.lastIndexOf('.')))) faults.push(`nobody appended ${id}`)
  // There may be no log yet where the process ended before it was open.
  const offline = lives.some(life => life.opened) ? verdicts.offline : []
  return [
    ...faults,
    ...judgeVerdicts('before the restart', offline, [INTACT, TORN]),
    ...judgeVerdicts('after the restart', verdicts.reopened),
  ]
}

function judgeEnd({ life, code, signal, stderr }: AuditLived, injection: Hit): readonly string[] {
  if (injection.fault === 'kill') return signal === 'SIGKILL' ? [] : [`it was not killed: ${code} ${stderr}`]
  if (!life.opened) {
    const isTyped = code === 1 && /^[^\n]{1,300}$/.test(stderr) && !stderr.includes('panic')
    return isTyped ? [] : [`the start ended with ${code}: ${stderr}`]
  }
  const faults = []
  if (code !== 0 || !life.closed) faults.push(`it ended with ${code}: ${stderr}`)
  if (stderr.includes('panicked')) faults.push(`it panicked: ${stderr}`)
  if (stopsWriter(injection) && injection.text.includes('/audit') && life.acknowledged.has(LAST)) {
    faults.push('after a failed sync it took another record')
  }
  for (const { code, message } of life.refusals)
    if (!['StoreUnavailable', 'Backpressure'].includes(code)) faults.push(`refused with ${code}: ${message}`)
  return faults
}
