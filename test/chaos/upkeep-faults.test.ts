// Rekey, backup and restore under faults: SIGKILL, EIO and ENOSPC at every instance of every system call on their files.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { part } from '../support/parts.js'
import { asked, concerns, isWanted, random, sample } from './cases.js'
import { runCases } from './report.js'
import { FAULTS } from './strace.js'
import { Sweep } from './sweep.js'
import { KeptStore } from './upkeep-store.js'
import { BackupSubject, RekeySubject, RestoreSubject } from './upkeep-subject.js'

const strace = part('strace')
const HOUR_MS = 3_600_000
/** Cases of each fault in the short form. */
const FEW = 3

const SUBJECTS = [
  ['rekey', RekeySubject],
  ['backup', BackupSubject],
  ['restore', RestoreSubject],
] as const

for (const [name, Kind] of SUBJECTS)
  describe.skipIf(!strace.available || !concerns(name))(`ronctl store ${name}`, () => {
    let store: KeptStore
    let subject: InstanceType<typeof Kind>
    let sweep: Sweep<Awaited<ReturnType<(typeof subject)['live']>>>

    beforeAll(async () => {
      store = await KeptStore.prepare()
      subject = new Kind(store)
      sweep = await Sweep.of(subject)
    }, HOUR_MS)
    afterAll(() => {
      subject.remove()
      store.remove()
    })

    it.each(FAULTS)(
      'leaves what was there before or the whole, and says which, after %s at any system call',
      async fault => {
        const all = sweep.cases(fault).filter(isWanted)
        const cases = asked.long ? all : sample(all, FEW, random(asked.seed))
        expect(await runCases(`${subject.name}, ${fault}`, cases, it => sweep.run(it))).toEqual([])
      },
      HOUR_MS,
    )
  })
