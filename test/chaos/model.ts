// What keys may look like after a history: a small model of the life cycle, beside the product's own.

import { isDeepStrictEqual } from 'node:util'
import { type Found, type FoundKey, isInDoubt, type Life, type Outcome } from './history.js'
import { type Operation, purposeOf } from './operations.js'

type State = 'enabled' | 'disabled' | 'scheduled' | 'gone'

/** A key, as far as its life goes. */
export interface View {
  readonly state: State
  readonly versions: readonly State[]
  readonly head: number
  readonly pending: number | null
}

/** What holds of a key whatever happens to it. */
export interface Known {
  readonly kid: string
  readonly view: View
  readonly publics: readonly string[]
  readonly signature: string
}

/** Keys as they were before anything went wrong. */
export function known(found: Found): readonly Known[] {
  return found.keys.map(key => {
    const publics = key.versions.map(version => version.public)
    return { kid: key.kid, view: viewOf(key), publics, signature: key.signature }
  })
}

/** Faults of what was found after `operations` had these outcomes, in words; none where all is as promised. */
export function judge(
  before: readonly Known[],
  operations: readonly Operation[],
  life: Life,
  again: Life,
): string[] {
  const { found, after, repeated } = again
  if (!found || !after) return ['the store was not opened again']
  const outcomes = [...life.outcomes]
  const whole = new Map(outcomes)
  for (const [index, outcome] of repeated) if (outcome.kind === 'done') whole.set(index, outcome)
  return [
    ...judgeKeys(before, operations, life.outcomes, found).map(fault => `after the restart: ${fault}`),
    ...judgeKeys(before, operations, whole, after).map(fault => `after sending again: ${fault}`),
    ...outcomes.flatMap(([index]) => judgeRepeat(operations, life, repeated, index)),
  ]
}

function judgeKeys(
  before: readonly Known[],
  operations: readonly Operation[],
  outcomes: ReadonlyMap<number, Outcome>,
  found: Found,
): string[] {
  const faults = found.keys.filter(key => key.error).map(key => `${key.kid}: ${key.error?.message}`)
  for (const key of before) {
    const now = found.keys.find(each => each.kid === key.kid)
    if (!now) faults.push(`${key.kid} is lost`)
    else if (!now.error) faults.push(...judgeKnown(key, now, operations, outcomes))
  }
  const kids = found.keys.map(key => key.kid)
  if (new Set(kids).size !== kids.length) faults.push('a kid is there twice')
  const fresh = found.keys.filter(key => !key.error && !before.some(({ kid }) => kid === key.kid))
  return [...faults, ...judgeFresh(fresh, operations, outcomes)]
}

function judgeKnown(
  key: Known,
  now: FoundKey,
  operations: readonly Operation[],
  outcomes: ReadonlyMap<number, Outcome>,
): string[] {
  let views: readonly View[] = [key.view]
  for (const [index, outcome] of outcomes) {
    const operation = operations[index]
    if (!operation || keyOf(operation) !== key.kid) continue
    const next = views.flatMap(view => apply(operation, view) ?? [])
    if (outcome.kind === 'done') views = next
    else if (mayHaveHappened(outcome)) views = [...views, ...next]
  }
  const faults = []
  const view = viewOf(now)
  if (!views.some(each => agrees(each, view)))
    faults.push(`${key.kid} is ${JSON.stringify(view)}, may be ${JSON.stringify(views)}`)
  for (const [n, known] of key.publics.entries())
    if (now.versions[n]?.public !== known) faults.push(`${key.kid}#v${n + 1} has another public key`)
  const isUsable = view.state === 'enabled' && view.versions[view.head - 1] === 'enabled'
  const mustSign = isUsable && view.head === key.view.head
  if (mustSign && now.signature !== key.signature) faults.push(`${key.kid} signs otherwise: ${now.signature}`)
  if (!isUsable && now.signature !== 'Conflict') faults.push(`${key.kid} is used: ${now.signature}`)
  return faults
}

/** Keys that were not there: those that were acknowledged, and none that was not asked for. */
function judgeFresh(
  fresh: readonly FoundKey[],
  operations: readonly Operation[],
  outcomes: ReadonlyMap<number, Outcome>,
): string[] {
  const faults: string[] = []
  const left = new Set(fresh)
  for (const [index, outcome] of outcomes) {
    const operation = operations[index]
    if (!operation || !['create', 'derive'].includes(operation.op)) continue
    const purpose = operation.body.purpose ?? purposeOf(operation.kid ?? '')
    const made = fresh.filter(key => purposeOf(key.kid) === purpose)
    for (const key of made) left.delete(key)
    if (made.length > 1) faults.push(`${operation.op} made ${made.length} keys`)
    if (outcome.kind === 'done') {
      const { kid, public: key } = outcome.answer as { kid: string; public?: { pubkey_b64: string } }
      const [now] = made
      if (`${now?.kid}#v1` !== kid) faults.push(`${kid} was acknowledged and is lost`)
      else if (now?.versions[0]?.public !== key?.pubkey_b64) faults.push(`${kid} has another public key`)
    } else if (made.length > 0 && !mayHaveHappened(outcome)) {
      faults.push(`${operation.op} was refused and made a key`)
    }
  }
  for (const key of left) faults.push(`${key.kid}: nobody asked for it`)
  return faults
}

/**
 * An answer is given again as it was; what was not acknowledged happens once. Only where the key has changed since is
 * there a refusal instead.
 */
function judgeRepeat(
  operations: readonly Operation[],
  { outcomes }: Life,
  repeated: ReadonlyMap<number, Outcome>,
  index: number,
): string[] {
  const [operation, first, second] = [operations[index], outcomes.get(index), repeated.get(index)]
  if (!operation || !second) return []
  const name = `${operation.op} (${operation.kid ?? ''}) sent again`
  if (second.kind === 'done') {
    if (first?.kind !== 'done' || isDeepStrictEqual(first.answer, second.answer)) return []
    return [`${name} has another answer: ${JSON.stringify([first.answer, second.answer])}`]
  }
  const hasChanged = [...outcomes.keys()].some(
    later => later > index && operations[later]?.kid === operation.kid && operation.kid !== undefined,
  )
  const isChange = second.kind === 'refused' && second.error.code === 'Conflict' && hasChanged
  return isChange ? [] : [`${name} is not answered: ${JSON.stringify(second)}`]
}

/**
 * Whether an operation without acknowledgement may be in force: it was under way when the process ended, or the service
 * said that the outcome is open. Any other refusal promises that nothing was changed.
 */
export function mayHaveHappened(outcome: Outcome): boolean {
  return outcome.kind === 'open' || (outcome.kind === 'refused' && isInDoubt(outcome.error))
}

const keyOf = ({ kid }: Operation): string | undefined => kid?.split('#')[0]

/** The view after an operation; `undefined` where it must be refused. */
export function apply({ op, kid, body }: Operation, view: View): View | undefined {
  const version = kid?.includes('#v') ? Number(kid.split('#v')[1]) : undefined
  const set = (from: readonly State[], to: State): View | undefined => {
    const state = version === undefined ? view.state : view.versions[version - 1]
    if (!state || !from.includes(state)) return undefined
    if (version === undefined) return { ...view, state: to }
    return { ...view, versions: view.versions.with(version - 1, to) }
  }
  switch (op) {
    case 'rotate': {
      if (view.state !== 'enabled' || view.pending !== null) return undefined
      const versions: State[] = [...view.versions, 'enabled']
      const isLater = body.activate_after_ms !== undefined
      if (isLater) return { ...view, versions, pending: versions.length }
      return { ...view, versions, head: versions.length }
    }
    case 'disable':
      return set(['enabled'], 'disabled')
    case 'enable':
      return set(['disabled'], 'enabled')
    case 'destroy':
      return set(['enabled', 'disabled'], body.delay_ms === 0 ? 'gone' : 'scheduled')
    case 'cancel_destroy':
      return set(['scheduled'], 'disabled')
    default:
      return view
  }
}

const STATES: Readonly<Record<string, State>> = {
  enabled: 'enabled',
  disabled: 'disabled',
  destroy_scheduled: 'scheduled',
  destroyed: 'gone',
}

export function viewOf({ state, head, pending, versions }: FoundKey): View {
  const stateOf = (name: string): State => {
    const known = STATES[name]
    if (!known) throw new Error(`no state is named ${name}`)
    return known
  }
  const number = (label: string) => Number(/v(\d+)$/.exec(label)?.[1])
  return {
    state: stateOf(state),
    versions: versions.map(version => stateOf(version.state)),
    head: number(head),
    pending: pending === undefined ? null : number(pending),
  }
}

const ORDER: readonly State[] = ['enabled', 'disabled', 'scheduled', 'gone']

/** A version is shown in the state that counts: its own, or the key's where that is further on. */
const effective = (key: State, own: State): State => (ORDER.indexOf(key) > ORDER.indexOf(own) ? key : own)

/** What is due is out of use at once, and destroyed at the next occasion. */
export function agrees(may: View, is: View): boolean {
  const fits = (a: State, b: State | undefined) => a === b || (a === 'gone' && b === 'scheduled')
  if (!fits(may.state, is.state) || may.versions.length !== is.versions.length) return false
  if (may.state === 'gone') return true
  const versions = may.versions.every((own, n) => fits(effective(may.state, own), is.versions[n]))
  return versions && may.head === is.head && may.pending === is.pending
}
