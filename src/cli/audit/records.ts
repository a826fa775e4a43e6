/** `ronctl audit tail` and `ronctl audit export`. */
import { fstatSync, fsyncSync } from 'node:fs'
import { Command } from 'commander'
import type { AuditLines } from '../../../index.js'
import { readPosition, writePosition } from '../../export-position.js'
import { requireNative } from '../../native.js'
import { attempt, wholeNumber } from './command.js'

/** Bytes of lines that are read, written and remembered at a time. */
const BATCH = 1024 * 1024
/** Milliseconds between two looks for new records. */
const POLL = 200
/** Looks at a record that cannot be read, before it counts as damaged: it may be pruned just now. */
const LOOKS = 3
const EXIT_TORN = 3
const EXIT_DAMAGED = 4

const EXIT_CODES = `
Exit codes: 0 all was printed, Ctrl-C, or nobody reads any more; 1 nothing could be read;
2 called wrongly; 3 the log ends in a torn record; 4 a record is damaged (run verify).`

interface Source {
  read(most: number): Promise<AuditLines>
}

export function tailCommand(): Command {
  return new Command('tail')
    .description('print the last records as JSON lines')
    .argument('<dir>', 'the directory of the log')
    .option('-n, --lines <n>', 'how many', wholeNumber, 10)
    .option('-f, --follow', 'go on with what a service writes')
    .addHelpText('after', EXIT_CODES)
    .action((dir: string, { lines, follow = false }: { lines: number; follow?: boolean }) =>
      attempt(async () => {
        const { AuditRecords } = requireNative()
        await print(new AuditRecords(dir, undefined, lines), { follow })
      }),
    )
}

interface ExportFlags {
  from?: number
  follow?: boolean
  positionFile?: string
}

export function exportCommand(): Command {
  return new Command('export')
    .description('print all records as JSON lines')
    .argument('<dir>', 'the directory of the log')
    .option('--from <seq>', 'begin with this record', wholeNumber)
    .option('-f, --follow', 'go on with what a service writes')
    .option('--position-file <file>', 'remember there what was printed, and go on from there')
    .addHelpText(
      'after',
      `
The position is written after the records, so that after a crash some are printed again and none is
left out. --from counts where there is no position file yet.
${EXIT_CODES}`,
    )
    .action((dir: string, { from, follow = false, positionFile }: ExportFlags) =>
      attempt(async () => {
        const position = positionFile === undefined ? undefined : readPosition(positionFile)
        const start = position ?? from ?? 0
        const { AuditRecords } = requireNative()
        await print(new AuditRecords(dir, start), {
          follow,
          start,
          ...(positionFile !== undefined && { taken: (next: number) => remember(positionFile, next) }),
        })
      }),
    )
}

interface Printing {
  follow: boolean
  /** The record that was asked for first. */
  start?: number
  /** Told the index of the next record once those before were written. */
  taken?: (next: number) => void
}

async function print(records: Source, { follow, start, taken }: Printing): Promise<void> {
  const stop = stopSignal()
  let expected = start
  let looks = 0
  let warned = false
  try {
    while (!stop.stopped) {
      const { lines, first, next, broken, torn } = await records.read(BATCH)
      if (lines !== '') {
        if (expected !== undefined && first > expected) note(`records ${expected} to ${first - 1} are pruned`)
        if (!(await write(lines))) return
        taken?.(next)
        expected = next
        looks = 0
        continue
      }
      if (broken !== undefined && !(follow && torn)) {
        looks++
        if (!follow || looks === LOOKS) {
          note(broken)
          process.exitCode = torn ? EXIT_TORN : EXIT_DAMAGED
          return
        }
      } else if (broken !== undefined && !warned) {
        warned = true
        note(`${broken}; waiting for the service to start`)
      }
      if (!follow) return
      await stop.wait(POLL)
    }
  } finally {
    stop.end()
  }
}

/** Ctrl-C and SIGTERM end the work between two batches. */
function stopSignal() {
  let wake: (() => void) | undefined
  const state = {
    stopped: false,
    wait: (milliseconds: number) =>
      new Promise<void>(resolve => {
        const timer = setTimeout(resolve, milliseconds)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
        if (state.stopped) wake()
      }),
    end: () => {
      process.off('SIGINT', stop)
      process.off('SIGTERM', stop)
    },
  }
  const stop = () => {
    state.stopped = true
    wake?.()
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  return state
}

/** Whether the text was taken; no once nobody reads any more. */
function write(text: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => {
      if ((error as NodeJS.ErrnoException).code === 'EPIPE') resolve(false)
      else reject(error)
    }
    process.stdout.once('error', failed)
    process.stdout.write(text, error => {
      // After a failure the event is still to come.
      if (error) return failed(error)
      process.stdout.off('error', failed)
      resolve(true)
    })
  })
}

/** Remembers the next record, after what was printed is on disk where it went to a file. */
function remember(file: string, next: number): void {
  if (fstatSync(1).isFile()) fsyncSync(1)
  writePosition(file, next)
}

function note(text: string): void {
  process.stderr.write(`ronctl: ${text}\n`)
}
