import { capabilityFaults } from '../../config/capability.js'
import { type Fault, HIDDEN, show } from '../../config/faults.js'
import { readConfigFile } from '../../config/file.js'
import { formatAddress } from '../../config/kinds.js'
import { DEFAULT, type Origin } from '../../config/load.js'
import type { Setting } from '../../config/setting.js'
import { tlsFaults } from '../../config/tls.js'
import { udsFaults } from '../../config/uds.js'
import { KEYS, type Key, OTHER_VARIABLES, type PassportConfig, SCHEMA } from './settings.js'

/** Where settings come from. */
export interface Sources {
  /** Flags as text, by key. */
  readonly flags?: Partial<Readonly<Record<Key, string>>>
  /** `--dev`: the key in memory only, whatever the environment or the file says. */
  readonly dev?: boolean
  /** `--config`; else `PASSPORT_CONFIG_FILE`. */
  readonly configPath?: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
}

/** The settings, or every reason why there are none, and the old names that were used. */
export type Loaded = {
  readonly aliases: readonly { readonly old: string; readonly name: string }[]
  /** What each setting was given as, and by what. */
  readonly origins: ReadonlyMap<Key, Origin>
  /** The file that was read, if one was named. */
  readonly file?: string
} & (
  | { readonly config: PassportConfig; readonly faults: readonly [] }
  | { readonly config?: never; readonly faults: readonly Fault[] }
)

interface Given {
  readonly raw: unknown
  /** Text goes through `Kind.text`, values of a file through `Kind.value`. */
  readonly text: boolean
  readonly from: string
}

const PREFIX = 'PASSPORT_'
const DEV_PRESET: Partial<Record<Key, string>> = { 'store.backend': 'inmem' }

/** Merges flags over environment over file over defaults, checks everything and freezes the result. */
export function loadConfig({ env, flags = {}, dev, configPath }: Sources): Loaded {
  const faults: Fault[] = []
  const aliases: { old: string; name: string }[] = []
  const variable = (name: string, olds: readonly string[] = []) => {
    const found = env[name] === undefined ? [] : [{ raw: env[name], name }]
    for (const old of olds) {
      const raw = env[old]
      if (raw === undefined) continue
      aliases.push({ old, name })
      found.push({ raw, name: old })
    }
    return found[0]
  }

  const named =
    configPath === undefined
      ? variable('PASSPORT_CONFIG_FILE', ['PASSPORT_CONFIG'])
      : { raw: configPath, name: '--config' }
  const file = named && readConfigFile(named.raw, named.name, KEYS)
  if (file) faults.push(...file.faults)

  const given = (key: Key): Given => {
    const { env: name, aliases: olds, default: fallback } = SCHEMA[key] as Setting<unknown>
    // The variable is looked at even when a flag wins, so that an old name is always reported.
    const fromEnv = variable(name, olds)
    const flag = flags[key]
    if (flag !== undefined) return { raw: flag, text: true, from: 'the command line' }
    const preset = dev ? DEV_PRESET[key] : undefined
    if (preset !== undefined) return { raw: preset, text: true, from: '--dev' }
    if (fromEnv) return { raw: fromEnv.raw, text: true, from: fromEnv.name }
    if (file?.values.has(key)) return { raw: file.values.get(key), text: false, from: 'the file' }
    return { raw: fallback, text: true, from: DEFAULT }
  }

  const root: Record<string, unknown> = {}
  const origins = new Map<Key, Origin>()
  for (const key of KEYS) {
    const { kind, rule } = SCHEMA[key] as Setting<unknown>
    const { raw, text, from } = given(key)
    origins.set(key, { raw, from })
    const value = text ? kind.text(String(raw)) : kind.value(raw)
    if (value === undefined) faults.push({ key, value: show(raw), rule: `${rule} (from ${from})` })
    else place(root, key, value)
  }
  faults.push(...unknownVariables(env))
  const about = { aliases, origins, ...(named && { file: named.raw }) }
  if (faults.length > 0) return { faults, ...about }

  const config = freeze(root) as unknown as PassportConfig
  const contradictions = [
    ...limitFaults(config),
    ...custodyFaults(config),
    ...capabilityFaults(config, dev === true),
    ...addressFaults(config),
    ...tlsFaults(config),
    ...udsFaults(config),
  ]
  return contradictions.length > 0 ? { faults: contradictions, ...about } : { config, faults: [], ...about }
}

function place(root: Record<string, unknown>, key: Key, value: unknown): void {
  const [section, name] = key.split('.') as [string, string | undefined]
  if (name === undefined) {
    root[section] = value
    return
  }
  root[section] ??= {}
  ;(root[section] as Record<string, unknown>)[name] = value
}

function freeze<T extends object>(branch: T): T {
  for (const value of Object.values(branch)) if (typeof value === 'object' && value !== null) freeze(value)
  return Object.freeze(branch)
}

function unknownVariables(env: Sources['env']): Fault[] {
  const rows = KEYS.map(key => SCHEMA[key] as Setting<unknown>)
  const known = new Set<string>([
    ...OTHER_VARIABLES,
    ...rows.flatMap(({ env: name, aliases = [] }) => [name, ...aliases]),
  ])
  return Object.keys(env)
    .filter(name => name.startsWith(PREFIX) && !known.has(name) && env[name] !== undefined)
    .sort()
    .map(name => ({ key: show(name), value: HIDDEN, rule: 'is not a variable of this version' }))
}

function limitFaults({ passport, verify }: PassportConfig): Fault[] {
  const faults: Fault[] = []
  const below = (key: Key, value: number, other: Key, most: number) => {
    if (value > most) faults.push({ key, value: String(value), rule: `must not be above ${other}` })
  }
  below('passport.default_ttl_s', passport.default_ttl_s, 'passport.max_ttl_s', passport.max_ttl_s)
  below('verify.target_batch', verify.target_batch, 'verify.max_batch', verify.max_batch)
  return faults
}

function custodyFaults({ kms, store, root_key: rootKey }: PassportConfig): Fault[] {
  if (kms.url !== '') {
    const needed = { 'kms.capability_file': kms.capability_file, 'kms.key': kms.key }
    return Object.entries(needed)
      .filter(([, value]) => value === '')
      .map(([key]) => ({ key, value: show(''), rule: 'is needed with kms.url' }))
  }
  if (store.backend === 'inmem') {
    if (kms.key === '') return []
    return [
      {
        key: 'kms.key',
        value: show(kms.key),
        rule: 'names no key of store.backend = inmem, which makes one',
      },
    ]
  }
  if ((rootKey.file === '') !== (rootKey.env === '')) return []
  const rule =
    'this or root_key.env is needed with store.backend = file, and not both: `ronctl root-key new FILE` makes one'
  return [{ key: 'root_key.file', value: show(rootKey.file), rule }]
}

function addressFaults({ bind_addr, admin_addr }: PassportConfig): Fault[] {
  if (admin_addr === null || admin_addr.port === 0) return []
  const admin = formatAddress(admin_addr)
  return admin === formatAddress(bind_addr)
    ? [{ key: 'admin_addr', value: admin, rule: 'must differ from bind_addr, or be empty' }]
    : []
}
