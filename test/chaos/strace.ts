// System calls counted, and made to fail, by strace.
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** What happens instead of a system call: the process ends as by `kill -9`, or the call fails. */
export type Fault = (typeof FAULTS)[number]
export const FAULTS = ['kill', 'EIO', 'ENOSPC'] as const

/** Calls that change something, in either of which a crash may come. */
const CHANGES = [
  ...['openat', 'mkdirat', 'linkat', 'renameat', 'renameat2', 'rename', 'unlinkat', 'unlink', 'rmdir'],
  ...['write', 'pwrite64', 'fallocate', 'ftruncate', 'fsync', 'fdatasync', 'msync', 'close', 'flock'],
] as const
/** Calls that only look. */
const LOOKS = ['read', 'pread64', 'getdents64', 'fstat', 'newfstatat', 'statx', 'mmap'] as const
/** Calls that take space. */
const TAKES = [
  'openat',
  'mkdirat',
  'linkat',
  'renameat',
  'rename',
  'write',
  'pwrite64',
  'fallocate',
  'fsync',
  'fdatasync',
]

/** The system calls that may be made to end so. */
export function syscallsFor(fault: Fault): readonly string[] {
  if (fault === 'kill') return CHANGES
  return fault === 'EIO' ? [...CHANGES, ...LOOKS] : TAKES
}

const ALL = [...CHANGES, ...LOOKS]

/** One system call of a trace that touches the files of the case. */
export interface Call {
  readonly name: string
  /** Which one of its name, from 1, among all that the thread made. */
  readonly when: number
  readonly text: string
}

/** What strace is told. */
export interface Injection {
  readonly name: string
  readonly when: number
  readonly fault: Fault
}

/** Whether a writer that this happens to must take no change any more. */
export const stopsWriter = (injection?: Injection): boolean =>
  injection?.fault === 'EIO' && ['fsync', 'fdatasync'].includes(injection.name)

/** The arguments of strace: one thread, every call written to `log` with the paths of its descriptors. */
export function straceArgs(log: string, injection?: Injection): string[] {
  // The name of a call that this machine does not have is an error without the question mark.
  const names = injection ? [injection.name] : ALL
  const args = ['-qq', '-y', '-s', '0', '-o', log, '-e', `trace=${names.map(name => `?${name}`).join(',')}`]
  if (!injection) return args
  const { name, when, fault } = injection
  const effect = fault === 'kill' ? 'signal=SIGKILL' : `error=${fault}`
  return [...args, '-e', `inject=${name}:${effect}:when=${when}`]
}

/** The calls in a trace that touch files below `dir`. */
export function callsIn(log: string, dir: string): readonly Call[] {
  const counts = new Map<string, number>()
  const calls: Call[] = []
  for (const text of readFileSync(log, 'utf8').split('\n')) {
    const name = /^([a-z0-9_]+)\(/.exec(text)?.[1]
    if (!name) continue
    const when = (counts.get(name) ?? 0) + 1
    counts.set(name, when)
    if (text.includes(dir)) calls.push({ name, when, text })
  }
  return calls
}

/** The call that an injection hit, as the trace shows it; undefined where the thread made fewer calls. */
export function hitIn(log: string, { name, when }: Injection): string | undefined {
  const calls = readFileSync(log, 'utf8')
    .split('\n')
    .filter(text => text.startsWith(`${name}(`))
  return calls[when - 1]
}

/** Attaches strace to a thread that runs; resolves once it holds it. */
export async function attach(id: number, args: readonly string[]): Promise<ChildProcess> {
  // Without -qq: it says on standard error when it is attached.
  const quiet = args.filter(arg => arg !== '-qq')
  const child = spawn('strace', [...quiet, '-p', String(id)], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', chunk => {
      said += chunk
      if (said.includes(' attached')) resolve()
    })
    child.on('error', reject)
    child.on('exit', () => reject(new Error(`strace: ${said.trim()}`)))
  })
  return child
}
