// Whether an audit log holds what the answers of a service said that it does.
import { rootOfPath } from '../support/c2sp.js'
import { INTACT, judgeVerdicts, type LogFound, TORN } from './audit-log.js'
import type { Life, Outcome, Proved } from './history.js'

/** Size and root of a checkpoint, as `size:root` with the root in hex. */
export function sizeAndRoot(note: string): string {
  const [, size, root = ''] = note.split('\n')
  return `${size}:${Buffer.from(root, 'base64').toString('hex')}`
}

/**
 * Faults of a log, in words: `before` the restart it may be torn, `after` it it is whole and the same log, and
 * every index that was answered is the record of that request, and of no other.
 */
export function judgeRecords(life: Life, again: Life, before: LogFound, after: LogFound): readonly string[] {
  const acknowledged = [...indexes(life.outcomes, 'first')]
  const repeated = [...indexes(again.repeated, 'again')].filter(
    // What was answered again has the index of the first time.
    ([index]) =>
      !acknowledged.some(([first]) => first === index) && after.requests[index]?.startsWith('again'),
  )
  const all = [...acknowledged, ...repeated]
  const faults = all
    .filter(([index, request]) => after.requests[index] !== request)
    .map(([index, request]) => `record ${index} is of ${after.requests[index]}, not of ${request}`)
  if (new Set(all.map(([index]) => index)).size !== all.length) faults.push('an index was answered twice')
  const changed = before.requests.findIndex((request, index) => request !== after.requests[index])
  if (changed >= 0)
    faults.push(`record ${changed} was ${before.requests[changed]}, is ${after.requests[changed]}`)
  return [
    ...faults,
    ...life.proofs
      .filter(proof => !holds(proof))
      .map(({ proved }) => `the proof of record ${proved} does not hold`),
    // Where the process ended before it was open, there may be none yet.
    ...judgeVerdicts('before the restart', life.opened ? before.verdicts.offline : [], [INTACT, TORN]),
    ...judgeVerdicts('after the restart', after.verdicts.offline),
  ]
}

function* indexes(
  outcomes: ReadonlyMap<number, Outcome>,
  prefix: string,
): Generator<readonly [number, string]> {
  for (const [operation, outcome] of outcomes) {
    if (outcome.kind !== 'done') continue
    const { audit } = outcome.answer as { audit?: { index: number } }
    if (audit) yield [audit.index, `${prefix}-${operation}`]
  }
}

function holds({ proved, size, leaf, path, checkpoint }: Proved): boolean {
  const bytes = (hex: string) => Buffer.from(hex, 'hex')
  try {
    const root = rootOfPath(bytes(leaf), proved, size, path.map(bytes))
    return sizeAndRoot(checkpoint) === `${size}:${root.toString('hex')}`
  } catch {
    return false
  }
}
