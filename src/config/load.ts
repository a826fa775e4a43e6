import { ABSENT } from './absent.js'
import { amnesiaFaults, witnessFaults } from './audit.js'
import { capabilityFaults } from './capability.js'
import { type Fault, HIDDEN, show } from './faults.js'
import { readConfigFile } from './file.js'
import { formatAddress } from './kinds.js'
import { hsmFaults, tokenFaults } from './pkcs11.js'
import { pqContradictions } from './pq.js'
import { type Config, KEYS, type Key, OTHER_VARIABLES, SCHEMA, type Setting } from './schema.js'
import { tlsFaults } from './tls.js'
import { udsFaults } from './uds.js'
import { workersFaults } from './workers.js'

/** Where settings come from. */
export interface Sources {
  /** Flags as text, by key. */
  readonly flags?: Partial<Readonly<Record<Key, string>>>
  /** Flags of settings that this version knows by name only. */
  readonly absentFlags?: Readonly<Record<string, string>>
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

/** A value as it was given, and by what: `default`, `--dev`, `command line`, a variable or `file`. */
export interface Origin {
  readonly raw: unknown
  readonly from: string
}

/** The settings, or every reason why there are none. */
export type Loaded = {
  readonly aliases: readonly Alias[]
  readonly origins: ReadonlyMap<Key, Origin>
  /** The file that was read, if one was named. */
  readonly file?: string
} & (
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

const PREFIX = 'RON_KMS_'
/** Where a value comes from that nobody gave. */
export const DEFAULT = 'default'
const DEV_PRESET: Partial<Record<Key, string>> = { 'service.backend': 'inmem', 'service.amnesia': 'true' }

/** Defaults of development mode: it bounds nothing that a newcomer would run into. */
const DEV_DEFAULTS: Partial<Record<Key, string>> = { 'security.sign_rate_limit_rps': '0' }

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
  const durable = flags['service.backend'] === 'file' || flags['service.backend'] === 'pkcs11'
  const given = (key: Key): Given => {
    const { env: name, aliases: olds, default: fallback } = SCHEMA[key] as Setting<unknown>
    // The variable is looked at even when a flag wins, so that an old name is always reported.
    const fromEnv = variable(name, olds)
    const flag = flags[key]
    if (flag !== undefined) return { raw: flag, text: true, from: 'the command line' }
    const preset = sources.dev && !durable ? DEV_PRESET[key] : undefined
    if (preset !== undefined) return { raw: preset, text: true, from: '--dev' }
    if (fromEnv) return { raw: fromEnv.raw, text: true, from: fromEnv.name }
    if (file?.values.has(key)) return { raw: file.values.get(key), text: false, from: 'the file' }
    const development = sources.dev ? DEV_DEFAULTS[key] : undefined
    if (development !== undefined) return { raw: development, text: true, from: '--dev' }
    return { raw: fallback, text: true, from: DEFAULT }
  }

  const values = new Map<Key, unknown>()
  const origins = new Map<Key, Origin>()
  for (const key of KEYS) {
    const { kind, rule, secret } = SCHEMA[key] as Setting<unknown>
    const { raw, text, from } = given(key)
    origins.set(key, { raw, from })
    const value = text ? kind.text(String(raw)) : kind.value(raw)
    if (value === undefined) {
      faults.push({ key, value: secret ? HIDDEN : show(raw), rule: `${rule} (from ${from})` })
    } else values.set(key, value)
  }
  for (const [key, { env: name, aliases: olds, holds, rule, secret }] of Object.entries(ABSENT)) {
    const fromEnv = variable(name, olds)
    const raw = sources.absentFlags?.[key] ?? fromEnv?.raw ?? file?.absent.get(key)
    if (raw === undefined || holds?.(plainText(raw), key => values.get(key as Key))) continue
    faults.push({ key, value: secret ? HIDDEN : show(raw), rule })
  }
  const secrets = (['root_key.env', 'backends.pkcs11.pin_env'] as const).map(key => values.get(key))
  faults.push(...unknownVariables(env, secrets))
  const about = { aliases, origins, ...(named && { file: named.raw }) }
  if (faults.length > 0) return { faults, ...about }

  const config = freeze(nest(values)) as Config
  faults.push(...addressClash(config), ...custodyFaults(config), ...pqContradictions(config.pq))
  faults.push(...witnessFaults(config), ...amnesiaFaults(config))
  faults.push(...tlsFaults(config), ...udsFaults(config), ...tokenFaults(config, env))
  faults.push(...capabilityFaults(config, sources.dev === true), ...workersFaults(config, config.workers))
  return faults.length > 0 ? { faults, ...about } : { config, faults: [], ...about }
}

/** As a user would write it in a variable: lists with commas. */
function plainText(raw: unknown): string {
  return (Array.isArray(raw) ? raw.join(',') : String(raw)).replaceAll(' ', '')
}

/** Other settings may name a variable for a secret, whatever it is called. */
function unknownVariables(env: Sources['env'], named: readonly unknown[]): Fault[] {
  const absent = Object.values(ABSENT).map(({ env: name }) => name)
  const known = new Set<string>([...OTHER_VARIABLES, ...KEYS.map(key => SCHEMA[key].env), ...absent])
  return Object.keys(env)
    .filter(name => name.startsWith(PREFIX) && !known.has(name) && !named.includes(name))
    .filter(name => env[name] !== undefined)
    .sort()
    .map(name => ({ key: show(name), value: HIDDEN, rule: 'is not a variable of this version' }))
}

function addressClash({ bind_addr, metrics_addr }: Config): Fault[] {
  const metrics = formatAddress(metrics_addr)
  if (metrics_addr.port === 0 || metrics !== formatAddress(bind_addr)) return []
  return [{ key: 'metrics_addr', value: metrics, rule: 'must differ from bind_addr' }]
}

function custodyFaults({ service, root_key: rootKey }: Config): Fault[] {
  const { backend } = service
  if (backend === 'inmem') return []
  if (service.amnesia) {
    return [{ key: 'service.amnesia', value: 'true', rule: `contradicts service.backend = ${backend}` }]
  }
  if (rootKey.kind === 'hsm') return hsmFaults(backend, rootKey)
  if ((rootKey.file === '') !== (rootKey.env === '')) return []
  // Then it is in the token.
  if (backend === 'pkcs11' && rootKey.file === '') return []
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
