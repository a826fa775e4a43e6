import type { Kind } from './kinds.js'

/** One setting: every way to give it, and what it may be. */
export interface Setting<T> {
  /** The environment variable. */
  readonly env: string
  /** Older names of the variable: accepted with a warning. */
  readonly aliases?: readonly string[]
  /** The command line flag, as commander writes it. */
  readonly flag: string
  readonly kind: Kind<T>
  /** Written as a user would write it; it goes through the same check as a user's value. */
  readonly default: string
  /** What a fault says: the values that are allowed. */
  readonly rule: string
  readonly description: string
  /** Whether a running service takes another value on SIGHUP; all else needs a restart. */
  readonly live?: true
  /** Whether the value may hold a secret, as a URL may hold a token: it is never printed. */
  readonly secret?: true
}

type Values<Rows> = { [K in keyof Rows]: Rows[K] extends Setting<infer T> ? T : never }
type Head<K> = K extends `${infer H}.${string}` ? H : K
type Below<T, H extends string> = { [K in keyof T as K extends `${H}.${infer R}` ? R : never]: T[K] }
type Tree<T> = {
  readonly [H in Head<keyof T & string> & string]: H extends keyof T ? T[H] : Tree<Below<T, H>>
}

/** The settings of a table of rows as code reads them: `limits.max_body_bytes` is in `limits`. */
export type SettingsOf<Rows> = Tree<Values<Rows>>
