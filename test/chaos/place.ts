// A directory for one case: store, anchor and root key, each where an operator would have it.
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Where a store is, with all that opens it. */
export class Place {
  /** The files under test; those of the harness lie beside it. */
  readonly dir: string

  private constructor(dir: string) {
    this.dir = dir
  }

  /** A new one, without a store. */
  static make(parent: string = tmpdir()): Place {
    const place = Place.#empty(parent)
    mkdirSync(place.at('beside'))
    writeFileSync(place.at('root.key'), Buffer.alloc(32, 7), { mode: 0o600 })
    return place
  }

  /** The same files elsewhere, times of change included. */
  copy(parent: string = tmpdir()): Place {
    const copy = Place.#empty(parent)
    cpSync(this.dir, copy.dir, { recursive: true, preserveTimestamps: true })
    return copy
  }

  /** Puts one of its directories into another place. */
  copyTo(name: string, other: Place): void {
    cpSync(this.at(name), other.at(name), { recursive: true, preserveTimestamps: true })
  }

  /** What a key service is opened with. */
  store(): Record<string, unknown> {
    return {
      dir: this.at('store'),
      rootKey: { kind: 'key-file', file: this.at('root.key') },
      anchor: this.at('beside', 'anchor'),
      create: true,
    }
  }

  /** A path among the files under test. */
  at(...names: string[]): string {
    return join(this.dir, ...names)
  }

  /** A path for a file of the harness. */
  beside(name: string): string {
    return join(this.dir, '..', name)
  }

  remove(): void {
    rmSync(this.beside(''), { recursive: true, force: true })
  }

  static #empty(parent: string): Place {
    const dir = join(mkdtempSync(join(parent, 'ron-kms-chaos-')), 'files')
    mkdirSync(dir)
    return new Place(dir)
  }
}
