// A key store with a history, which is moved to another root key, backed up and restored; and what is seen of it.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { toKmsError } from '../../src/errors.js'
import { fileStore, rootKey } from '../../src/file-store.js'
import type { RootKeyOptions } from '../../src/kms-types.js'
import { requireNative } from '../../src/native.js'
import type { Answer, Found, Life } from './history.js'
import { judge, known } from './model.js'
import type { Operation } from './operations.js'
import { Place } from './place.js'
import { live } from './store-subject.js'

/** The root keys by their files: the store is made under the first, and moved to the second. */
export const ROOT_KEYS = ['root.key', 'next.key'] as const
export type RootKeyName = (typeof ROOT_KEYS)[number]
export const WRONG_ROOT_KEY = /^the root key does not open this store/

/** A key file of a place. */
export const keyFile = (place: Place, name: RootKeyName): RootKeyOptions => ({
  kind: 'key-file',
  file: place.at(name),
})

/** What a service opens a store of a place with, none of which is made. */
export const openedBy = (place: Place, name: RootKeyName, dir = 'store') => ({
  ...place.store(),
  dir: place.at(dir),
  rootKey: keyFile(place, name),
  create: false,
})

const opId = (n: number) => `0b2e7c1e-5a1c-4a5e-9d58-${n.toString().padStart(12, '0')}`
const PURPOSES = ['rotate', 'pause', 'version', 'destroy'] as const
type Kids = Readonly<Record<(typeof PURPOSES)[number], string>>

const creations: readonly Operation[] = PURPOSES.map((purpose, n) => ({
  op: 'create',
  body: { tenant: 'core', purpose, alg: 'ed25519', signs: 'message', op_id: opId(100 + n) },
}))

/** Every state that a key can stay in. */
const changes = ({ rotate, pause, version, destroy }: Kids): readonly Operation[] => [
  { op: 'rotate', kid: rotate, body: { op_id: opId(110) } },
  { op: 'rotate', kid: version, body: { op_id: opId(111) } },
  { op: 'destroy', kid: `${version}#v1`, body: { delay_ms: 0, op_id: opId(112) } },
  { op: 'disable', kid: pause, body: {} },
  { op: 'destroy', kid: destroy, body: { delay_ms: 0, op_id: opId(113) } },
]

const NOTHING: Life = {
  ...{ opened: true, closed: true, outcomes: new Map(), repeated: new Map(), proofs: [], verified: [] },
}

/** A store, all that was acknowledged of it, and how it is looked at. */
export class KeptStore {
  readonly template: Place
  readonly kids: Kids
  readonly found: Found
  readonly #history: readonly Operation[]
  /** What comes of those with an op_id when they are sent again. */
  readonly #repeated: Life['repeated']

  private constructor(template: Place, kids: Kids, history: readonly Operation[], seen: Life) {
    if (!seen.found) throw new Error('the keys that were made are not found')
    this.template = template
    this.kids = kids
    this.found = seen.found
    this.#history = history
    this.#repeated = seen.repeated
  }

  /** Makes one. */
  static async prepare(): Promise<KeptStore> {
    const template = Place.make()
    writeFileSync(template.at('next.key'), Buffer.alloc(32, 9), { mode: 0o600 })
    const made = await told(template, creations)
    const kids = Object.fromEntries(made.map(({ kid }, n) => [PURPOSES[n], kid.split('#')[0]])) as Kids
    await told(template, changes(kids))
    const history = [...creations, ...changes(kids)]
    const { life } = await look(template, history, 'root.key')
    const others = [...life.repeated.values()].filter(
      // Keys that were destroyed since are not shown as they were made.
      it => it.kind !== 'done' && !(it.kind === 'refused' && it.error.code === 'Conflict'),
    )
    if (others.length > 0) throw new Error(`an op_id is forgotten: ${JSON.stringify(others)}`)
    return new KeptStore(template, kids, history, life)
  }

  /** How many keys there are, destroyed ones included. */
  get keys(): number {
    return this.found.keys.length
  }

  /** Opens the store of a place by this root key; what is not as it was acknowledged, in words. */
  async judge(place: Place, name: RootKeyName): Promise<readonly string[]> {
    const { life, code, stderr } = await look(place, this.#history, name)
    if (code !== 0) return [`the restart ended with ${code}: ${stderr}`]
    const isSame = isDeepStrictEqual(life.repeated, this.#repeated)
    return [
      ...judge(known(this.found), [], NOTHING, life),
      ...(isSame ? [] : ['what was done under an op_id is answered otherwise']),
    ]
  }

  /** Opens a copy that has no anchor; what is not as it was after these operations more, in words. */
  async judgeCopy(
    place: Place,
    dir: string,
    name: RootKeyName,
    sent: readonly Operation[] = [],
    life: Life = NOTHING,
  ): Promise<readonly string[]> {
    const { anchor: _, ...store } = openedBy(place, name, dir) as Record<string, unknown>
    const plan = { mode: 'check', store: { ...store, acceptOlder: true }, operations: [] } as const
    const { life: seen, code, stderr } = await live(place, plan)
    if (code !== 0) return [`${dir} is not opened (${code}): ${stderr}`]
    return judge(known(this.found), sent, life, seen).map(fault => `in ${dir}, ${fault}`)
  }

  remove(): void {
    this.template.remove()
  }
}

/** Carries operations out, and gives what was answered. */
async function told(place: Place, operations: readonly Operation[]): Promise<readonly Answer[]> {
  const { life, stderr } = await live(place, { operations })
  return operations.map(({ op }, index) => {
    const outcome = life.outcomes.get(index)
    if (outcome?.kind !== 'done') throw new Error(`${op} was not done: ${stderr}`)
    return outcome.answer
  })
}

/** Shows all keys, and sends what had an op_id again. */
function look(place: Place, operations: readonly Operation[], name: RootKeyName) {
  const again = operations.flatMap(({ body }, index) => (body.op_id === undefined ? [] : [index]))
  return live(place, { mode: 'check', store: openedBy(place, name), operations, again })
}

/** What an offline check by a root key says: what is not sound, or why there is nothing to check. */
function check(place: Place, dir: string, name: RootKeyName): readonly string[] | string {
  try {
    const store = fileStore({ dir: place.at(dir), rootKey: keyFile(place, name) })
    return JSON.parse(requireNative().storeCheck(store)).problems
  } catch (error) {
    return toKmsError(error).message
  }
}

/** The one root key that opens a store; or what is not as it must be, in words. */
export function rootKeyInForce(place: Place, dir: string): RootKeyName | readonly string[] {
  const verdicts = ROOT_KEYS.map(name => [name, check(place, dir, name)] as const)
  const opening = verdicts.filter(([, verdict]) => Array.isArray(verdict))
  const faults = verdicts.flatMap(([, verdict]) =>
    typeof verdict !== 'string' ? verdict : WRONG_ROOT_KEY.test(verdict) ? [] : [verdict],
  )
  if (opening.length !== 1) faults.push(`${opening.length} root keys open ${dir}`)
  return faults.length === 0 && opening[0] ? opening[0][0] : faults
}

/** What keeps work of an operator from being done; `undefined` where it is. */
export function refusal(work: () => unknown): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    return toKmsError(error).message
  }
}

export const moveOffline = (place: Place, from: RootKeyName, to: RootKeyName) => {
  const options = {
    dir: place.at('store'),
    rootKey: keyFile(place, from),
    anchor: place.at('beside', 'anchor'),
  }
  requireNative().storeRekey(fileStore(options), rootKey(keyFile(place, to)))
}

export const backUp = (place: Place, to: string) => {
  const options = {
    ...{ dir: place.at('store'), rootKey: keyFile(place, 'root.key'), anchor: place.at('beside', 'anchor') },
  }
  return requireNative().storeBackup(fileStore(options), place.at(to))
}

export const restore = (place: Place, from: string, to: string, name: RootKeyName = 'root.key') =>
  requireNative().storeRestore(place.at(from), rootKey(keyFile(place, name)), place.at(to))

/** A header that a rekey did not finish with is longer. */
export const headerSize = (place: Place): number => statSync(place.at('store', 'store')).size

/** Every file of a directory but its lock, with its bytes; those of an interrupted write among them. */
export function filesIn(place: Place, dir: string): ReadonlyMap<string, string> {
  const entries = readdirSync(place.at(dir), { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile() && entry.name !== 'lock')
  return new Map(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name)
      return [path.slice(place.at(dir).length + 1), readFileSync(path, 'base64')]
    }),
  )
}
