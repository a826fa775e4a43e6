import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { KmsError } from '../../errors.js'

/** What a service remembers of its key from one start to the next. */
export interface State {
  /** The key, without a version. */
  readonly key: string
  /** The version that signs, and when it was first seen to, in Unix milliseconds. */
  readonly head?: { readonly version: number; readonly since: number }
}

/** Reads the state; `undefined` where there is none yet. */
export function readState(path: string): State | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new KmsError('StoreUnavailable', 'the state file cannot be read', { cause: error })
  }
  try {
    const state = JSON.parse(text) as State
    if (typeof state.key === 'string') return state
  } catch {
    // Refused below.
  }
  throw new KmsError('StoreUnavailable', 'the state file is damaged: set kms.key and remove it')
}

/** Replaces the state as a whole: a crash leaves the old one or the new one. */
export function writeState(path: string, state: State): void {
  const beside = `${path}.new`
  const file = openSync(beside, 'w', 0o600)
  try {
    writeSync(file, `${JSON.stringify(state)}\n`)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(beside, path)
}
