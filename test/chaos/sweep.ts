// All cases of a subject: counted in a run without faults, then run one by one, each on a fresh copy of its files.
import type { Case } from './cases.js'
import type { Ended } from './driver.js'
import type { Place } from './place.js'
import { callsIn, type Fault, hitIn, type Injection, straceArgs, syscallsFor } from './strace.js'

/** What is put under faults. */
export interface Subject<L extends Ended = Ended> {
  readonly name: string
  /** Of its driver, by the names that cases have for them. */
  readonly threads: readonly string[]
  /** The files that every case begins with. */
  readonly template: Place
  /** Lets the driver live once, with this thread traced, up to a fault. */
  live(place: Place, thread: string, strace: readonly string[], fault?: Injection): Promise<L>
  /** Starts again on what was left behind; what is not as promised, in words. */
  judge(place: Place, lived: L, fault: Hit): Promise<readonly string[]>
}

/** An injection, and the call that it hit. */
export interface Hit extends Injection {
  readonly text: string
}

/** What came of a case. */
export interface Verdict {
  readonly faults: readonly string[]
  /** Whether the call was made at all: what a thread does on its own differs from run to run. */
  readonly reached: boolean
}

/** Which calls of each name touched the files under test, by thread. */
type Counts = ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>

/** How often a case is tried until its call is hit. */
const TRIES = 8

/** Every case of a subject. */
export class Sweep<L extends Ended> {
  readonly subject: Subject<L>
  readonly counts: Counts

  private constructor(subject: Subject<L>, counts: Counts) {
    this.subject = subject
    this.counts = counts
  }

  /** Counts the calls of a run without faults. */
  static async of<L extends Ended>(subject: Subject<L>): Promise<Sweep<L>> {
    const counts = new Map()
    for (const thread of subject.threads) {
      const place = subject.template.copy()
      const log = place.beside('trace')
      const { code, stderr } = await subject.live(place, thread, straceArgs(log))
      if (code !== 0) throw new Error(`without a fault ${subject.name} ended with ${code}: ${stderr}`)
      const whens = new Map<string, number[]>()
      for (const { name, when } of callsIn(log, place.dir)) {
        whens.set(name, [...(whens.get(name) ?? []), when])
      }
      counts.set(thread, whens)
      place.remove()
    }
    return new Sweep(subject, counts)
  }

  /** One case for each instance of each call that may end so. */
  cases(fault: Fault): readonly Case[] {
    const { name: subject, threads } = this.subject
    return threads.flatMap(thread =>
      syscallsFor(fault).flatMap(syscall => {
        const instances = this.counts.get(thread)?.get(syscall) ?? []
        return instances.map((_, index): Case => ({ subject, thread, syscall, fault, n: index + 1 }))
      }),
    )
  }

  /** Runs one case. */
  async run({ thread, syscall, fault, n }: Case): Promise<Verdict> {
    let when = this.counts.get(thread)?.get(syscall)?.[n - 1]
    for (let tries = 0; when !== undefined && tries < TRIES; tries++) {
      const place = this.subject.template.copy()
      try {
        const log = place.beside('trace')
        const injection: Injection = { name: syscall, when, fault }
        const lived = await this.subject.live(place, thread, straceArgs(log, injection), injection)
        // Whatever was hit, the store must bear it; but only a call on its files is the case that was asked for.
        const text = hitIn(log, injection) ?? ''
        if (text.includes(place.dir)) {
          return { faults: await this.subject.judge(place, lived, { ...injection, text }), reached: true }
        }
        // Node's own calls come between them, not always as many: this life says where the call was, or that it is later.
        when = callsIn(log, place.dir)[n - 1]?.when ?? when + 1
      } finally {
        place.remove()
      }
    }
    return { faults: [], reached: false }
  }
}
