// A small disk that can be filled to the last page.
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What a file takes, in bytes: it takes whole ones. */
const PAGE = 4096

const uid = process.getuid?.() ?? 0
const asRoot = (...command: string[]) =>
  execFileSync(uid === 0 ? (command[0] as string) : 'sudo', uid === 0 ? command.slice(1) : ['-n', ...command])

/** A file system in memory, of a fixed size. For the superuser, or with sudo. */
export class SmallDisk {
  readonly dir: string
  readonly #filler: string

  constructor(bytes: number) {
    this.dir = mkdtempSync(join(tmpdir(), 'ron-kms-disk-'))
    this.#filler = join(this.dir, 'filler')
    asRoot('mount', '-t', 'tmpfs', '-o', `size=${bytes},mode=700,uid=${uid}`, 'ron-kms-chaos', this.dir)
  }

  get freePages(): number {
    return statfsSync(this.dir).bfree
  }

  /** Leaves this many pages. */
  fillUp(free = 0): void {
    const file = openSync(this.#filler, 'a')
    for (let left = this.freePages - free; left > 0; left = this.freePages - free) {
      writeSync(file, Buffer.alloc(PAGE * Math.min(left, 1024)))
    }
    fsyncSync(file)
    closeSync(file)
  }

  /** Gives everything back. */
  empty(): void {
    truncateSync(this.#filler, 0)
  }

  /** Nothing can be written to it from now on. */
  lock(): void {
    asRoot('mount', '-o', 'remount,ro', this.dir)
  }

  remove(): void {
    asRoot('umount', '-l', this.dir)
    rmSync(this.dir, { recursive: true })
  }
}
