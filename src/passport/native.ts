/** The native verifier, with its defaults. */
import type { NativePassport, ReplayOptions } from '../../index.js'
import { KmsError } from '../errors.js'
import { requireNative } from '../native.js'

/** What issuers and verifiers have settings for. */
export interface PassportSettings {
  issuer?: string
  /** Seconds. */
  defaultTtl?: number
  /** Seconds. */
  maxTtl?: number
  /** Seconds. */
  clockSkew?: number
  maxMsgBytes?: number
  maxBatch?: number
  requireAud?: boolean
  /** Kids that begin with this are asked for where they are not known. */
  ownKey?: string
  replay?: ReplayOptions | undefined
}

/** Most that clocks may differ: beyond that it is no longer the clocks. */
export const MOST_SKEW_S = 600
/** Longest payload that may be configured. */
export const MOST_MSG_BYTES = 65_536
/** Most items of a batch that may be configured. */
export const MOST_BATCH = 4096

/** Makes a native verifier that trusts no key yet. */
export function openNative(settings: PassportSettings): NativePassport {
  const { issuer = '', ownKey, replay } = settings
  const whole = (name: keyof PassportSettings, fallback: number, least: number, most: number): number => {
    const value = settings[name] ?? fallback
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most)
      return value
    throw new KmsError('BadRequest', `must be a whole number from ${least} to ${most}`, { field: name })
  }
  const { NativePassport } = requireNative()
  return new NativePassport({
    issuer,
    defaultTtlS: whole('defaultTtl', 3600, 1, 0xffff_ffff),
    maxTtlS: whole('maxTtl', 86_400, 1, 0xffff_ffff),
    clockSkewS: whole('clockSkew', 120, 0, MOST_SKEW_S),
    maxMsgBytes: whole('maxMsgBytes', 4096, 64, MOST_MSG_BYTES),
    maxBatch: whole('maxBatch', 512, 1, MOST_BATCH),
    requireAud: settings.requireAud ?? true,
    ...(ownKey !== undefined && { ownKey }),
    ...(replay && { replay }),
  })
}
