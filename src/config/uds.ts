import { lstatSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Fault, show } from './faults.js'
import type { Config } from './schema.js'

/** Longest path of a Unix socket that every system takes, in bytes (sockaddr_un, with its NUL). */
const MAX_PATH_BYTES = 103

/** Everything wrong with `uds.*`. */
export function udsFaults({ uds }: Pick<Config, 'uds'>): Fault[] {
  const fault = (rule: string): Fault[] => [{ key: 'uds.path', value: show(uds.path), rule }]
  if (uds.path === '') {
    if (uds.allow_uids.length === 0) return []
    return [{ key: 'uds.allow_uids', value: show(uds.allow_uids), rule: 'needs uds.path' }]
  }
  if (process.platform === 'win32') return fault('is for systems with Unix sockets')
  if (Buffer.byteLength(uds.path) > MAX_PATH_BYTES) return fault(`must be at most ${MAX_PATH_BYTES} bytes`)
  const problem = directoryProblem(dirname(uds.path))
  return problem === undefined ? [] : fault(problem)
}

/** Why a directory is not private to this user; none where it is, or is not there yet. */
export function directoryProblem(dir: string): string | undefined {
  const stat = lstatSync(dir, { throwIfNoEntry: false })
  if (!stat) return undefined
  if (!stat.isDirectory()) return 'must be in a directory, not behind a link'
  if (stat.uid !== process.geteuid?.()) return 'must be in a directory of the user of the service'
  if ((stat.mode & 0o777) !== 0o700)
    return 'must be in a directory that only its owner may enter: chmod 700 DIR'
  return undefined
}
