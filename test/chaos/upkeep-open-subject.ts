// Rekey and backup of a store that a service has open, between changes, under faults; and the start after a rekey that was
// cut short.
import type { Outcome } from './history.js'
import { judge, known, mayHaveHappened } from './model.js'
import type { Operation } from './operations.js'
import type { Place } from './place.js'
import { type Lived, live } from './store-subject.js'
import { type Injection, stopsWriter, straceArgs } from './strace.js'
import type { Hit, Subject } from './sweep.js'
import {
  headerSize,
  type KeptStore,
  keyFile,
  openedBy,
  type RootKeyName,
  refusal,
  restore,
  rootKeyInForce,
} from './upkeep-store.js'
import { IN_FORCE, NO_STORE, RekeySubject } from './upkeep-subject.js'

const create = (purpose: string, n: number): Operation => ({
  op: 'create',
  body: { tenant: 'core', purpose, alg: 'ed25519', signs: 'message', op_id: `${OP_ID}${n}` },
})
const OP_ID = '0b2e7c1e-5a1c-4a5e-9d58-00000000000'
const BACKUP = 3

/** A service that is rekeyed and backed up, on its thread for operations. */
export class OpenUpkeepSubject implements Subject<Lived> {
  readonly name = 'open-upkeep'
  readonly threads = ['pool']
  readonly template: Place
  readonly #store: KeptStore

  constructor(store: KeptStore) {
    this.#store = store
    this.template = store.template.copy()
  }

  live(place: Place, _thread: string, strace: readonly string[], fault?: Injection): Promise<Lived> {
    const keys = Object.values(this.#store.kids)
    return live(place, { operations: this.#operations(place, fault), keys }, 'ron-kms-0', strace)
  }

  async judge(place: Place, lived: Lived, fault: Hit): Promise<readonly string[]> {
    const sent = this.#operations(place, fault)
    const opens = rootKeyInForce(place, 'store')
    if (typeof opens !== 'string') return opens
    return [
      ...judgeEnd(lived, sent, fault),
      ...judgeTold(lived, sent, opens),
      ...(await this.#restart(place, lived, sent, opens)),
      ...(await this.#judgeBackup(place, lived, sent)),
    ]
  }

  remove(): void {
    this.template.remove()
  }

  /** What is sent; after a fault that the service outlives, what an operator tries again too. */
  #operations(place: Place, fault?: Injection): readonly Operation[] {
    const rekey = { op: 'rekey', body: { ...keyFile(place, 'next.key') } }
    const { rotate: kid } = this.#store.kids
    const first = [
      create('fresh', 0),
      rekey,
      { op: 'rotate', kid, body: { op_id: `${OP_ID}1` } },
      { op: 'backup', body: { to: place.at('backup') } },
      { op: 'disable', kid, body: {} },
    ]
    return fault && fault.fault !== 'kill' ? [...first, rekey, create('last', 2)] : first
  }

  async #restart(
    place: Place,
    { life }: Lived,
    sent: readonly Operation[],
    opens: RootKeyName,
  ): Promise<readonly string[]> {
    const again = [...life.outcomes.keys()].filter(index => sent[index]?.body.op_id !== undefined)
    const plan = { mode: 'check', store: openedBy(place, opens), operations: sent, again } as const
    const restarted = await live(place, plan)
    if (restarted.code !== 0) return [`the restart ended with ${restarted.code}: ${restarted.stderr}`]
    const isFinished = headerSize(place) === headerSize(this.template)
    return [
      ...judge(known(this.#store.found), sent, life, restarted.life),
      ...(isFinished ? [] : ['the restart did not finish the rekey']),
    ]
  }

  /** What was acknowledged before it is in it; without its acknowledgement it is whole, or no store. */
  async #judgeBackup(place: Place, { life }: Lived, sent: readonly Operation[]): Promise<readonly string[]> {
    const outcome = life.outcomes.get(BACKUP)
    if (!outcome) return []
    const why = refusal(() => restore(place, 'backup', 'none'))
    if (why === NO_STORE)
      return outcome.kind === 'done' ? ['the backup was acknowledged, and is no store'] : []
    const opens = rootKeyInForce(place, 'backup')
    if (typeof opens !== 'string') return opens
    const isTold = outcome.kind === 'done' || mayHaveHappened(outcome)
    const before = new Map([...life.outcomes].filter(([index]) => index < BACKUP))
    const refused = refusal(() => restore(place, 'backup', 'restored', opens))
    return [
      ...(isTold ? [] : [`the backup is whole, and was refused: ${JSON.stringify(outcome)}`]),
      ...(refused === undefined ? [] : [`the backup is not restored: ${refused}`]),
      ...(await this.#store.judgeCopy(place, 'restored', opens, sent.slice(0, BACKUP), {
        ...{ ...life, outcomes: before },
      })),
    ]
  }
}

/** A rekey that was killed in the middle, and the start that ends it. */
export class UnfinishedRekeySubject implements Subject<Lived> {
  readonly name = 'unfinished-rekey'
  readonly threads = ['main']
  readonly template: Place
  readonly #store: KeptStore

  private constructor(store: KeptStore, template: Place) {
    this.#store = store
    this.template = template
  }

  static async prepare(store: KeptStore): Promise<UnfinishedRekeySubject> {
    const template = store.template.copy()
    // The header is in place, and one key is sealed again.
    const injection = { name: 'renameat', when: 3, fault: 'kill' } as const
    const rekey = new RekeySubject(store)
    await rekey.live(template, 'main', straceArgs(template.beside('trace'), injection))
    rekey.remove()
    if (
      rootKeyInForce(template, 'store') !== 'next.key' ||
      headerSize(template) === headerSize(store.template)
    )
      throw new Error('the rekey was not killed in the middle')
    return new UnfinishedRekeySubject(store, template)
  }

  live(place: Place, _thread: string, strace: readonly string[]): Promise<Lived> {
    return live(place, { store: openedBy(place, 'next.key'), operations: [] }, undefined, strace)
  }

  async judge(place: Place, lived: Lived, fault: Hit): Promise<readonly string[]> {
    const opens = rootKeyInForce(place, 'store')
    if (typeof opens !== 'string') return opens
    const faults = opens === 'next.key' ? [] : ['the old root key opens it again']
    faults.push(...judgeEnd(lived, [], fault), ...(await this.#store.judge(place, opens)))
    if (headerSize(place) !== headerSize(this.#store.template)) faults.push('the rekey is not finished')
    if (fault.fault === 'ENOSPC' && fault.name === 'write' && !lived.life.opened)
      faults.push('a full disk keeps it from being opened')
    return faults
  }

  remove(): void {
    this.template.remove()
  }
}

/** How the life with the fault ended. */
function judgeEnd(
  { life, code, signal, stderr }: Lived,
  sent: readonly Operation[],
  fault: Hit,
): readonly string[] {
  if (fault.fault === 'kill') return signal === 'SIGKILL' ? [] : [`it was not killed: ${code} ${stderr}`]
  if (!life.opened) {
    const isTyped = code === 1 && /^(StoreUnavailable|Internal|BadRequest): .+$/.test(stderr)
    return isTyped ? [] : [`the start ended with ${code}: ${stderr}`]
  }
  const faults: string[] = []
  if (code !== 0 || !life.closed || stderr.includes('panicked'))
    faults.push(`it ended with ${code}: ${stderr}`)
  for (const [index, outcome] of life.outcomes) {
    if (outcome.kind !== 'refused') continue
    const { code: reason, message } = outcome.error
    // A root key that is not read is one that is not there.
    const fitting = ['StoreUnavailable', 'Conflict', ...(sent[index]?.op === 'rekey' ? ['BadRequest'] : [])]
    if (!fitting.includes(reason)) faults.push(`${sent[index]?.op}: ${reason} ${message}`)
  }
  const last = [...life.outcomes.values()].at(-1)
  // One of the backup, or of the directory that it is made in, says nothing about the store.
  const isOfStore = /\/files\/(store|beside)/.test(fault.text)
  if (stopsWriter(fault) && isOfStore && last?.kind === 'done')
    faults.push('after a failed sync it took another change')
  return faults
}

/** Whether the root key that opens the store is the one that the operator was told of. */
function judgeTold({ life }: Lived, sent: readonly Operation[], opens: RootKeyName): readonly string[] {
  const rekeys = [...life.outcomes].filter(([index]) => sent[index]?.op === 'rekey')
  let told: RootKeyName | undefined = 'root.key'
  for (const [, outcome] of rekeys) told = toldBy(outcome, told)
  if (told === undefined || told === opens) return []
  return [`${opens} opens it, and the operator was told ${JSON.stringify(rekeys)}`]
}

function toldBy(outcome: Outcome, before: RootKeyName | undefined): RootKeyName | undefined {
  if (outcome.kind === 'done' || (outcome.kind === 'refused' && IN_FORCE.test(outcome.error.message)))
    return 'next.key'
  return mayHaveHappened(outcome) ? undefined : before
}
