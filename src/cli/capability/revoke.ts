import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs'
import { isUuid } from '../../ids.js'

/** Adds an id to a list, which is made where it is missing, and syncs it. The services look at it once a second. */
export function revoke(list: string, id: string): void {
  if (!isUuid(id) || id !== id.toLowerCase())
    throw new Error('an id is a UUID, as `ronctl cap inspect` shows it')
  const handle = openSync(list, 'a+', 0o644)
  try {
    const { size } = fstatSync(handle)
    const last = Buffer.alloc(1, '\n')
    if (size > 0) readSync(handle, last, 0, 1, size - 1)
    // One write: a reader sees the line whole.
    writeSync(handle, `${last.toString() === '\n' ? '' : '\n'}${id}\n`)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
