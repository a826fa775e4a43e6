/** The files that the demo signs. */
import { opendir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { blake3 } from '../../primitives.js'

/** Files above this are passed over, so that the demo needs little memory: 64 MiB. */
const MAX_FILE_BYTES = 64 * 2 ** 20

/** A file by path and content. */
export interface HashedFile {
  readonly path: string
  /** BLAKE3-256 of the content, in hex. */
  readonly digest: string
}

/** Every regular file below `dir`, in no set order. Links and what may not be listed are passed over. */
export async function listFiles(dir: string): Promise<string[]> {
  const files: string[] = []
  const folders = [dir]
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const entries = await opendir(folder).catch((error: unknown) => {
      if (folder === dir) throw error
      return []
    })
    for await (const entry of entries) {
      const path = join(folder, entry.name)
      if (entry.isDirectory()) folders.push(path)
      else if (entry.isFile()) files.push(path)
    }
  }
  return files
}

/** Hashes a file; `undefined` where it is too large, gone or not readable. */
export async function hashFile(path: string, flipBit = false): Promise<HashedFile | undefined> {
  try {
    if ((await stat(path)).size > MAX_FILE_BYTES) return undefined
    const content = await readFile(path)
    if (flipBit && content[0] !== undefined) content[0] ^= 1
    return { path, digest: hex(blake3(content)) }
  } catch {
    return undefined
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}
