// Cases by name: which subject, which thread of it, which system call, what happens, and at which instance.
import type { Fault } from './strace.js'

/** One fault at one instance of one system call. */
export interface Case {
  readonly subject: string
  readonly thread: string
  readonly syscall: string
  readonly fault: Fault
  /** From 1, among the calls of that name that touch the files of the case. */
  readonly n: number
}

/** `store/pool:fsync:kill:17`. */
export const nameOf = ({ subject, thread, syscall, fault, n }: Case): string =>
  `${subject}/${thread}:${syscall}:${fault}:${n}`

/** How to run one case again. */
export const commandFor = (name: string): string => `npm run chaos -- --case ${name}`

/** What the long form, or a run of one case, was asked for. */
export const asked = {
  long: process.env.CHAOS === 'long',
  only: process.env.CHAOS_CASE,
  seed: Number(process.env.CHAOS_SEED ?? Math.floor(Math.random() * 2 ** 32)),
  rounds: Number(process.env.CHAOS_ROUNDS ?? 0),
  /** Cases at a time. */
  width: Number(process.env.CHAOS_WIDTH ?? 3),
}

/** Whether a case was asked for: all are, unless one is named, or how their names begin: `store/pool:fsync:`. */
export function isWanted(it: Case): boolean {
  const { only } = asked
  return !only || (only.endsWith(':') ? nameOf(it).startsWith(only) : nameOf(it) === only)
}

/** Whether cases of these subjects were asked for, so that preparing them is worth it. */
export function concerns(...subjects: readonly string[]): boolean {
  const { only } = asked
  return !only || subjects.some(name => only.startsWith(`${name}/`) || only.startsWith(`${name}-recovery-`))
}

/** Numbers from 0 up to 1, the same for the same seed (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `count` of them, in their order; all where there are no more. */
export function sample<T>(all: readonly T[], count: number, next: () => number): readonly T[] {
  const left = all.map((_, index) => index)
  const taken: number[] = []
  while (taken.length < count && left.length > 0) {
    taken.push(...left.splice(Math.floor(next() * left.length), 1))
  }
  return taken.sort((a, b) => a - b).map(index => all[index] as T)
}

/** Runs them all, some at a time; what they give, in order. */
export async function each<T, R>(all: readonly T[], run: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results = new Array<R>(all.length)
  const queue = all.entries()
  const worker = async () => {
    for (const [index, item] of queue) results[index] = await run(item)
  }
  await Promise.all(Array.from({ length: asked.width }, worker))
  return results
}
