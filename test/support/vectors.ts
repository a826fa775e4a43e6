// Loads test/vectors/.
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

/** The text of a file; of a name that ends in `.gz`, decompressed. */
export function text(name: string): string {
  const bytes = readFileSync(new URL(`../vectors/${name}`, import.meta.url))
  return (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')
}

export function json<T>(name: string): T {
  return JSON.parse(text(name)) as T
}

export function hex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits, 'hex'))
}
