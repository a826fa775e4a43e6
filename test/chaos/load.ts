// Mixed load by several clients, each with keys of its own, and the ledger of what they were told: what must still hold when
// the service has been killed and started again.
import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { sizeAndRoot } from './audit-judge.js'
import { INTACT, judgeVerdicts, type LogFound, TORN } from './audit-log.js'
import type { Answer, FoundKey, Outcome } from './history.js'
import { agrees, apply, mayHaveHappened, type View, viewOf } from './model.js'
import type { Operation } from './operations.js'
import type { Place } from './place.js'
import type { ServiceProcess } from './service.js'

const MESSAGE = Buffer.from('a message').toString('base64')
/** What everything is answered while requests under way are finished. */
const SHUTTING_DOWN = 'the service is shutting down'
/** Keys of one client, those that are gone not counted. */
const MOST_KEYS = 12
/** Answers of one client that are asked for again. */
const REMEMBERED = 8

interface Key {
  readonly kid: string
  /** How it may look; more than one where the last change was cut off. */
  views: readonly View[]
  /** Of the message, by the version's kid. */
  readonly signatures: Map<string, string>
}

/** A request whose answer never came. */
interface Cut {
  readonly operation: Operation
  readonly key: Key | undefined
  /** How the key looked before. */
  readonly views: readonly View[]
}

interface Remembered {
  readonly operation: Operation
  readonly answer: Answer
}

/** What all clients together were told of the audit log. */
export class Ledger {
  readonly faults: string[] = []
  /** The request of each index that was answered; undefined where its first answer was cut off. */
  readonly requests = new Map<number, string | undefined>()
  /** Handed out, as `size:root`. */
  readonly checkpoints: string[] = []

  /** `request` is undefined for what was sent again: its record may be of the first time. */
  add(index: number, request: string | undefined): void {
    const before = this.requests.get(index)
    if (before !== undefined && request !== undefined)
      this.faults.push(`index ${index} was given to two requests`)
    this.requests.set(index, before ?? request)
  }

  /** Faults of a log, which has all that was acknowledged and is a continuation of every checkpoint. */
  judge({ requests, verdicts }: LogFound): readonly string[] {
    const lost = [...this.requests].filter(([index, request]) =>
      request === undefined ? requests[index] === undefined : requests[index] !== request,
    )
    return [
      ...this.faults,
      ...lost
        .slice(0, 5)
        .map(([index, request]) => `record ${index} is of ${requests[index]}, not of ${request}`),
      ...judgeVerdicts('after a kill', verdicts.offline, [INTACT, TORN]),
    ]
  }
}

/** A client; its requests go one after the other. */
export class Client {
  readonly keys: Key[] = []
  readonly faults: string[] = []
  /** Answers that it got. */
  acknowledged = 0
  readonly #purpose: string
  readonly #next: () => number
  readonly #ledger: Ledger
  #cut: Cut | undefined
  #remembered: Remembered[] = []

  constructor(number: number, ledger: Ledger, next: () => number) {
    this.#purpose = `client-${number}`
    this.#ledger = ledger
    this.#next = next
  }

  /** Sends requests until the connection ends, or `isOver` says so. */
  async run(service: ServiceProcess, isOver: () => boolean): Promise<void> {
    while (!isOver() && !this.#cut) await this.#step(service)
  }

  /** After a restart: what was cut off is sent again or looked up, and everything that was acknowledged is there. */
  async settle(service: ServiceProcess): Promise<void> {
    const cut = this.#cut
    this.#cut = undefined
    if (cut?.operation.body.op_id !== undefined) await this.#repeat(service, cut)
    else if (cut?.operation.op === 'sign' && cut.key) await this.#sign(service, cut.key, false)
    for (const key of this.keys) await this.#look(service, key)
    for (const { operation, answer } of this.#remembered.splice(0)) {
      // Not given again while the key is out of use.
      if (!this.keys.find(key => key.kid === kidOf(operation, answer))?.views.every(isUsable)) continue
      const outcome = await this.#send(service, operation, undefined, true)
      if (outcome.kind === 'done' && !isDeepStrictEqual(outcome.answer, answer))
        this.faults.push(`${operation.op}: another answer under the same op_id`)
      else if (outcome.kind === 'refused') this.faults.push(`${operation.op}: ${outcome.error.message}`)
    }
  }

  async #step(service: ServiceProcess): Promise<void> {
    const living = this.keys.filter(key => key.views.some(view => view.state !== 'gone'))
    const key = living[Math.floor(this.#next() * living.length)]
    const dice = this.#next()
    if (!key || (dice < 0.1 && living.length < MOST_KEYS)) return this.#create(service)
    if (dice < 0.2) return this.#change(service, key, 'rotate', { op_id: randomUUID() })
    if (dice < 0.3) return this.#change(service, key, isPaused(key) ? 'enable' : 'disable', {})
    if (dice < 0.33) return this.#change(service, key, 'destroy', { delay_ms: 1, op_id: randomUUID() })
    if (dice < 0.65) return this.#sign(service, key, dice < 0.5)
    if (dice < 0.9) return this.#verify(service, key)
    if (dice < 0.95) return this.#checkpoint(service)
    return this.#look(service, key)
  }

  async #create(service: ServiceProcess): Promise<void> {
    const body = {
      tenant: 'core',
      purpose: this.#purpose,
      alg: 'ed25519',
      signs: 'message',
      op_id: randomUUID(),
    }
    this.#adopt(await this.#send(service, { op: 'create', body }, undefined))
  }

  #adopt(outcome: Outcome): void {
    if (outcome.kind !== 'done') return
    const kid = outcome.answer.kid.split('#')[0] as string
    if (this.keys.some(key => key.kid === kid)) this.faults.push(`${kid} was given twice`)
    const view: View = { state: 'enabled', versions: ['enabled'], head: 1, pending: null }
    this.keys.push({ kid, views: [view], signatures: new Map() })
  }

  async #change(service: ServiceProcess, key: Key, op: string, body: Operation['body']): Promise<void> {
    const operation = { op, kid: key.kid, body }
    const outcome = await this.#send(service, operation, key)
    const next = key.views.flatMap(view => apply(gone(operation), view) ?? [])
    if (outcome.kind === 'done') {
      if (next.length === 0) this.faults.push(`${op} was allowed: ${key.kid} is ${JSON.stringify(key.views)}`)
      else key.views = next
    } else if (mayHaveHappened(outcome)) key.views = [...key.views, ...next]
  }

  async #sign(service: ServiceProcess, key: Key, withId: boolean): Promise<void> {
    const body = {
      kid_or_set: { kid: key.kid },
      message_b64: MESSAGE,
      ...(withId && { op_id: randomUUID() }),
    }
    const outcome = await this.#send(service, { op: 'sign', body }, key)
    if (outcome.kind === 'done') {
      if (!key.views.some(isUsable)) this.faults.push(`${key.kid} signed: it is ${JSON.stringify(key.views)}`)
      const { kid, sigs } = outcome.answer as unknown as { kid: string; sigs: { signature_b64: string }[] }
      const [now, before] = [sigs[0]?.signature_b64 ?? '', key.signatures.get(kid)]
      // Ed25519 signs one message in one way, so another signature is by another key.
      if (before !== undefined && before !== now) this.faults.push(`${kid} signs with another key`)
      key.signatures.set(kid, now)
    } else if (outcome.kind === 'refused' && outcome.error.code === 'Conflict' && key.views.every(isUsable)) {
      this.faults.push(`${key.kid} does not sign: ${outcome.error.message}`)
    }
  }

  async #verify(service: ServiceProcess, key: Key): Promise<void> {
    const [kid, signature] = [...key.signatures].at(-1) ?? []
    if (kid === undefined) return
    const body = { kid, message_b64: MESSAGE, sigs: [{ alg: 'ed25519', signature_b64: signature }] }
    const outcome = await this.#send(service, { op: 'verify', body }, key)
    if (outcome.kind === 'done' && outcome.answer.ok !== true) this.faults.push(`${kid} does not verify`)
  }

  async #checkpoint(service: ServiceProcess): Promise<void> {
    const { status, text } = await service
      .ask('GET', '/audit/checkpoint')
      .catch(() => ({ status: 0, text: '' }))
    if (status === 200) this.#ledger.checkpoints.push(sizeAndRoot(text))
  }

  async #look(service: ServiceProcess, key: Key): Promise<void> {
    const outcome = await this.#send(service, { op: 'describe', kid: key.kid, body: {} }, key)
    if (outcome.kind === 'open') return
    if (outcome.kind === 'refused') {
      const { message } = outcome.error
      if (message !== SHUTTING_DOWN) this.faults.push(`${key.kid} is lost: ${message}`)
      return
    }
    const found = shown(outcome.answer)
    const may = key.views.filter(view => agrees(view, found))
    if (may.length === 0) {
      this.faults.push(`${key.kid} is ${JSON.stringify(found)}, may be ${JSON.stringify(key.views)}`)
    } else key.views = may.slice(0, 1)
  }

  /** Sends what was cut off again: it happens once. */
  async #repeat(service: ServiceProcess, { operation, key, views }: Cut): Promise<void> {
    const outcome = await this.#send(service, operation, key, true)
    const isInUse = key === undefined || key.views.every(isUsable)
    if (outcome.kind === 'refused') {
      if (isInUse || outcome.error.code !== 'Conflict')
        this.faults.push(`${operation.op} sent again: ${JSON.stringify(outcome.error)}`)
    } else if (outcome.kind === 'done') {
      if (operation.op === 'create') this.#adopt(outcome)
      else if (key) key.views = views.flatMap(view => apply(gone(operation), view) ?? [])
    }
  }

  async #send(
    service: ServiceProcess,
    operation: Operation,
    key: Key | undefined,
    isAgain = false,
  ): Promise<Outcome> {
    const { op, kid, body } = operation
    const isGet = op === 'describe'
    const path =
      kid === undefined ? (op === 'create' ? '/keys' : `/${op}`) : `/keys/${kid}${isGet ? '' : `/${op}`}`
    const views = key?.views ?? []
    try {
      const { status, json, headers } = await service.ask(isGet ? 'GET' : 'POST', path, isGet ? {} : { body })
      if (status >= 300) return { kind: 'refused', error: json.error }
      this.acknowledged += 1
      if (json.audit)
        this.#ledger.add(json.audit.index, isAgain ? undefined : String(headers['x-request-id']))
      if (body.op_id !== undefined) this.#remember({ operation, answer: json })
      return { kind: 'done', answer: json }
    } catch {
      this.#cut = { operation, key, views }
      return { kind: 'open' }
    }
  }

  #remember(answer: Remembered): void {
    if (answer.operation.op === 'create' || answer.operation.op === 'sign') this.#remembered.push(answer)
    this.#remembered = this.#remembered.slice(-REMEMBERED)
  }
}

/** Faults of the directory: keys that nobody knows of, or that are there twice. */
export function judgeDirectory(place: Place, clients: readonly Client[]): readonly string[] {
  const shards = place.at('store', 'keys')
  const there = readdirSync(shards).flatMap(shard => readdirSync(place.at('store', 'keys', shard)))
  const known = new Set(clients.flatMap(client => client.keys.map(key => key.kid.split('/')[3])))
  const strange = there.filter(uuid => !known.has(uuid))
  const lost = known.size - (there.length - strange.length)
  return [
    ...strange.map(uuid => `nobody asked for the key ${uuid}`),
    ...(lost > 0 ? [`${lost} keys have no directory`] : []),
  ]
}

/** The key that an answer is about. */
const kidOf = ({ kid }: Operation, answer: Answer): string => kid ?? (answer.kid.split('#')[0] as string)

/** A destruction after a millisecond is one that is due. */
const gone = (operation: Operation): Operation =>
  operation.op === 'destroy' ? { ...operation, body: { ...operation.body, delay_ms: 0 } } : operation

const isUsable = ({ state, versions, head }: View): boolean =>
  state === 'enabled' && versions[head - 1] === 'enabled'

const isPaused = (key: Key): boolean => key.views.some(view => view.state === 'disabled')

// biome-ignore lint/suspicious/noExplicitAny: as the API answers it
function shown({ kid, state, head, pending, version_states }: any): View {
  const versions = version_states.map((each: { state: string }) => ({ state: each.state, public: '' }))
  const found: FoundKey = { kid, state, head, versions, signature: '' }
  return viewOf(pending ? { ...found, pending: pending.kid.split('#')[1] } : found)
}
