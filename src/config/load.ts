import { ABSENT } from './absent.js'
import { amnesiaFaults, sealingFaults, witnessFaults } from './audit.js'
import { capabilityFaults } from './capability.js'
import { type Fault, show } from './faults.js'
import { formatAddress } from './kinds.js'
import { type LoadedSettings, mergeSettings, type SettingSources } from './merge.js'
import { hsmFaults, tokenFaults } from './pkcs11.js'
import { pqContradictions } from './pq.js'
import { type Config, KEYS, type Key, OTHER_VARIABLES, SCHEMA } from './schema.js'
import { tlsFaults } from './tls.js'
import { udsFaults } from './uds.js'
import { workersFaults } from './workers.js'

/** Where settings come from. `--dev`: keys in memory only, whatever the environment or the file says. */
export type Sources = SettingSources<Key>

/** The settings, or every reason why there are none. */
export type Loaded = LoadedSettings<Key, Config>

const DEV_PRESET: Partial<Record<Key, string>> = { 'service.backend': 'inmem', 'service.amnesia': 'true' }

const TABLE = {
  keys: KEYS,
  rows: SCHEMA,
  absent: ABSENT,
  prefix: 'RON_KMS_',
  fileVariable: { name: 'RON_KMS_CONFIG', aliases: ['RON_CONFIG'] },
  otherVariables: OTHER_VARIABLES,
  secretVariables: ['root_key.env', 'backends.pkcs11.pin_env', 'capability.root_key_env'],
  // Development mode bounds nothing that a newcomer would run into.
  devDefaults: { 'security.sign_rate_limit_rps': '0' },
} as const

/** The settings of `ron-kms`: flags over environment over file over defaults, each checked, and together. */
export function loadConfig(sources: Sources): Loaded {
  const { env, flags = {}, dev = false } = sources
  // Development mode forgets its keys, unless it is told on the command line to keep them.
  const durable = flags['service.backend'] === 'file' || flags['service.backend'] === 'pkcs11'
  const table = { ...TABLE, devPreset: durable ? {} : DEV_PRESET }
  return mergeSettings<Key, Config>(table, sources, config => [
    ...addressClash(config),
    ...custodyFaults(config),
    ...pqContradictions(config.pq),
    ...witnessFaults(config),
    ...amnesiaFaults(config),
    ...sealingFaults(config),
    ...tlsFaults(config),
    ...udsFaults(config),
    ...tokenFaults(config, env),
    ...capabilityFaults(config, dev),
    ...workersFaults(config, config.workers),
  ])
}

function addressClash({ bind_addr, metrics_addr }: Config): Fault[] {
  const metrics = formatAddress(metrics_addr)
  if (metrics_addr.port === 0 || metrics !== formatAddress(bind_addr)) return []
  return [{ key: 'metrics_addr', value: metrics, rule: 'must differ from bind_addr' }]
}

function custodyFaults({ service, root_key: rootKey }: Config): Fault[] {
  const { backend } = service
  if (backend === 'inmem') return []
  if (service.amnesia) {
    return [{ key: 'service.amnesia', value: 'true', rule: `contradicts service.backend = ${backend}` }]
  }
  if (rootKey.kind === 'hsm') return hsmFaults(backend, rootKey)
  if ((rootKey.file === '') !== (rootKey.env === '')) return []
  // Then it is in the token.
  if (backend === 'pkcs11' && rootKey.file === '') return []
  const rule =
    'this or root_key.env is needed with service.backend = file, and not both: `ronctl root-key new FILE` makes one'
  return [{ key: 'root_key.file', value: show(rootKey.file), rule }]
}
