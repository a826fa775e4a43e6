import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { StoreSubject } from './store-subject.js'
import { each, nameOf } from './cases.js'
import type { Fault } from './strace.js'
let subject: StoreSubject
beforeAll(async () => { subject = await StoreSubject.prepare() })
afterAll(() => subject.remove())
describe('x', () => {
  it.each(['kill','EIO','ENOSPC'])('counts %s', async (fault) => {
    const counts = {main: await subject.count('main'), pool: await subject.count('pool')}
    const cases = await subject.cases(fault as Fault)
    process.stderr.write(`${fault}: ${cases.length}\n`)
    let n = 0
    await each(cases, async it => {
      const faults = await subject.run(it, counts[it.thread as 'main'])
      n++
      if (faults.length) process.stderr.write(`${n} ${nameOf(it)} ${JSON.stringify(faults).slice(0,500)}\n`)
    })
    expect(1).toBe(1)
  }, 1000000)
})
