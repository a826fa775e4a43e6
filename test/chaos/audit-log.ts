// The offline check of an audit log, by a program that shares no code with the service but the definition of its files.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { drive } from './driver.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const EXAMPLE = 'chaos_driver'

/** What the check says of a log, or of it as the continuation of a checkpoint. */
export interface LogVerdict {
  /** As the exit code of `ronctl audit verify`. */
  readonly code: number
  readonly size: number
  readonly bad: string | null
}

/** What is found in a log. */
export interface LogFound {
  /** The request of each record; null for those of the log itself. */
  readonly requests: readonly (string | null)[]
  /** Where the last one lies: its segment, and its frame in it, in bytes. */
  readonly last: { readonly segment: number; readonly offset: number; readonly len: number } | null
  /** What operators overrode. */
  readonly overrides: readonly string[]
  /** Of a log that was opened: bytes of torn records that were dropped. */
  readonly dropped: number
  /** By when it was checked: whole, then against each checkpoint. */
  readonly verdicts: Readonly<Record<string, readonly LogVerdict[]>>
}

export const INTACT = 0
/** A torn record at the very end, which the next start drops. */
export const TORN = 3
/** Nothing is there. */
const ABSENT = 1

/** Builds the program; its path. */
export function buildDriver(): string {
  // Of the workspace: with the features that `cargo test` built everything with, so that nothing is built anew.
  const args = ['build', '--quiet', '--locked', '--workspace', `--example=${EXAMPLE}`]
  execFileSync('cargo', args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] })
  return join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'debug', 'examples', EXAMPLE)
}

/** Reads what the program said about a log. */
export function readFound(text: string): LogFound {
  const lines = text
    .split('\n')
    .slice(0, -1)
    .map(line => JSON.parse(line))
  const verdicts = lines.filter(line => 'verified' in line).map(line => [line.verified, line.verdicts])
  const { requests = [], last = null, overrides = [] } = lines.find(line => 'requests' in line) ?? {}
  const { dropped = 0 } = lines.find(line => 'dropped' in line) ?? {}
  return { requests, last, overrides, dropped, verdicts: Object.fromEntries(verdicts) }
}

/** Looks at a log that no process has open; `checkpoints` are those that were handed out, as `size:root`. */
export async function examine(
  program: string,
  dir: string,
  checkpoints: readonly string[],
): Promise<LogFound> {
  if (!existsSync(dir)) return readFound('')
  const { code, text, stderr } = await drive({ command: [program, 'verify', dir, ...checkpoints] })
  if (code !== 0) throw new Error(`the check of ${dir} ended with ${code}: ${stderr}`)
  return readFound(text)
}

/** Verdicts that are not among these, in words. */
export function judgeVerdicts(
  when: string,
  verdicts: readonly LogVerdict[] = [],
  allowed: readonly number[] = [INTACT],
): readonly string[] {
  return verdicts
    .filter(({ code }) => !allowed.includes(code))
    .map(({ code, bad }) => `the log ${when}: ${code === ABSENT ? 'is not there' : code}: ${bad}`)
}
