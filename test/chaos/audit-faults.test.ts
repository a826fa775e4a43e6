// The audit log under faults: SIGKILL, EIO and ENOSPC at every instance of every system call on its files.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { part } from '../support/parts.js'
import { buildDriver } from './audit-log.js'
import { AuditSubject, type Durability } from './audit-subject.js'
import { asked, concerns, isWanted, random, sample } from './cases.js'
import { runCases } from './report.js'
import { FAULTS } from './strace.js'
import { Sweep } from './sweep.js'

const strace = part('strace')
const cargo = part('cargo')
const isThere = strace.available && cargo.available
const HOUR_MS = 3_600_000
/** Cases of each fault in the short form. */
const FEW = 6

for (const durability of ['queued', 'fsync'] satisfies Durability[])
  describe.skipIf(!isThere || !concerns(`audit-${durability}`))(`an audit log, ${durability},`, () => {
    let subject: AuditSubject
    let sweep: Sweep<Awaited<ReturnType<AuditSubject['live']>>>

    beforeAll(async () => {
      subject = await AuditSubject.prepare(buildDriver(), durability)
      sweep = await Sweep.of(subject)
    }, HOUR_MS)
    afterAll(() => subject.remove())

    it.each(FAULTS)(
      'keeps what it acknowledged, and every checkpoint is a prefix of it, after %s at any system call',
      async fault => {
        const all = sweep.cases(fault).filter(isWanted)
        const cases = asked.long ? all : sample(all, FEW, random(asked.seed))
        expect(await runCases(`${subject.name}, ${fault}`, cases, it => sweep.run(it))).toEqual([])
      },
      HOUR_MS,
    )
  })
