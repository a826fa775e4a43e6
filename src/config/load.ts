import { witnessFaults } from './audit.js'
import { type Fault, HIDDEN, show } from './faults.js'
import { readConfigFile } from './file.js'
import { formatAddress } from './kinds.js'
import { pqContradictions } from './pq.js'
import { type Config, KEYS, type Key, OTHER_VARIABLES, SCHEMA, type Setting } from './schema.js'

/** Where settings come from. */
export interface Sources {
  /** Flags as text, by key. */
  readonly flags?: Partial<Readonly<Record<Key, string>>>
  /** `--dev`: keys in memory only, whatever the environment or the file says. */
  readonly dev?: boolean
  /** `--config`; else `RON_KMS_CONFIG`. */
  readonly configPath?: string | undefined
  readonly env: Readonly<Record<string, string | undefined>>
}

/** An old name that was used, and the one to use. */
export interface Alias {
  readonly old: string
  readonly name: string
}

/** The settings, or every reason why there are none. */
export type Loaded =
  | { readonly config: Config; readonly faults: readonly []; readonly aliases: readonly Alias[] }
  | { readonly config?: never; readonly faults: readonly Fault[]; readonly aliases: readonly Alias[] }

/** One value before it is checked. */
interface Given {
  readonly raw: unknown
  /** Text goes through `Kind.text`, values of a file through `Kind.value`. */
  readonly text: boolean
  readonly origin?: string
}

const PREFIX = 'RON_KMS_'
const DEV_PRESET: Partial<Record<Key, string>> = { 'service.backend': 'inmem', 'service.amnesia': 'true' }

/** Merges flags over environment over file over defaults, checks everything and freezes the result. */
export function loadConfig(sources: Sources): Loaded {
  const { env, flags = {} } = sources
  const faults: Fault[] = []
  const aliases: Alias[] = []

  const variable = (
    name: string,
    olds: readonly string[] = [],
  ): { raw: string; name: string } | undefined => {
    const found: { raw: string; name: string }[] = []
    const current = env[name]
    if (current !== undefined) found.push({ raw: current, name })
    for (const old of olds) {
      const raw = env[old]
      if (raw === undefined) continue
      aliases.push({ old, name })
      found.push({ raw, name: old })
    }
    return found[0]
  }

  const named =
    sources.configPath !== undefined
      ? { raw: sources.configPath, name: '--config' }
      : variable('RON_KMS_CONFIG', ['RON_CONFIG'])
  const file = named ? readConfigFile(named.raw, named.name) : undefined
  if (file) faults.push(...file.faults)

  // Development mode forgets its keys, unless it is told on the command line to keep them.
  const durable = flags['service.backend'] === 'file'
  const given = (key: Key): Given => {
    const { env: name, aliases: olds, default: fallback } = SCHEMA[key] as Setting<unknown>
    // The variable is looked at even when a flag wins, so that an old name is always reported.
    const fromEnv = variable(name, olds)
    const flag = flags[key]
    if (flag !== undefined) return { raw: flag, text: true, origin: 'from the command line' }
    const preset = sources.dev && !durable ? DEV_PRESET[key] : undefined
    if (preset !== undefined) return { raw: preset, text: true, origin: 'from --dev' }
    if (fromEnv) return { raw: fromEnv.raw, text: true, origin: `from ${fromEnv.name}` }
    if (file?.values.has(key)) return { raw: file.values.get(key), text: false, origin: 'from the file' }
    return { raw: fallback, text: true }
  }

  const values = new Map<Key, unknown>()
  for (const key of KEYS) {
    const { kind, rule } = SCHEMA[key] as Setting<unknown>
    const { raw, text, origin } = given(key)
    const value = text ? kind.text(String(raw)) : kind.value(raw)
    if (value === undefined) {
      faults.push({ key, value: show(raw), rule: origin === undefined ? rule : `${rule} (${origin})` })
    } else values.set(key, value)
  }
  faults.push(...unknownVariables(env))
  if (faults.length > 0) return { faults, aliases }

  const config = freeze(nest(values)) as Config
  faults.push(...addressClash(config), ...custodyFaults(config), ...pqContradictions(config.pq))
  faults.push(...witnessFaults(config))
  return faults.length > 0 ? { faults, aliases } : { config, faults: [], aliases }
}

function unknownVariables(env: Sources['env']): Fault[] {
  const known = new Set<string>([...OTHER_VARIABLES, ...KEYS.map(key => SCHEMA[key].env)])
  return Object.keys(env)
    .filter(name => name.startsWith(PREFIX) && !known.has(name) && env[name] !== undefined)
    .sort()
    .map(name => ({ key: show(name), value: HIDDEN, rule: 'is not a variable of this version' }))
}

function addressClash({ bind_addr, metrics_addr }: Config): Fault[] {
  const metrics = formatAddress(metrics_addr)
  if (metrics_addr.port === 0 || metrics !== formatAddress(bind_addr)) return []
  return [{ key: 'metrics_addr', value: metrics, rule: 'must differ from bind_addr' }]
}

function custodyFaults({ service, root_key: rootKey }: Config): Fault[] {
  if (service.backend !== 'file') return []
  if (service.amnesia) {
    return [{ key: 'service.amnesia', value: 'true', rule: 'contradicts service.backend = file' }]
  }
  if ((rootKey.file === '') !== (rootKey.env === '')) return []
  const rule =
    'this or root_key.env is needed with service.backend = file, and not both: `ronctl root-key new FILE` makes one'
  return [{ key: 'root_key.file', value: show(rootKey.file), rule }]
}

type Branch = Record<string, unknown>

function nest(values: ReadonlyMap<Key, unknown>): Branch {
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
