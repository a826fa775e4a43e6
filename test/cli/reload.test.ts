// The order of a reload: what may fail comes first, and what failed leaves nothing behind.
import { describe, expect, it } from 'vitest'
import { liveRootKey, Reloader, type ReloadParts } from '../../src/cli/reload.js'
import { type Loaded, loadConfig } from '../../src/config/load.js'
import { type Config, type Key, SCHEMA } from '../../src/config/schema.js'
import { KmsError } from '../../src/errors.js'
import { ReloadError } from '../../src/server/api-listeners.js'

type Flags = Partial<Record<Key, string>>

const FILE: Flags = { 'service.backend': 'file', 'root_key.file': 'first.key' }
const read = (flags: Flags): Loaded => loadConfig({ dev: true, env: {}, flags })

/** A reloader over a service that only notes what is done to it, in order. */
function reloaderOf(
  first: Flags,
  fails: { prepare?: Error; roots?: Error; rekey?: Error; commit?: Error } = {},
) {
  const done: string[] = []
  const said: unknown[] = []
  let inForce: Config | undefined
  let wished = first
  const store = {
    async rekey() {
      if (fails.rekey) throw fails.rekey
      done.push('rekey')
    },
  }
  const parts: ReloadParts<Key, Config> = {
    rows: SCHEMA,
    also: liveRootKey(store, { storeRekeyed: () => done.push('rekeyed') }),
    service: {
      prepare(config) {
        if (fails.prepare) throw fails.prepare
        done.push('prepare')
        return {
          async commit() {
            if (fails.commit) throw fails.commit
            inForce = config
            done.push('commit')
          },
          abort: () => done.push('abort'),
        }
      },
    },
    capabilities: {
      reload() {
        if (fails.roots) throw fails.roots
      },
    },
    log: {
      configRefused: event => said.push(event),
      configReloaded: event => said.push(event),
    },
    load: () => read(wished),
  }
  const { config, origins } = read(first)
  if (!config) throw new Error('the settings of this test are refused')
  const reloader = new Reloader(parts, { config, origins })
  const reload = (flags: Flags) => {
    wished = flags
    return reloader.reload()
  }
  return { done, said, reload, inForce: () => inForce }
}

describe('a reload', () => {
  it('moves the store before it commits, and keeps what needs a restart as it was', async () => {
    const { done, said, reload, inForce } = reloaderOf(FILE)
    await reload({ ...FILE, 'root_key.file': 'second.key', max_conns: '9', bind_addr: '127.0.0.1:1' })
    expect(done).toEqual(['prepare', 'rekey', 'rekeyed', 'commit'])
    expect(inForce()).toMatchObject({
      max_conns: 9,
      bind_addr: { port: 9446 },
      root_key: { file: 'second.key' },
    })
    expect(said).toEqual([
      {
        version: 2,
        changed: [
          { key: 'max_conns', from: '1024', to: '9' },
          { key: 'root_key.file', from: 'first.key', to: 'second.key' },
        ],
        restartNeeded: ['bind_addr'],
      },
    ])
  })

  it('drops what it prepared where the store cannot be moved', async () => {
    const rekey = new KmsError('BadRequest', 'the root key cannot be read')
    const { done, said, reload, inForce } = reloaderOf(FILE, { rekey })
    await reload({ ...FILE, 'root_key.file': 'second.key', max_conns: '9' })
    expect(done).toEqual(['prepare', 'abort'])
    expect(said).toEqual([{ faults: 1, first: 'root_key: the root key cannot be read' }])
    expect(inForce()).toBeUndefined()
  })

  it('touches no store where the root keys of capabilities cannot be read', async () => {
    const roots = new KmsError('BadRequest', 'cannot be read', { field: 'capability.root_key_file' })
    const { done, said, reload, inForce } = reloaderOf(FILE, { roots })
    await reload({ ...FILE, 'root_key.file': 'second.key' })
    expect(done).toEqual(['prepare', 'abort'])
    expect(said).toEqual([{ faults: 1, first: 'capability.root_key_file: cannot be read' }])
    expect(inForce()).toBeUndefined()
  })

  it('touches no store where something else is at fault', async () => {
    const faults = [{ key: 'tls.key_path', value: 'key.pem', rule: 'cannot be read (ENOENT)' }]
    const { done, said, reload } = reloaderOf(FILE, { prepare: new ReloadError(faults) })
    await reload({ ...FILE, 'root_key.file': 'second.key' })
    await reload({ ...FILE, max_conns: 'many', read_timeout: 'soon' })
    expect(done).toEqual([])
    expect(said).toEqual([
      { faults: 1, first: 'config: tls.key_path = key.pem: cannot be read (ENOENT)' },
      { faults: 2, first: expect.stringMatching(/^config: max_conns = many: /) },
    ])
  })

  it('goes on to the next one after one that broke', async () => {
    const { done, said, reload } = reloaderOf({}, { commit: new Error('secret') })
    await reload({ max_conns: '9' })
    await reload({ max_conns: '9' })
    expect(done).toEqual(['prepare', 'abort', 'prepare', 'abort'])
    expect(said).toEqual([
      { faults: 1, first: 'unexpected failure' },
      { faults: 1, first: 'unexpected failure' },
    ])
  })

  it('leaves the root key of a log in memory for a restart', async () => {
    const { done, said, reload } = reloaderOf({})
    await reload({ 'root_key.file': 'second.key' })
    expect(done).toEqual(['prepare', 'commit'])
    expect(said).toEqual([{ version: 2, changed: [], restartNeeded: ['root_key.file'] }])
  })
})
