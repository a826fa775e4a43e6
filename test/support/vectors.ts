// Loads test/vectors/.
import { readFileSync } from 'node:fs'

export function text(name: string): string {
  return readFileSync(new URL(`../vectors/${name}`, import.meta.url), 'utf8')
}

export function json<T>(name: string): T {
  return JSON.parse(text(name)) as T
}

export function hex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits, 'hex'))
}
