import { randomFillSync } from 'node:crypto'
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { Command } from 'commander'

/** Digits of a key and a line feed. */
const LINE = 65

/** `ronctl cap root-key`. */
export function rootKeyCommand(): Command {
  const command = new Command('root-key').description('the keys that capabilities are minted with')
  command
    .command('new <file>')
    .description('write a fresh root key, readable by its owner only')
    .action((file: string) => attempt(() => withFresh(key => create(file, key))))
  command
    .command('rotate <file>')
    .description('add a fresh root key, which mints from now on; what the others minted stays valid')
    .action((file: string) =>
      attempt(() => withFresh(key => change(file, keys => Buffer.concat([keys, key])))),
    )
  command
    .command('retire <file>')
    .description('keep the newest root key only: what the others minted is refused from now on')
    .action((file: string) => attempt(() => change(file, keys => Buffer.from(keys.subarray(-LINE)))))
  return command
}

function withFresh(use: (line: Buffer) => void): void {
  const key = randomFillSync(Buffer.alloc(32))
  const line = Buffer.alloc(LINE, '\n')
  try {
    line.write(key.toString('hex'), 'latin1')
    use(line)
  } finally {
    key.fill(0)
    line.fill(0)
  }
}

/** Never over another file. */
function create(file: string, content: Buffer, mode = 0o600): void {
  const handle = openSync(file, 'wx', mode)
  try {
    fchmodSync(handle, mode)
    writeSync(handle, content)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

/** Puts a changed file in the place of the old one as a whole: a service that reads it meanwhile sees either. */
function change(file: string, edit: (keys: Buffer) => Buffer): void {
  let keys = readFileSync(file)
  if (keys.at(-1) !== 10) keys = Buffer.concat([keys, Buffer.from('\n')])
  if (!/^([0-9a-f]{64}\n)+$/.test(keys.toString('latin1')))
    throw new Error(`${file} is not a file of root keys`)
  const edited = edit(keys)
  const next = `${file}.next`
  try {
    create(next, edited, statSync(file).mode & 0o777)
    renameSync(next, file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') rmSync(next, { force: true })
    throw error
  } finally {
    keys.fill(0)
    edited.fill(0)
  }
  syncDirectory(dirname(file))
}

function syncDirectory(dir: string): void {
  if (process.platform === 'win32') return
  const handle = openSync(dir, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

function attempt(work: () => void): void {
  try {
    work()
  } catch (error) {
    process.stderr.write(`ronctl: ${(error as Error).message}\n`)
    process.exitCode = 1
  }
}
