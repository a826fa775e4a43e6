// Rekey, backup and restore as an operator runs them, under faults: `ronctl store …` on a store that no service has open.
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { drive, type Ended } from './driver.js'
import type { Place } from './place.js'
import type { Hit, Subject } from './sweep.js'
import {
  backUp,
  filesIn,
  headerSize,
  type KeptStore,
  moveOffline,
  refusal,
  restore,
  rootKeyInForce,
} from './upkeep-store.js'

const RONCTL = fileURLToPath(new URL('../../dist/cli/ronctl.js', import.meta.url))
export const NO_STORE = 'there is no key store in this directory'

/** A refusal that leaves open whether something was put in place. */
const IN_DOUBT = /left the outcome open/
/** What a rekey says that failed past its first step. */
export const IN_FORCE = /the new root key is in force/

abstract class Upkeep implements Subject<Ended> {
  abstract readonly name: string
  readonly threads = ['main']
  readonly template: Place
  protected readonly store: KeptStore

  constructor(store: KeptStore) {
    this.store = store
    this.template = store.template.copy()
  }

  live(place: Place, _thread: string, strace: readonly string[]): Promise<Ended> {
    const command = [process.execPath, RONCTL, 'store', ...this.arguments(place)]
    return drive({ command: [...command, '--root-key-file', place.at('root.key')], strace })
  }

  async judge(place: Place, ended: Ended, fault: Hit): Promise<readonly string[]> {
    return [...judgeEnd(ended, fault), ...(await this.after(place, ended))]
  }

  remove(): void {
    this.template.remove()
  }

  protected abstract arguments(place: Place): readonly string[]
  protected abstract after(place: Place, ended: Ended): Promise<readonly string[]>
}

/** A store is moved from one root key to another. */
export class RekeySubject extends Upkeep {
  readonly name = 'rekey'

  protected arguments(place: Place): readonly string[] {
    const anchor = place.at('beside', 'anchor')
    return ['rekey', place.at('store'), '--new-root-key-file', place.at('next.key'), '--anchor', anchor]
  }

  protected async after(place: Place, { code, signal, stderr }: Ended): Promise<readonly string[]> {
    const opens = rootKeyInForce(place, 'store')
    if (typeof opens !== 'string') return opens
    const faults: string[] = []
    const isMoved = opens === 'next.key'
    const isOpen = signal !== null || (IN_DOUBT.test(stderr) && !IN_FORCE.test(stderr))
    if (!isOpen && isMoved !== (code === 0 || IN_FORCE.test(stderr)))
      faults.push(`${opens} opens it, and the operator was told ${code}: ${stderr}`)
    faults.push(...(await this.store.judge(place, opens)))
    // The start has ended what the rekey began, or the next rekey does; it is taken either way.
    const again = refusal(() => moveOffline(place, opens, 'next.key'))
    if (again !== undefined) faults.push(`a rekey after it is refused: ${again}`)
    else if (rootKeyInForce(place, 'store') !== 'next.key') faults.push('a rekey after it did nothing')
    if (headerSize(place) !== headerSize(this.template)) faults.push('a rekey is not finished')
    return faults
  }
}

/** A store is copied. */
export class BackupSubject extends Upkeep {
  readonly name = 'backup'

  protected arguments(place: Place): readonly string[] {
    return ['backup', place.at('store'), place.at('backup'), '--anchor', place.at('beside', 'anchor')]
  }

  protected async after(place: Place, ended: Ended): Promise<readonly string[]> {
    const faults = [...(await this.store.judge(place, 'root.key'))]
    faults.push(...(await judgeCopy(this.store, place, ended, 'backup', 'restored')))
    rmSync(place.at('backup'), { recursive: true, force: true })
    const again = refusal(() => backUp(place, 'backup'))
    if (again !== undefined) faults.push(`a backup after it is refused: ${again}`)
    return faults
  }
}

/** A backup is copied back, to where the store was lost. */
export class RestoreSubject extends Upkeep {
  readonly name = 'restore'

  constructor(store: KeptStore) {
    super(store)
    backUp(this.template, 'backup')
    rmSync(this.template.at('store'), { recursive: true })
  }

  protected arguments(place: Place): readonly string[] {
    return ['restore', place.at('backup'), place.at('store')]
  }

  protected async after(place: Place, ended: Ended): Promise<readonly string[]> {
    const faults: string[] = []
    if (!isDeepStrictEqual(filesIn(place, 'backup'), filesIn(this.template, 'backup')))
      faults.push('the backup was changed')
    faults.push(...(await judgeCopy(this.store, place, ended, 'store', 'copy')))
    rmSync(place.at('store'), { recursive: true, force: true })
    const again = refusal(() => restore(place, 'backup', 'store'))
    if (again !== undefined) faults.push(`a restore after it is refused: ${again}`)
    else faults.push(...(await this.store.judgeCopy(place, 'store', 'root.key')))
    return faults
  }
}

/** What was to be a whole copy: it is one, or is no store at all and is taken for none. */
async function judgeCopy(
  store: KeptStore,
  place: Place,
  { code, signal, stderr }: Ended,
  dir: string,
  restored: string,
): Promise<readonly string[]> {
  const why = refusal(() => restore(place, dir, restored))
  if (why === undefined) {
    const isTold = code === 0 || signal !== null || IN_DOUBT.test(stderr)
    const untold = isTold ? [] : [`${dir} is whole, and the operator was told: ${stderr}`]
    return [...untold, ...(await store.judgeCopy(place, restored, 'root.key'))]
  }
  const faults: string[] = []
  if (code === 0) faults.push(`${dir} was acknowledged, and is refused: ${why}`)
  if (why !== NO_STORE) faults.push(`${dir} is refused otherwise: ${why}`)
  if (existsSync(place.at(restored)) && readdirSync(place.at(restored)).length > 0)
    faults.push(`${restored} is not empty`)
  return faults
}

function judgeEnd({ code, signal, stderr }: Ended, { fault }: Hit): readonly string[] {
  if (fault === 'kill') return signal === 'SIGKILL' ? [] : [`it was not killed: ${code} ${stderr}`]
  const isTyped = code === 2 && /^ronctl: [^\n]{10,300}$/.test(stderr) && !stderr.includes('panic')
  return isTyped || (code === 0 && stderr === '') ? [] : [`it ended with ${code}: ${stderr}`]
}
