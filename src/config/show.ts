import { HIDDEN, show } from './faults.js'
import { type Key, SCHEMA, type Setting } from './schema.js'

/** A value of a setting as it may be printed, on one line. */
export function shownAs(key: Key, raw: unknown): string {
  return shownBy(SCHEMA[key] as Setting<unknown>, raw)
}

/** The same by its row. */
export function shownBy({ secret, default: fallback }: Setting<unknown>, raw: unknown): string {
  if (secret && raw !== fallback) return HIDDEN
  // TOML has dates of its own.
  if (raw instanceof Date) return raw.toISOString()
  const isTable = typeof raw === 'object' && raw !== null && !Array.isArray(raw)
  return show(isTable ? JSON.stringify(raw) : raw)
}
