/** How settings come together, for any table of them. */
import type { AbsentSetting } from './absent.js'
import { type Fault, HIDDEN, show } from './faults.js'
import { readConfigFile } from './file.js'
import type { Setting } from './setting.js'

/** A table of settings, and the names around it. */
export interface SettingTable<K extends string> {
  readonly keys: readonly K[]
  readonly rows: Readonly<Record<K, Setting<unknown>>>
  /** Settings that are known by name only. */
  readonly absent?: Readonly<Record<string, AbsentSetting>>
  /** How all variables begin. */
  readonly prefix: string
  /** The variable that names a file, and older names of it. */
  readonly fileVariable: { readonly name: string; readonly aliases: readonly string[] }
  /** Variables that are no settings. */
  readonly otherVariables: Iterable<string>
  /** Settings that name a variable for a secret, whatever that is called. */
  readonly secretVariables: readonly K[]
  /** What development mode decides, whatever the environment or the file says. */
  readonly devPreset: Partial<Readonly<Record<K, string>>>
  /** Defaults of development mode. */
  readonly devDefaults?: Partial<Readonly<Record<K, string>>>
}

/** Where settings come from. */
export interface SettingSources<K extends string> {
  /** Flags as text, by key. */
  readonly flags?: Partial<Readonly<Record<K, string>>>
  /** `--dev` */
  readonly dev?: boolean
  /** `--config`; else the variable for it. */
  readonly configPath?: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
}

/** An old name that was used, and the one to use. */
export interface Alias {
  readonly old: string
  readonly name: string
}

/** A value as it was given, and by what: `default`, `--dev`, `command line`, a variable or `file`. */
export interface Origin {
  readonly raw: unknown
  readonly from: string
}

/** What is known of settings whether or not they can be used. */
export interface AboutSettings<K extends string> {
  readonly aliases: readonly Alias[]
  readonly origins: ReadonlyMap<K, Origin>
  /** The file that was read, if one was named. */
  readonly file?: string
}

/** The settings, or every reason why there are none. */
export type LoadedSettings<K extends string, Config> = AboutSettings<K> &
  (
    | { readonly config: Config; readonly faults: readonly [] }
    | { readonly config?: never; readonly faults: readonly Fault[] }
  )

/** One value before it is checked. */
interface Given {
  readonly raw: unknown
  /** Text goes through `Kind.text`, values of a file through `Kind.value`. */
  readonly text: boolean
  readonly from: string
}

/** Where a value comes from that nobody gave. */
export const DEFAULT = 'default'

/**
 * Merges flags over environment over file over defaults, checks each value, freezes the result, and then has `contradictions`
 * look at the whole. A value of a row that may hold a secret is in no fault.
 */
export function mergeSettings<K extends string, Config>(
  table: SettingTable<K>,
  sources: SettingSources<K>,
  contradictions: (config: Config) => readonly Fault[],
): LoadedSettings<K, Config> {
  const { keys, rows, absent = {} } = table
  const { env } = sources
  const faults: Fault[] = []
  const aliases: Alias[] = []
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
    sources.configPath === undefined
      ? variable(table.fileVariable.name, table.fileVariable.aliases)
      : { raw: sources.configPath, name: '--config' }
  const file = named && readConfigFile(named.raw, named.name, keys, Object.keys(absent))
  if (file) faults.push(...file.faults)

  const given = (key: K): Given => {
    const { env: name, aliases: olds, default: fallback } = rows[key]
    // The variable is looked at even when a flag wins, so that an old name is always reported.
    const fromEnv = variable(name, olds)
    const flag = sources.flags?.[key]
    if (flag !== undefined) return { raw: flag, text: true, from: 'the command line' }
    const preset = sources.dev ? table.devPreset[key] : undefined
    if (preset !== undefined) return { raw: preset, text: true, from: '--dev' }
    if (fromEnv) return { raw: fromEnv.raw, text: true, from: fromEnv.name }
    if (file?.values.has(key)) return { raw: file.values.get(key), text: false, from: 'the file' }
    const development = sources.dev ? table.devDefaults?.[key] : undefined
    if (development !== undefined) return { raw: development, text: true, from: '--dev' }
    return { raw: fallback, text: true, from: DEFAULT }
  }

  const values = new Map<K, unknown>()
  const origins = new Map<K, Origin>()
  for (const key of keys) {
    const { kind, rule, secret } = rows[key]
    const { raw, text, from } = given(key)
    origins.set(key, { raw, from })
    const value = text ? kind.text(String(raw)) : kind.value(raw)
    if (value === undefined) {
      faults.push({ key, value: secret ? HIDDEN : show(raw), rule: `${rule} (from ${from})` })
    } else values.set(key, value)
  }
  for (const [key, { env: name, aliases: olds, holds, rule, secret }] of Object.entries(absent)) {
    const raw = variable(name, olds)?.raw ?? file?.absent.get(key)
    if (raw === undefined || holds?.(plainText(raw), other => values.get(other as K))) continue
    faults.push({ key, value: secret ? HIDDEN : show(raw), rule })
  }
  faults.push(...unknownVariables(table, env, values))
  const about = { aliases, origins, ...(named && { file: named.raw }) }
  if (faults.length > 0) return { faults, ...about }
  const config = freeze(nest(values)) as Config
  const more = contradictions(config)
  return more.length > 0 ? { faults: more, ...about } : { config, faults: [], ...about }
}

/** As a user would write it in a variable: lists with commas. */
function plainText(raw: unknown): string {
  return (Array.isArray(raw) ? raw.join(',') : String(raw)).replaceAll(' ', '')
}

function unknownVariables<K extends string>(
  { keys, rows, absent = {}, prefix, otherVariables, secretVariables }: SettingTable<K>,
  env: SettingSources<K>['env'],
  values: ReadonlyMap<K, unknown>,
): Fault[] {
  const all = [...keys.map(key => rows[key]), ...Object.values(absent)]
  const known = new Set<unknown>([
    ...otherVariables,
    ...all.flatMap(({ env: name, aliases = [] }) => [name, ...aliases]),
    ...secretVariables.map(key => values.get(key)),
  ])
  return Object.keys(env)
    .filter(name => name.startsWith(prefix) && !known.has(name) && env[name] !== undefined)
    .sort()
    .map(name => ({ key: show(name), value: HIDDEN, rule: 'is not a variable of this version' }))
}

type Branch = Record<string, unknown>

function nest(values: ReadonlyMap<string, unknown>): Branch {
  const root: Branch = {}
  for (const [key, value] of values) {
    const path = key.split('.')
    const leaf = path.pop() ?? key
    let branch = root
    for (const name of path) {
      branch[name] ??= {}
      branch = branch[name] as Branch
    }
    branch[leaf] = value
  }
  return root
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(freeze)
    Object.freeze(value)
  }
  return value
}
