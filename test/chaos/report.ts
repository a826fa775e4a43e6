// What is said about many cases: a line for each that failed, with the command that runs it again, and a count.
import { asked, type Case, commandFor, each, nameOf } from './cases.js'
import type { Verdict } from './sweep.js'

/** Of all cases of a run, the part that may go unreached before the run says nothing; of a few, one. */
const mayMiss = (cases: number): number => (cases > 1 ? Math.max(1, cases / 10) : 0)

/** Runs cases, some at a time; what went wrong, in words. */
export async function runCases(
  title: string,
  cases: readonly Case[],
  run: (it: Case) => Promise<Verdict>,
): Promise<readonly string[]> {
  const since = performance.now()
  const verdicts = await each(cases, run)
  const faults = cases.flatMap((it, index) =>
    (verdicts[index]?.faults ?? []).map(fault => `${commandFor(nameOf(it))}: ${fault}`),
  )
  const missed = cases.filter((_, index) => verdicts[index]?.reached !== true)
  if (missed.length > mayMiss(cases.length)) {
    faults.push(`not reached: ${missed.length} of ${cases.length}, such as ${missed.slice(0, 3).map(nameOf)}`)
  }
  // A long run may be stopped before its test ends, which is when the runner shows these.
  for (const fault of faults) process.stdout.write(`chaos: ${fault}\n`)
  if (cases.length > 0)
    say(`${title}: ${cases.length} cases, ${missed.length} not reached, ${faults.length} faults`, since)
  return faults
}

/** A line on standard output, with the time that it took and the seed that chose the cases. */
export function say(text: string, since: number): void {
  const seconds = ((performance.now() - since) / 1000).toFixed(1)
  process.stdout.write(`chaos: ${text}, in ${seconds} s${asked.long ? '' : ` (seed ${asked.seed})`}\n`)
}

/** Whether one case was asked for, so that a file whose cases have no names runs nothing; it says so. */
export function isLeftOut(title: string): boolean {
  const { only } = asked
  if (only) process.stdout.write(`chaos: ${title}: not run, for only ${only} was asked for\n`)
  return only !== undefined
}
