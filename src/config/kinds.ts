import { isIP, isIPv4, isIPv6 } from 'node:net'

/**
 * How one type of setting is written. `text` reads flags and environment variables, `value` what TOML or JSON
 * hold; both answer `undefined` for anything that is not of this kind.
 */
export interface Kind<T> {
  text(raw: string): T | undefined
  value(raw: unknown): T | undefined
}

/** Where a listener binds. */
export interface SocketAddress {
  readonly host: string
  readonly port: number
}

const fromText =
  <T>(text: (raw: string) => T | undefined) =>
  (raw: unknown) =>
    typeof raw === 'string' ? text(raw) : undefined

function parseSocket(raw: string): SocketAddress | undefined {
  const match = /^(?:\[([^\]]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(raw)
  if (!match) return undefined
  const [, v6, v4, digits] = match
  const port = Number(digits)
  if (port > 65_535) return undefined
  if (v6 !== undefined) return isIPv6(v6) ? { host: v6, port } : undefined
  return v4 !== undefined && isIPv4(v4) ? { host: v4, port } : undefined
}

/** `host:port`, with brackets around an IPv6 address. */
export function formatAddress({ host, port }: SocketAddress): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`
}

/** `ip:port` or `[v6]:port`; names are refused, since what they resolve to may change after the check. */
export const socket: Kind<SocketAddress> = { text: parseSocket, value: fromText(parseSocket) }

/** A whole number between two bounds. */
export function integer(min: number, max: number): Kind<number> {
  const within = (n: number) => (Number.isSafeInteger(n) && n >= min && n <= max ? n : undefined)
  return {
    text: raw => (/^[0-9]{1,16}$/.test(raw) ? within(Number(raw)) : undefined),
    value: raw => (typeof raw === 'number' ? within(raw) : undefined),
  }
}

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** A duration with its unit, in milliseconds. */
export function duration(minMs: number, maxMs: number): Kind<number> {
  const text = (raw: string) => {
    const match = /^([0-9]{1,12})(ms|s|m|h)$/.exec(raw)
    if (!match) return undefined
    const ms = Number(match[1]) * (DURATION_UNITS[match[2] ?? ''] ?? Number.NaN)
    return ms >= minMs && ms <= maxMs ? ms : undefined
  }
  return { text, value: fromText(text) }
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1000,
  MB: 1_000_000,
  KiB: 1024,
  MiB: 1_048_576,
}

/** A size in bytes, with a unit or as a plain number of bytes. */
export function size(min: number, max: number): Kind<number> {
  const within = (n: number) => (Number.isSafeInteger(n) && n >= min && n <= max ? n : undefined)
  const text = (raw: string) => {
    const match = /^([0-9]{1,15})(B|KB|MB|KiB|MiB)?$/.exec(raw)
    return match ? within(Number(match[1]) * (SIZE_UNITS[match[2] ?? 'B'] ?? Number.NaN)) : undefined
  }
  return { text, value: raw => (typeof raw === 'number' ? within(raw) : fromText(text)(raw)) }
}

const BOOLEANS: Readonly<Record<string, boolean>> = { true: true, '1': true, false: false, '0': false }

/** `true`/`1` or `false`/`0`; in a file only the language's own booleans. */
export const boolean: Kind<boolean> = {
  text: raw => (Object.hasOwn(BOOLEANS, raw) ? BOOLEANS[raw] : undefined),
  value: raw => (typeof raw === 'boolean' ? raw : undefined),
}

/** The name of a file, of a directory or of a variable; empty for none. */
export const name: Kind<string> = {
  text: raw => (raw.length <= 4096 && !raw.includes('\0') ? raw : undefined),
  value: raw => (typeof raw === 'string' ? name.text(raw) : undefined),
}

/** Text that a pattern matches whole. */
export function text(pattern: string, longest: number): Kind<string> {
  const whole = new RegExp(`^(?:${pattern})$`)
  const matched = (raw: string) => (raw.length <= longest && whole.test(raw) ? raw : undefined)
  return { text: matched, value: fromText(matched) }
}

/** A part of a whole: from a thousandth to all of it. */
export const part: Kind<number> = {
  text: raw => (/^(0\.\d{1,6}|1(\.0{1,6})?)$/.test(raw) ? part.value(Number(raw)) : undefined),
  value: raw => {
    if (typeof raw === 'string') return part.text(raw)
    return typeof raw === 'number' && raw >= 0.001 && raw <= 1 ? raw : undefined
  },
}

/** An absolute URL of HTTP, without credentials, which `fetch` would refuse; empty for none. */
export const url: Kind<string> = {
  text: raw => (raw === '' || isPlainUrl(raw) ? raw : undefined),
  value: raw => (typeof raw === 'string' ? url.text(raw) : undefined),
}

function isPlainUrl(raw: string): boolean {
  if (!/^https?:\/\/\S{1,2000}$/.test(raw) || !URL.canParse(raw)) return false
  const { username, password } = new URL(raw)
  return username === '' && password === ''
}

/** One of a few words. */
export function oneOf<const W extends string>(...words: W[]): Kind<W> {
  const text = (raw: string) => words.find(word => word === raw)
  return { text, value: fromText(text) }
}

/** One or more of a few words, none twice; comma-separated in text, an array in a file. */
export function listOf<const W extends string>(...words: W[]): Kind<readonly W[]> {
  const all = (items: readonly unknown[]) => {
    const known = items.map(item => words.find(word => word === item))
    const list = known.filter(item => item !== undefined)
    return list.length > 0 && list.length === items.length && new Set(list).size === list.length
      ? list
      : undefined
  }
  const text = (raw: string) => all(raw.split(',').map(item => item.trim()))
  return { text, value: raw => (Array.isArray(raw) ? all(raw) : fromText(text)(raw)) }
}

/** Whole numbers from 0 to a bound, none twice, or none at all; comma-separated in text, an array in a file. */
export function numbers(max: number): Kind<readonly number[]> {
  const one = integer(0, max)
  const all = (items: readonly (number | undefined)[]) => {
    const list = items.filter(item => item !== undefined)
    return list.length === items.length && new Set(list).size === list.length ? list : undefined
  }
  const text = (raw: string) => (raw === '' ? [] : all(raw.split(',').map(item => one.text(item.trim()))))
  return { text, value: raw => (Array.isArray(raw) ? all(raw.map(one.value)) : fromText(text)(raw)) }
}

function isNetwork(text: string): boolean {
  const [address = '', bits, more] = text.split('/')
  const version = isIP(address)
  if (version === 0 || more !== undefined || address.includes('%')) return false
  return (
    bits === undefined || (/^(0|[1-9][0-9]{0,2})$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
  )
}

/** Addresses and networks, comma-separated in text, an array in a file; empty for none. */
export const networks: Kind<readonly string[]> = {
  text: raw => networks.value(raw === '' ? [] : raw.split(',').map(item => item.trim())),
  value: raw => {
    if (!Array.isArray(raw)) return fromText(networks.text)(raw)
    return raw.every(item => typeof item === 'string' && isNetwork(item)) ? [...raw] : undefined
  },
}

/** A list that may also be empty. */
export function orEmpty<T>(kind: Kind<readonly T[]>): Kind<readonly T[]> {
  const isEmpty = (raw: unknown) => raw === '' || (Array.isArray(raw) && raw.length === 0)
  return {
    text: raw => (isEmpty(raw) ? [] : kind.text(raw)),
    value: raw => (isEmpty(raw) ? [] : kind.value(raw)),
  }
}

/** A moment as RFC 3339 has it, in Unix milliseconds; `none` is 0. */
export const moment: Kind<number> = {
  text(raw) {
    if (raw === 'none') return 0
    const date = /^(\d{4}-\d{2}-\d{2})T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})$/.exec(raw)?.[1]
    if (date === undefined) return undefined
    // 30 February is read as 2 March.
    const day = new Date(`${date}T00:00:00Z`)
    if (Number.isNaN(day.getTime()) || !day.toISOString().startsWith(date)) return undefined
    const ms = Date.parse(raw)
    return ms > 0 ? ms : undefined
  },
  // TOML has dates of its own.
  value: raw => (raw instanceof Date ? moment.text(raw.toISOString()) : fromText(moment.text)(raw)),
}

/**
 * A table of names, each with a table of settings of the given kinds, any of which may be left out. In text it is JSON.
 */
export function tableOf<T extends Readonly<Record<string, unknown>>>(
  isName: (name: string) => boolean,
  kinds: { readonly [K in keyof T]: Kind<T[K]> },
): Kind<Readonly<Record<string, Partial<T>>>> {
  const entry = (raw: unknown): Partial<T> | undefined => {
    if (!isTable(raw)) return undefined
    const read: Partial<T> = {}
    for (const [name, given] of Object.entries(raw)) {
      const value = Object.hasOwn(kinds, name) ? kinds[name as keyof T].value(given) : undefined
      if (value === undefined) return undefined
      read[name as keyof T] = value
    }
    return read
  }
  const value = (raw: unknown) => {
    if (!isTable(raw)) return undefined
    const entries = Object.entries(raw).map(([name, given]) => [
      isName(name) ? name : undefined,
      entry(given),
    ])
    if (entries.some(([name, read]) => name === undefined || read === undefined)) return undefined
    return Object.fromEntries(entries) as Record<string, Partial<T>>
  }
  const text = (raw: string) => {
    try {
      return value(JSON.parse(raw))
    } catch {
      return undefined
    }
  }
  return { text, value }
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}
