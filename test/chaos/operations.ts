// What the key service is asked to do while something goes wrong: every kind of change, each on a key of its own, so that
// one that fails stands in the way of no other.

/** A call of `Kms.dispatch`. */
export interface Operation {
  readonly op: string
  readonly kid?: string
  readonly body: Readonly<Record<string, unknown>>
  /** How long the driver waits before it. */
  readonly pauseMs?: number
}

const TENANT = 'core'
const ALG = 'ed25519'
/** What each prepared key is for. */
const PURPOSES = [
  'rotate',
  'later',
  'pause',
  'version',
  'sign',
  'destroy',
  'shred',
  'mercy',
  'derive',
] as const

export type Prepared = Readonly<Record<(typeof PURPOSES)[number], string>>

const opId = (n: number) => `0b2e7c1e-5a1c-4a5e-9d58-${n.toString().padStart(12, '0')}`
const create = (purpose: string, n: number): Operation => ({
  op: 'create',
  body: { tenant: TENANT, purpose, alg: ALG, signs: 'message', op_id: opId(n) },
})

/** Makes the prepared keys, with two versions each: in pairs, creation and rotation. */
export function preparation(): readonly Operation[] {
  return PURPOSES.map((purpose, n) => create(purpose, 100 + n))
}

/** The prepared keys, by what they are for; kids without versions. */
export function prepared(kids: readonly string[]): Prepared {
  return Object.fromEntries(PURPOSES.map((purpose, n) => [purpose, kids[n]])) as Prepared
}

/** The operations of a case. */
export function operations(keys: Prepared): readonly Operation[] {
  return [
    create('fresh', 0),
    { op: 'rotate', kid: keys.rotate, body: { op_id: opId(1) } },
    { op: 'rotate', kid: keys.later, body: { activate_after_ms: 3_600_000, op_id: opId(2) } },
    { op: 'disable', kid: keys.pause, body: {} },
    { op: 'enable', kid: keys.pause, body: {} },
    { op: 'disable', kid: `${keys.version}#v1`, body: {} },
    {
      op: 'sign',
      body: { kid_or_set: { kid: keys.sign }, message_b64: 'YSBtZXNzYWdl', op_id: opId(3) },
    },
    // Nothing but its record is kept of this one: the log's own thread says when that is durable.
    { op: 'sign', body: { kid_or_set: { kid: keys.sign }, message_b64: 'YSBtZXNzYWdl' } },
    { op: 'destroy', kid: keys.destroy, body: { delay_ms: 0, op_id: opId(4) } },
    { op: 'destroy', kid: `${keys.shred}#v1`, body: { delay_ms: 0, op_id: opId(5) } },
    { op: 'destroy', kid: keys.mercy, body: { delay_ms: 3_600_000, op_id: opId(6) } },
    { op: 'cancel_destroy', kid: keys.mercy, body: {} },
    { op: 'derive', kid: keys.derive, body: { context: 'a context' } },
    create('last', 7),
  ]
}

/**
 * Changes more, to see whether changes are taken. They are so many, and so slow, that a log which nobody waits for syncs
 * more often before the last of them is sent than it would without any.
 */
export const PROBES: readonly Operation[] = Array.from({ length: 10 }, (_, n) => ({
  ...create(`probe-${n}`, 8 + n),
  pauseMs: 5,
}))

/** Under which names keys of these operations are found. */
export const PREFIXES: readonly string[] = [
  ...PURPOSES,
  'fresh',
  'last',
  ...PROBES.map((_, n) => `probe-${n}`),
].map(purpose => `${TENANT}/${purpose}/${ALG}`)

/** The purpose of a kid. */
export const purposeOf = (kid: string): string => kid.split('/')[1] ?? ''
