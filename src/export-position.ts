/** The file that remembers which record of an audit log is exported next. */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { KmsError } from './errors.js'

/**
 * The index in the file; `undefined` where there is none yet.
 *
 * @throws KmsError `BadRequest` for a file that holds anything else.
 */
export function readPosition(file: string): number | undefined {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  if (!/^\d{1,15}\n$/.test(text)) {
    throw new KmsError('BadRequest', 'is no file that an export wrote', { field: 'position-file' })
  }
  return Number(text)
}

/** Replaces the file whole. */
export function writePosition(file: string, next: number): void {
  const temp = `${file}.tmp`
  const handle = openSync(temp, 'w', 0o600)
  try {
    writeSync(handle, `${next}\n`)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
  renameSync(temp, file)
}
