// Rekey, backup and restore under faults: SIGKILL, EIO and ENOSPC at every instance of every system call on their files.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { part } from '../support/parts.js'
import { asked, concerns, isWanted, random, sample } from './cases.js'
import type { Ended } from './driver.js'
import { runCases } from './report.js'
import { FAULTS } from './strace.js'
import { type Subject, Sweep } from './sweep.js'
import { OpenUpkeepSubject, UnfinishedRekeySubject } from './upkeep-open-subject.js'
import { KeptStore } from './upkeep-store.js'
import { BackupSubject, RekeySubject, RestoreSubject } from './upkeep-subject.js'

const strace = part('strace')
const HOUR_MS = 3_600_000
/** Cases of each fault in the short form. */
const FEW = 2

type AnySubject = Subject<Ended> & { remove(): void }

const SUBJECTS: readonly (readonly [
  title: string,
  name: string,
  (store: KeptStore) => Promise<AnySubject>,
])[] = [
  ['ronctl store rekey', 'rekey', async store => new RekeySubject(store)],
  ['ronctl store backup', 'backup', async store => new BackupSubject(store)],
  ['ronctl store restore', 'restore', async store => new RestoreSubject(store)],
  ['a rekey and a backup of an open store', 'open-upkeep', async store => new OpenUpkeepSubject(store)],
  ['the start after a rekey that was cut short', 'unfinished-rekey', UnfinishedRekeySubject.prepare],
]

for (const [title, name, prepare] of SUBJECTS)
  describe.skipIf(!strace.available || !concerns(name))(title, () => {
    let store: KeptStore
    let subject: AnySubject
    let sweep: Sweep<Ended>

    beforeAll(async () => {
      store = await KeptStore.prepare()
      subject = await prepare(store)
      sweep = await Sweep.of(subject)
    }, HOUR_MS)
    afterAll(() => {
      subject?.remove()
      store?.remove()
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
