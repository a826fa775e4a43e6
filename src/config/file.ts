import { readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { parse as parseToml, TomlError } from 'smol-toml'
import { KmsError } from '../errors.js'
import { canonicalJson } from '../primitives.js'
import { type Fault, HIDDEN, show } from './faults.js'

/** What a file holds: the values of known keys, and the faults of the rest. */
export interface FileContent<K extends string> {
  readonly values: ReadonlyMap<K, unknown>
  /** Values of settings that this version knows by name only. */
  readonly absent: ReadonlyMap<string, unknown>
  readonly faults: readonly Fault[]
}

type Table = Readonly<Record<string, unknown>>

/**
 * Reads a `.toml` or `.json` file with settings of these names, the last of which are known by name only. Messages never
 * quote the file: it may hold what should not be printed.
 */
export function readConfigFile<K extends string>(
  path: string,
  origin: string,
  keys: readonly K[],
  byNameOnly: readonly string[],
): FileContent<K> {
  const refuse = (rule: string): FileContent<K> => ({
    values: new Map(),
    absent: new Map(),
    faults: [{ key: origin, value: show(path), rule }],
  })
  const parse = { '.toml': parseToml, '.json': parseJson }[extname(path).toLowerCase()]
  if (!parse) return refuse('must name a file that ends in .toml or .json')
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    return refuse(`cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'})`)
  }
  let content: unknown
  try {
    content = parse(text)
  } catch (error) {
    if (error instanceof TomlError)
      return refuse(`is not valid TOML (line ${error.line}, column ${error.column})`)
    if (error instanceof KmsError) return refuse(error.message)
    return refuse('is not a valid configuration file: the JSON or TOML in it does not parse')
  }
  if (!isTable(content)) return refuse('must hold a table of settings')
  return flatten(content, keys, byNameOnly)
}

/** Of a name that is there twice `JSON.parse` would take the second, and say nothing. */
function parseJson(text: string): unknown {
  try {
    canonicalJson(Buffer.from(text))
  } catch (error) {
    // Without the native core nothing is started, and the settings are only judged.
    if (!(error instanceof KmsError && error.code === 'Unsupported')) throw error
  }
  return JSON.parse(text)
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

function flatten<K extends string>(
  content: Table,
  keys: readonly K[],
  byNameOnly: readonly string[],
): FileContent<K> {
  const known = new Set<string>(keys)
  const named = new Set(byNameOnly)
  const above = (key: string) => key.split('.').map((_, i, parts) => parts.slice(0, i).join('.'))
  const sections = new Set([...keys, ...byNameOnly].flatMap(above).filter(Boolean))
  const values = new Map<K, unknown>()
  const absent = new Map<string, unknown>()
  const faults: Fault[] = []
  const walk = (table: Table, prefix: string) => {
    for (const name of Object.keys(table)) {
      const key = prefix === '' ? name : `${prefix}.${name}`
      const value = table[name]
      // A quoted name with a dot in it is not a path, though it reads like one.
      if (!name.includes('.') && known.has(key)) values.set(key as K, value)
      else if (!name.includes('.') && named.has(key)) absent.set(key, value)
      else if (!name.includes('.') && sections.has(key)) {
        if (isTable(value)) walk(value, key)
        else faults.push({ key, value: HIDDEN, rule: 'must be a table' })
      } else faults.push({ key: show(key), value: HIDDEN, rule: 'is not a setting of this version' })
    }
  }
  walk(content, '')
  return { values, absent, faults }
}
