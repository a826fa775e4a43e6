import { capabilityFaults } from '../../config/capability.js'
import { type Fault, show } from '../../config/faults.js'
import { formatAddress } from '../../config/kinds.js'
import { type LoadedSettings, mergeSettings, type SettingSources } from '../../config/merge.js'
import { tlsFaults } from '../../config/tls.js'
import { udsFaults } from '../../config/uds.js'
import { KEYS, type Key, OTHER_VARIABLES, type PassportConfig, SCHEMA } from './settings.js'

/** Where settings come from. `--dev`: the key in memory only, whatever the environment or the file says. */
export type Sources = SettingSources<Key>

/** The settings, or every reason why there are none, and the old names that were used. */
export type Loaded = LoadedSettings<Key, PassportConfig>

const TABLE = {
  keys: KEYS,
  rows: SCHEMA,
  prefix: 'PASSPORT_',
  fileVariable: { name: 'PASSPORT_CONFIG_FILE', aliases: ['PASSPORT_CONFIG'] },
  otherVariables: OTHER_VARIABLES,
  secretVariables: ['root_key.env', 'capability.root_key_env'],
  devPreset: { 'store.backend': 'inmem' },
} as const

/** The settings of `svc-passport`: flags over environment over file over defaults, each checked, and together. */
export function loadConfig(sources: Sources): Loaded {
  return mergeSettings<Key, PassportConfig>(TABLE, sources, config => [
    ...limitFaults(config),
    ...custodyFaults(config),
    ...capabilityFaults(config, sources.dev === true),
    ...addressFaults(config),
    ...tlsFaults(config),
    ...udsFaults(config),
  ])
}

function limitFaults({ passport, verify }: PassportConfig): Fault[] {
  const faults: Fault[] = []
  const below = (key: Key, value: number, other: Key, most: number) => {
    if (value > most) faults.push({ key, value: String(value), rule: `must not be above ${other}` })
  }
  below('passport.default_ttl_s', passport.default_ttl_s, 'passport.max_ttl_s', passport.max_ttl_s)
  below('verify.target_batch', verify.target_batch, 'verify.max_batch', verify.max_batch)
  return faults
}

function custodyFaults({ kms, store, root_key: rootKey }: PassportConfig): Fault[] {
  if (kms.url !== '') {
    const needed = { 'kms.capability_file': kms.capability_file, 'kms.key': kms.key }
    return Object.entries(needed)
      .filter(([, value]) => value === '')
      .map(([key]) => ({ key, value: show(''), rule: 'is needed with kms.url' }))
  }
  if (store.backend === 'inmem') {
    if (kms.key === '') return []
    return [
      {
        key: 'kms.key',
        value: show(kms.key),
        rule: 'names no key of store.backend = inmem, which makes one',
      },
    ]
  }
  if ((rootKey.file === '') !== (rootKey.env === '')) return []
  const rule =
    'this or root_key.env is needed with store.backend = file, and not both: `ronctl root-key new FILE` makes one'
  return [{ key: 'root_key.file', value: show(rootKey.file), rule }]
}

function addressFaults({ bind_addr, admin_addr }: PassportConfig): Fault[] {
  if (admin_addr === null || admin_addr.port === 0) return []
  const admin = formatAddress(admin_addr)
  return admin === formatAddress(bind_addr)
    ? [{ key: 'admin_addr', value: admin, rule: 'must differ from bind_addr, or be empty' }]
    : []
}
