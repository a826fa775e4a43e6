import type { CapabilityVerifier } from '../capability.js'
import { type Fault, formatFault } from '../config/faults.js'
import type { Origin } from '../config/merge.js'
import { type Config, KEYS, type Key } from '../config/schema.js'
import type { Setting } from '../config/setting.js'
import { shownBy } from '../config/show.js'
import { KmsError, toKmsError } from '../errors.js'
import type { Kms } from '../kms.js'
import type { Change, Log } from '../logging/log.js'
import { type Prepared, ReloadError } from '../server/api-listeners.js'
import { rootKeyOf } from './open-kms.js'

/** What a reload works on: settings of a table, and the service that has them. */
export interface ReloadParts<K extends string, C extends object> {
  readonly rows: Readonly<Record<K, Setting<unknown>>>
  readonly service: { prepare(next: C): Prepared }
  readonly capabilities: Pick<CapabilityVerifier, 'reload'>
  readonly log: Pick<Log, 'configRefused' | 'configReloaded'>
  readonly load: () => {
    readonly config?: C
    readonly origins: ReadonlyMap<K, Origin>
    readonly faults: readonly Fault[]
  }
  /** What it takes to change some of them. */
  readonly also?: AlsoLive<K, C>
}

/** Settings that take more than their row says. */
export interface AlsoLive<K extends string, C extends object> {
  /** Whether one is live now; undefined where its row says so. */
  isLive(key: K, running: C): boolean | undefined
  /** Takes those that changed; what it throws refuses the whole reload. */
  take(changed: readonly K[], next: C): Promise<void>
}

/** Settings, and what each was given as. */
interface Snapshot<K extends string, C extends object> {
  readonly config: C
  readonly origins: ReadonlyMap<K, Origin>
}

const ROOT_KEY = KEYS.filter(key => key.startsWith('root_key.'))

/** Another root key, to which the store is moved. Keys in memory are sealed by none. */
export function liveRootKey(
  store: Pick<Kms['store'], 'rekey'>,
  log: Pick<Log, 'storeRekeyed'>,
): AlsoLive<Key, Config> {
  return {
    isLive: (key, { service }) => (ROOT_KEY.includes(key) ? service.backend !== 'inmem' : undefined),
    async take(changed, next) {
      if (!changed.some(key => ROOT_KEY.includes(key))) return
      try {
        await store.rekey(rootKeyOf(next))
      } catch (thrown) {
        const { code, message } = toKmsError(thrown)
        throw new KmsError(code, `root_key: ${message}`)
      }
      log.storeRekeyed()
    },
  }
}

/**
 * Reads the settings again, and puts in force what a running service can take, as a whole: what their
 * rows mark as live, the root keys of capabilities, which are read again from where they were, and what the service has
 * beside that. What needs a restart is named in the log, until there is one. Where anything is at fault, everything stays
 * as it was.
 */
export class Reloader<K extends string, C extends object> {
  readonly #parts: ReloadParts<K, C>
  readonly #keys: readonly K[]
  #running: Snapshot<K, C>
  #version = 1
  // One after the other: the second of two signals sees what the first one did.
  #last: Promise<void> = Promise.resolve()

  constructor(parts: ReloadParts<K, C>, first: Snapshot<K, C>) {
    this.#parts = parts
    this.#keys = Object.keys(parts.rows) as K[]
    this.#running = first
  }

  /** Resolves when it is done, whatever came of it. */
  reload(): Promise<void> {
    this.#last = this.#last.then(() => this.#reload())
    return this.#last
  }

  async #reload(): Promise<void> {
    const { service, log, load, also } = this.#parts
    const { config: wished, origins, faults } = load()
    const refuse = (count: number, first: string) => log.configRefused({ faults: count, first })
    if (!wished) return refuse(faults.length, faults.map(formatFault)[0] ?? '')
    const changed = this.#keys.filter(key => isDifferent(this.#running.config, wished, key))
    const taken = changed.filter(key => this.#isLive(key))
    const next = this.#with({ config: wished, origins }, taken)
    let prepared: Prepared | undefined
    try {
      prepared = service.prepare(next.config)
      this.#rereadCapabilities()
      await also?.take(taken, next.config)
      await prepared.commit()
    } catch (thrown) {
      prepared?.abort()
      if (thrown instanceof ReloadError) return refuse(thrown.faults.length, thrown.message)
      return refuse(1, toKmsError(thrown).message)
    }
    const before = this.#running
    this.#running = next
    this.#version += 1
    log.configReloaded({
      version: this.#version,
      changed: taken.map(key => this.#change(key, before, next)),
      restartNeeded: changed.filter(key => !taken.includes(key)),
    })
  }

  #rereadCapabilities(): void {
    try {
      this.#parts.capabilities.reload()
    } catch (thrown) {
      const { code, message, field = 'capability' } = toKmsError(thrown)
      throw new KmsError(code, `${field}: ${message}`)
    }
  }

  #isLive(key: K): boolean {
    const { rows, also } = this.#parts
    return also?.isLive(key, this.#running.config) ?? rows[key].live === true
  }

  #change(key: K, before: Snapshot<K, C>, next: Snapshot<K, C>): Change {
    const shown = ({ origins }: Snapshot<K, C>) => shownBy(this.#parts.rows[key], origins.get(key)?.raw)
    return { key, from: shown(before), to: shown(next) }
  }

  /** What runs, with some settings of others. */
  #with(other: Snapshot<K, C>, keys: readonly K[]): Snapshot<K, C> {
    const config = structuredClone(this.#running.config)
    const origins = new Map(this.#running.origins)
    for (const key of keys) {
      const path = key.split('.')
      const leaf = path.pop() ?? key
      branchOf(config, path)[leaf] = settingOf(other.config, key)
      const origin = other.origins.get(key)
      if (origin) origins.set(key, origin)
    }
    return { config, origins }
  }
}

function isDifferent(one: object, other: object, key: string): boolean {
  return JSON.stringify(settingOf(one, key)) !== JSON.stringify(settingOf(other, key))
}

function settingOf(config: object, key: string): unknown {
  return branchOf(config, key.split('.'))
}

function branchOf(config: object, path: readonly string[]): Record<string, unknown> {
  return path.reduce<unknown>((branch, name) => (branch as Record<string, unknown>)[name], config) as Record<
    string,
    unknown
  >
}
