/** Tokens behind a PKCS#11 module, as the addon takes them and shows them. */
import type { NativeKms, Pkcs11Options as NativePkcs11 } from '../index.js'
import { requireObject, requireString } from './bytes.js'
import { attempt, KmsError } from './errors.js'

/** Whether evidence of where keys are is asked for, and needed. */
export type AttestPolicy = 'never' | 'if-available' | 'required'

/** A token behind a PKCS#11 module. Times are in milliseconds. */
export interface Pkcs11Options {
  /** The module's library, an absolute path. It becomes part of this process. */
  modulePath: string
  /** The label of the token, exact. */
  slotLabel: string
  /**
   * The name of the environment variable that holds the PIN of the normal user. It is read when the service is opened
   * and kept in secret memory until it is closed; what the environment holds stays there.
   */
  pinEnv: string
  /** Most sessions: 16 by default, at most 256. Each has a thread, and is opened when calls need it. */
  maxSessions?: number
  /** Most calls that wait for a session: 512 by default. Further ones are refused with `Backpressure`. */
  queue?: number
  /** A session that was idle for this long is asked whether it lives: 30 s by default. */
  keepAliveMs?: number
  /** A session that was idle for this long is closed, but for the last one: 5 min by default. */
  idleCloseMs?: number
  /** After this many calls failed in a row, the token counts as gone: 5 by default. */
  tripAfter?: number
  /** The first delay before a token that is gone is asked again, 100 ms by default; it doubles, with jitter. */
  backoffFirstMs?: number
  /** The longest: 5 s by default. */
  backoffMostMs?: number
  /** Longest that one operation waits for the token: 2 s by default. */
  deadlineMs?: number
  /** Longest that opening it takes: 10 s by default. */
  openDeadlineMs?: number
  /** Whether evidence of where keys are is asked for when they are made; nothing signs without it if `required`. */
  attestRequire?: AttestPolicy
  /**
   * For how long keys of the token are verified with while it is away, 5 min by default: after twice this they are not.
   */
  verifyCacheTtlMs?: number
}

/** How a token is. */
export interface TokenStatus {
  /** The attestation class of its keys. */
  class: string
  label: string
  serial: string
  slot: number
  model: string
  firmware: string
  /** What it can and cannot do, for the log. */
  offers: string
  /** Whether one more wrong PIN may lock it. */
  pinNearLock: boolean
  /** Why it cannot be used now, with what to do about it. */
  unavailable: string | null
  /** For how long it has been away. */
  outageMs: number | null
  /** Whether every key that signs has the evidence that policy requires. */
  attested: boolean
  /** `stuck` are inside a call that has passed its deadline. */
  sessions: { idle: number; busy: number; connecting: number; stuck: number; max: number }
  /** Calls that wait for a session. */
  queued: number
  /** Sessions that were closed because of an error. */
  evicted: number
  /** Sessions that were opened in place of lost ones. */
  reconnects: number
  /** How often the token went away. */
  trips: number
  /** Second tries. */
  retries: number
  /** Calls whose caller stopped waiting. */
  timeouts: number
  /** By function of PKCS#11; buckets are not cumulative, the last is above every bound. */
  calls: { function: string; errors: number; buckets: number[]; sum: number; count: number }[]
  /** Seconds, ascending. */
  callBounds: number[]
  /** What the start found on the token: versions there and missing, what it cleaned up, and what is another's. */
  found: { present: number; missing: string[]; cleaned: number; strangers: number } | { error: string } | null
}

/** The state of the token of a service; undefined where it has none. */
export function tokenStatus(native: NativeKms): TokenStatus | undefined {
  const json = attempt(() => native.tokenStatus())
  return typeof json === 'string' ? (JSON.parse(json) as TokenStatus) : undefined
}

const NUMBERS = [
  'maxSessions',
  'queue',
  'keepAliveMs',
  'idleCloseMs',
  'tripAfter',
  'backoffFirstMs',
  'backoffMostMs',
  'deadlineMs',
  'openDeadlineMs',
  'verifyCacheTtlMs',
] as const

/**
 * @throws KmsError `BadRequest` naming the field of a wrong type.
 */
export function pkcs11Options(
  options: Pkcs11Options,
  { withFile, allowSignFallback }: { withFile: boolean; allowSignFallback: boolean },
): NativePkcs11 {
  requireObject(options, 'pkcs11')
  const { modulePath, slotLabel, pinEnv, attestRequire } = options
  requireString(modulePath, 'pkcs11.modulePath')
  requireString(slotLabel, 'pkcs11.slotLabel')
  requireString(pinEnv, 'pkcs11.pinEnv')
  if (attestRequire !== undefined) requireString(attestRequire, 'pkcs11.attestRequire')
  const numbers: Partial<Record<(typeof NUMBERS)[number], number>> = {}
  for (const name of NUMBERS) {
    const value = options[name]
    if (value === undefined) continue
    if (!Number.isSafeInteger(value) || value < 1 || value > 0xffff_ffff) {
      throw new KmsError('BadRequest', 'must be a whole number from 1', { field: `pkcs11.${name}` })
    }
    numbers[name] = value
  }
  return {
    ...{ modulePath, slotLabel, pinEnv, withFile, allowSignFallback },
    ...numbers,
    ...(attestRequire !== undefined && { attestRequire }),
  }
}
