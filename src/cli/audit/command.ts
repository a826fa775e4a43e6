/** What the commands of `ronctl audit` share. */
import { InvalidArgumentError } from 'commander'
import { toKmsError } from '../../errors.js'

/** The log, or another file, could not be read. */
export const EXIT_UNREADABLE = 1
/** The command was called wrongly. */
export const EXIT_MISUSE = 2

/** Does the work; what keeps it from being done becomes a line and an exit code. */
export async function attempt(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (caught) {
    const system = (caught as NodeJS.ErrnoException).syscall !== undefined
    const error = system ? undefined : toKmsError(caught)
    const at = error?.field === undefined ? '' : `${error.field}: `
    process.stderr.write(`ronctl: ${at}${error?.message ?? (caught as Error).message}\n`)
    process.exitCode = error?.code === 'BadRequest' ? EXIT_MISUSE : EXIT_UNREADABLE
  }
}

/** A number of records, or the index of one. */
export function wholeNumber(text: string): number {
  const value = Number(text)
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError('must be a whole number.')
  }
  return value
}
