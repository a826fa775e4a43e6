// The key store under faults: SIGKILL, EIO and ENOSPC at every instance of every system call on its files.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { part } from '../support/parts.js'
import { buildDriver } from './audit-log.js'
import { asked, concerns, isWanted, random, sample } from './cases.js'
import { runCases } from './report.js'
import { type Beside, RecoverySubject, StoreSubject } from './store-subject.js'
import { FAULTS } from './strace.js'
import { type Subject, Sweep } from './sweep.js'

const strace = part('strace')
const cargo = part('cargo')
const HOUR_MS = 3_600_000
/** Cases of each fault in the short form. */
const FEW = 4
/** Calls at which a change is put in place, or taken back: before each of them the directory is in another state. */
const STEPS = ['linkat', 'renameat', 'mkdirat', 'unlinkat']
/** Calls of a start that cleans up. */
const CLEANING = ['renameat', 'linkat', 'unlinkat', 'write', 'fsync']

const SUBJECTS: readonly (readonly [title: string, beside: Beside])[] = [
  ['a key store', {}],
  ['a key store with a queued audit log', { audit: 'queued' }],
  ['a key store with an fsync audit log', { audit: 'fsync' }],
]

/** What its subjects are named. */
const namesOf = ({ audit }: Beside): string[] =>
  ['store', 'fresh'].map(name => (audit ? `${name}-${audit}` : name))

for (const [title, beside] of SUBJECTS)
  describe.skipIf(!strace.available || !concerns(...namesOf(beside)))(title, () => {
    let parts: Beside
    let store: StoreSubject
    let sweep: Sweep<Awaited<ReturnType<StoreSubject['live']>>>

    beforeAll(async () => {
      parts = { ...beside, ...(beside.audit && cargo.available && { program: buildDriver() }) }
      store = await StoreSubject.prepare(parts)
      sweep = await Sweep.of(store)
    }, HOUR_MS)
    afterAll(() => store.remove())

    it.each(FAULTS)(
      'keeps what it acknowledged, and is whole, after %s at any system call',
      async fault => {
        const all = sweep.cases(fault).filter(isWanted)
        const cases = asked.long ? all : sample(all, FEW, random(asked.seed))
        expect(await runCases(`${store.name}, ${fault}`, cases, it => sweep.run(it))).toEqual([])
      },
      HOUR_MS,
    )

    it(
      'is made whole, or can still be made, after any fault while it is made',
      async () => {
        const subject = StoreSubject.fresh(parts)
        const sweep = await Sweep.of(subject)
        const all = FAULTS.flatMap(fault => sweep.cases(fault)).filter(isWanted)
        const cases = asked.long ? all : sample(all, FEW, random(asked.seed))
        expect(await runCases(subject.name, cases, it => sweep.run(it))).toEqual([])
        subject.remove()
      },
      HOUR_MS,
    )

    it(
      'is whole when it is killed again while it cleans up',
      async () => {
        const counts = sweep.counts.get('pool') ?? new Map<string, readonly number[]>()
        const crashes = STEPS.flatMap(step => (counts.get(step) ?? []).map((_, n) => [step, n + 1] as const))
        const chosen = asked.long ? crashes : sample(crashes, 1, random(asked.seed))
        const faults: string[] = []
        for (const [step, n] of chosen) {
          const name = `${store.name}-recovery-${step}-${n}`
          if (asked.only && !asked.only.startsWith(`${name}/`)) continue
          const subject = await RecoverySubject.prepare(store, counts.get(step) ?? [], name)
          faults.push(...(await sweepOf(subject, name)))
          subject.remove()
        }
        expect(faults).toEqual([])
      },
      HOUR_MS,
    )
  })

async function sweepOf(subject: Subject, name: string): Promise<readonly string[]> {
  const sweep = await Sweep.of(subject)
  const all = [...sweep.cases('kill'), ...sweep.cases('EIO')]
  const cases = all.filter(({ syscall }) => CLEANING.includes(syscall)).filter(isWanted)
  return runCases(name, asked.long ? cases : sample(cases, 3, random(asked.seed)), it => sweep.run(it))
}
