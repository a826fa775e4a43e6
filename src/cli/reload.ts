import type { CapabilityVerifier } from '../capability.js'
import { formatFault } from '../config/faults.js'
import type { Loaded, Origin } from '../config/load.js'
import { type Config, KEYS, type Key, SCHEMA, type Setting } from '../config/schema.js'
import { shownAs } from '../config/show.js'
import { KmsError, toKmsError } from '../errors.js'
import type { Kms } from '../kms.js'
import type { Change, Log } from '../logging/log.js'
import { type Prepared, ReloadError } from '../server/api-listeners.js'
import type { Service } from '../server/service.js'
import { rootKeyOf } from './open-kms.js'

/** What a reload works on. */
export interface ReloadParts {
  readonly service: Pick<Service, 'prepare'>
  readonly kms: { readonly store: Pick<Kms['store'], 'rekey'> }
  readonly capabilities: Pick<CapabilityVerifier, 'reload'>
  readonly log: Pick<Log, 'configRefused' | 'configReloaded' | 'storeRekeyed'>
  readonly load: () => Loaded
}

/** Settings, and what each was given as. */
interface Snapshot {
  readonly config: Config
  readonly origins: ReadonlyMap<Key, Origin>
}

const ROOT_KEY = KEYS.filter(key => key.startsWith('root_key.'))

/**
 * Reads the settings again, and puts in force what a running service can take, as a whole: limits, timeouts, the
 * post-quantum policy, certificates, the level of the log, the root keys of capabilities, which are read again from where
 * they were, and another root key, to which the store is moved. What
 * needs a restart is named in the log, until there is one. Where anything is at fault, everything stays as it was.
 */
export class Reloader {
  readonly #parts: ReloadParts
  #running: Snapshot
  #version = 1
  // One after the other: the second of two signals sees what the first one did.
  #last: Promise<void> = Promise.resolve()

  constructor(parts: ReloadParts, first: Snapshot) {
    this.#parts = parts
    this.#running = first
  }

  /** Resolves when it is done, whatever came of it. */
  reload(): Promise<void> {
    this.#last = this.#last.then(() => this.#reload())
    return this.#last
  }

  async #reload(): Promise<void> {
    const { service, log, load } = this.#parts
    const { config: wished, origins, faults } = load()
    const refuse = (count: number, first: string) => log.configRefused({ faults: count, first })
    if (!wished) return refuse(faults.length, faults.map(formatFault)[0] ?? '')
    const changed = KEYS.filter(key => isDifferent(this.#running.config, wished, key))
    const taken = changed.filter(key => isLive(key, this.#running.config))
    const next = this.#with({ config: wished, origins }, taken)
    let prepared: Prepared | undefined
    try {
      prepared = service.prepare(next.config)
      this.#rereadCapabilities()
      if (taken.some(key => ROOT_KEY.includes(key))) await this.#rekey(next.config)
      prepared.commit()
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
      changed: taken.map(key => changeOf(key, before, next)),
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

  async #rekey(next: Config): Promise<void> {
    const { kms, log } = this.#parts
    try {
      await kms.store.rekey(rootKeyOf(next))
    } catch (thrown) {
      const { code, message } = toKmsError(thrown)
      throw new KmsError(code, `root_key: ${message}`)
    }
    log.storeRekeyed()
  }

  /** What runs, with some settings of others. */
  #with(other: Snapshot, keys: readonly Key[]): Snapshot {
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

/** Keys in memory are sealed by no root key, and the one of the audit log stays what it is. */
function isLive(key: Key, { service }: Config): boolean {
  if (ROOT_KEY.includes(key)) return service.backend !== 'inmem'
  return (SCHEMA[key] as Setting<unknown>).live === true
}

function changeOf(key: Key, before: Snapshot, next: Snapshot): Change {
  const shown = ({ origins }: Snapshot) => shownAs(key, origins.get(key)?.raw)
  return { key, from: shown(before), to: shown(next) }
}

function isDifferent(one: Config, other: Config, key: Key): boolean {
  return JSON.stringify(settingOf(one, key)) !== JSON.stringify(settingOf(other, key))
}

function settingOf(config: Config, key: Key): unknown {
  return branchOf(config, key.split('.'))
}

function branchOf(config: Config, path: readonly string[]): Record<string, unknown> {
  return path.reduce<unknown>((branch, name) => (branch as Record<string, unknown>)[name], config) as Record<
    string,
    unknown
  >
}
