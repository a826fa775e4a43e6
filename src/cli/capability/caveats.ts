import { type Command, InvalidArgumentError } from 'commander'
import { duration, moment } from '../../config/kinds.js'

/** What a capability is narrowed by. */
export interface CaveatFlags {
  readonly scope?: string
  readonly tenant?: string
  readonly kid?: string
  readonly alg?: string
  readonly purpose?: string
  readonly rps?: string
  readonly ip?: string
  readonly payloadB3?: string
  readonly ttl?: number
  readonly exp?: number
  readonly nbf?: number
  readonly caveat: readonly string[]
}

const LIFE = duration(1000, 30 * 24 * 3_600_000)

/** Adds a flag for each caveat. The addon checks what they say. */
export function withCaveats(command: Command): Command {
  return command
    .option('--scope <list>', 'what may be done, such as kms:sign,kms:verify')
    .option('--tenant <list>', 'whose keys; * for every tenant')
    .option('--kid <list>', 'first parts of kids, each whole: core/audit')
    .option('--alg <list>', 'algorithms, as kids show them')
    .option('--purpose <list>', 'purposes')
    .option('--rps <number>', 'requests a second')
    .option('--ip <list>', 'addresses and networks of callers')
    .option('--payload-b3 <list>', 'BLAKE3-256 of the payloads, in hex')
    .option('--ttl <duration>', 'how long from now, such as 15m or 24h', inSeconds)
    .option('--exp <moment>', 'until when, such as 2027-01-31T00:00:00Z', atSecond)
    .option('--nbf <moment>', 'from when on', atSecond)
    .option(
      '--caveat <text>',
      'a caveat as it is written; may be repeated',
      (text, all) => [...all, text],
      [] as string[],
    )
}

/** The caveats of some flags, in a fixed order. */
export function caveatsOf(flags: CaveatFlags): string[] {
  const { scope, tenant, kid, alg, purpose, rps, ip, payloadB3, ttl, exp, nbf } = flags
  const until = ttl === undefined ? undefined : Math.floor(Date.now() / 1000) + ttl
  const named = { scope, tenant, kid, alg, purpose, rps, ip, payload_b3: payloadB3, nbf, exp }
  const caveats = Object.entries(named).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name} = ${value}`],
  )
  return [...caveats, ...(until === undefined ? [] : [`exp = ${until}`]), ...flags.caveat]
}

function inSeconds(text: string): number {
  const ms = LIFE.text(text)
  if (ms === undefined) throw new InvalidArgumentError('must be a duration from 1s to 720h.')
  return Math.floor(ms / 1000)
}

function atSecond(text: string): number {
  const ms = text === 'none' ? undefined : moment.text(text)
  if (ms === undefined) throw new InvalidArgumentError('must be a moment such as 2027-01-31T00:00:00Z.')
  return Math.floor(ms / 1000)
}
