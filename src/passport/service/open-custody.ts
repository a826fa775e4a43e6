import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { beside } from '../../config/audit.js'
import { Kms, type KmsOptions } from '../../kms.js'
import { type Custody, LocalCustody } from './custody.js'
import { RemoteCustody } from './remote-custody.js'
import type { PassportConfig } from './settings.js'
import { readState, type State, writeState } from './state-file.js'

/** The custody, and what is remembered of its key. */
export interface Opened {
  readonly custody: Custody
  readonly state: State | undefined
  /** Remembers when the head began to sign; does nothing where nothing is kept. */
  readonly remember: (head: NonNullable<State['head']>) => void
}

/** Opens the key that settings name, or makes one where the key service is in this process and none is named. */
export async function openCustody(config: PassportConfig): Promise<Opened> {
  const { kms: wanted, store } = config
  if (wanted.url !== '') {
    const { url, capability_file: capabilityFile, key, timeout: timeoutMs } = wanted
    const custody = new RemoteCustody({ url, capabilityFile, key, timeoutMs })
    return { custody, state: undefined, remember: () => {} }
  }
  const stored = store.backend === 'file'
  if (stored) mkdirSync(store.dir, { recursive: true, mode: 0o700 })
  const kms = await Kms.open(stored ? storedIn(config) : { backend: 'inmem', audit: { log: LOG } })
  try {
    const path = join(store.dir, 'passport.json')
    const state = stored ? readState(path) : undefined
    const key = wanted.key || state?.key || (await create(kms, config))
    if (stored && state?.key !== key) writeState(path, { key })
    const custody = new LocalCustody(kms, key, store.backend)
    const remember = stored
      ? (head: State['head']) => writeState(path, { key, ...(head && { head }) })
      : () => {}
    return { custody, state: state?.key === key ? state : undefined, remember }
  } catch (error) {
    kms.close()
    throw error
  }
}

/** Names of audit logs begin with that of the package. */
const LOG = 'ron-kms/svc-passport'

async function create(kms: Kms, { kms: { tenant, purpose } }: PassportConfig): Promise<string> {
  const { kid } = await kms.createKey({ tenant, purpose, alg: 'ed25519', signs: 'message' })
  return kid.split('#')[0] ?? kid
}

function storedIn({ store: { dir }, root_key: { kind, file, env } }: PassportConfig): KmsOptions {
  return {
    backend: 'file',
    store: {
      dir: join(dir, 'keys'),
      rootKey: { kind, ...(file !== '' && { file }), ...(env !== '' && { env }) },
      // Outside of what it watches over.
      anchor: beside(dir, '.anchor'),
      create: true,
    },
    audit: { log: LOG, dir: join(dir, 'audit') },
    verifyAfterSign: true,
    onMismatch: 'verify-only',
  }
}
