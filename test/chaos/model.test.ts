// The judges themselves: a history that breaks a promise is found out.
import { describe, expect, it } from 'vitest'
import { judgeRecords } from './audit-judge.js'
import { INTACT, type LogFound } from './audit-log.js'
import type { Answer, Found, FoundKey, Life, Outcome, Refusal } from './history.js'
import { judge, known } from './model.js'
import type { Operation } from './operations.js'

const KID = 'core/rotate/ed25519/1'
const FRESH = 'core/fresh/ed25519/2'
const UNSURE: Refusal = {
  code: 'StoreUnavailable',
  message: 'fsync failed (5) and left the outcome open',
  retryable: false,
}
const REFUSED: Refusal = {
  code: 'StoreUnavailable',
  message: 'no space left on the disk (write)',
  retryable: true,
}

const rotate: Operation = { op: 'rotate', kid: KID, body: { op_id: 'a' } }
const disable: Operation = { op: 'disable', kid: KID, body: {} }
const create: Operation = { op: 'create', body: { purpose: 'fresh', op_id: 'b' } }

const key = (kid: string, versions: number, more: Partial<FoundKey> = {}): FoundKey => ({
  kid,
  state: 'enabled',
  head: `#v${versions}`,
  versions: Array.from({ length: versions }, (_, n) => ({ state: 'enabled', public: `${kid} ${n}` })),
  signature: `${kid} by ${versions}`,
  ...more,
})
const found = (...keys: FoundKey[]): Found => ({ keys, signatures: [] })
const done = (answer: object): Outcome => ({ kind: 'done', answer: answer as Answer })
const life = (outcomes: readonly Outcome[], more: Partial<Life> = {}): Life => ({
  ...{ opened: true, closed: true, outcomes: new Map(outcomes.entries()), repeated: new Map() },
  ...{ verified: [], proofs: [] },
  ...more,
})

/** Faults after these operations had these outcomes and these keys were found; what has an op_id is sent again. */
function faults(
  operations: readonly Operation[],
  outcomes: readonly Outcome[],
  now: Found,
  repeated: readonly (readonly [number, Outcome])[] = [],
  after: Found = now,
) {
  const again = life([], { found: now, after, repeated: new Map(repeated) })
  return judge(known(found(key(KID, 1))), operations, life(outcomes), again)
}

describe('the judge of keys', () => {
  it('has nothing to say where all is as it was answered', () => {
    expect(faults([], [], found(key(KID, 1)))).toEqual([])
    const answer = done({ kid: `${KID}#v2` })
    expect(faults([rotate], [answer], found(key(KID, 2)), [[0, answer]])).toEqual([])
    const made = done({ kid: `${FRESH}#v1`, public: { pubkey_b64: `${FRESH} 0` } })
    expect(faults([create], [made], found(key(KID, 1), key(FRESH, 1)), [[0, made]])).toEqual([])
  })

  it('finds what was acknowledged and is lost', () => {
    expect(faults([], [], found())).toContainEqual(expect.stringContaining('is lost'))
    expect(faults([rotate], [done({ kid: `${KID}#v2` })], found(key(KID, 1)))).not.toEqual([])
    expect(faults([disable], [done({ kid: KID })], found(key(KID, 1)))).not.toEqual([])
    expect(faults([create], [done({ kid: `${FRESH}#v1` })], found(key(KID, 1)))).not.toEqual([])
  })

  it('finds what was refused and is there', () => {
    const refused: Outcome = { kind: 'refused', error: REFUSED }
    expect(faults([rotate], [refused], found(key(KID, 2)))).not.toEqual([])
    expect(faults([create], [refused], found(key(KID, 1), key(FRESH, 1)))).not.toEqual([])
    expect(faults([], [], found(key(KID, 1), key(FRESH, 1)))).not.toEqual([])
  })

  it('lets be there or not what was cut off or is in doubt, and then only whole and once', () => {
    const answer = done({ kid: `${KID}#v2` })
    for (const outcome of [{ kind: 'open' }, { kind: 'refused', error: UNSURE }] as const) {
      for (const versions of [1, 2]) {
        const [now, after] = [found(key(KID, versions)), found(key(KID, 2))]
        expect(faults([rotate], [outcome], now, [[0, answer]], after)).toEqual([])
        expect(faults([rotate], [outcome], now, [[0, answer]], found(key(KID, 3)))).not.toEqual([])
      }
      expect(faults([rotate], [outcome], found(key(KID, 3)))).not.toEqual([])
    }
  })

  it('finds another key under the same kid', () => {
    const other = [{ state: 'enabled', public: 'another' }]
    expect(faults([], [], found(key(KID, 1, { versions: other })))).not.toEqual([])
    expect(faults([], [], found(key(KID, 1, { signature: 'another' })))).not.toEqual([])
  })

  it('finds a key in use that was taken out of it', () => {
    const off = { state: 'disabled', versions: [{ state: 'disabled', public: `${KID} 0` }] }
    const now = (signature: string) => found(key(KID, 1, { ...off, signature }))
    expect(faults([disable], [done({ kid: KID })], now('Conflict'))).toEqual([])
    expect(faults([disable], [done({ kid: KID })], now(`${KID} by 1`))).not.toEqual([])
  })

  it('finds another answer under the same op_id', () => {
    const [first, second] = [done({ kid: `${KID}#v2` }), done({ kid: `${KID}#v3` })]
    expect(faults([rotate], [first], found(key(KID, 2)), [[0, second]])).not.toEqual([])
  })
})

describe('the judge of records', () => {
  const log = (requests: readonly (string | null)[], code = INTACT): LogFound => ({
    ...{ requests, last: null, overrides: [], dropped: 0 },
    verdicts: { offline: [{ code, size: requests.length, bad: null }] },
  })
  const lived = life([done({ audit: { index: 1 } })])
  const again = life([])

  it('has nothing to say where every index is the record of its request', () => {
    const whole = log([null, 'first-0', null])
    expect(judgeRecords(lived, again, whole, whole)).toEqual([])
  })

  it('finds a record that is lost, replaced or given twice, and a log that is damaged', () => {
    const whole = log([null, 'first-0'])
    expect(judgeRecords(lived, again, log([null]), log([null]))).not.toEqual([])
    expect(judgeRecords(lived, again, whole, log([null, 'first-7']))).not.toEqual([])
    expect(judgeRecords(lived, again, whole, log([null, 'first-0'], 4))).not.toEqual([])
    expect(judgeRecords(lived, again, log([null, 'first-0'], 4), whole)).not.toEqual([])
    const twice = life([done({ audit: { index: 1 } }), done({ audit: { index: 1 } })])
    expect(judgeRecords(twice, again, whole, whole)).not.toEqual([])
  })

  it('finds a proof that does not hold', () => {
    const proof = { proved: 0, size: 1, leaf: '00'.repeat(32), path: [] }
    const root = Buffer.from('00'.repeat(32), 'hex').toString('base64')
    const with_ = (note: string) => life([], { proofs: [{ ...proof, checkpoint: note }] })
    const whole = log([null])
    expect(judgeRecords(with_(`log\n1\n${root}\n`), again, whole, whole)).toEqual([])
    expect(judgeRecords(with_(`log\n2\n${root}\n`), again, whole, whole)).not.toEqual([])
  })
})
