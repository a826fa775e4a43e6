import { auditDir, beside } from '../config/audit.js'
import type { Config } from '../config/schema.js'
import { type AuditOptions, type FileStoreOptions, Kms, type RootKeyOptions } from '../kms.js'

/** Opens the key service that settings ask for. */
export function openKms(config: Config): Promise<Kms> {
  const { service, security, destroy } = config
  const { backend } = service
  const audit = auditOf(config)
  return Kms.open({
    backend,
    ...(backend === 'file' && { store: storeOf(config) }),
    ...(audit && { audit }),
    onMismatch: 'verify-only',
    allowedAlgs: [...service.allowed_algs],
    verifyAfterSign: security.verify_after_sign,
    minDestroyDelayMs: destroy.min_delay,
    requireMlock: security.require_mlock,
    allowImport: security.allow_import,
  })
}

function storeOf(config: Config): FileStoreOptions {
  const { dir, accept_older } = config.backends.file
  return {
    dir,
    rootKey: rootKeyOf(config),
    anchor: anchorOf(config, dir),
    create: true,
    acceptOlder: accept_older,
  }
}

function auditOf(config: Config): AuditOptions | undefined {
  const { service, audit, backends, pq } = config
  if (!audit.enabled) return undefined
  const stored = service.backend === 'file'
  const dir = auditDir(config)
  return {
    log: `ron-kms/${audit.instance}`,
    ...(dir !== '' && { dir }),
    ...(dir !== '' && !stored && { rootKey: rootKeyOf(config), anchor: anchorOf(config, dir) }),
    durability: audit.durability,
    onFull: audit.on_full,
    flushIntervalMs: audit.flush_interval,
    checkpointIntervalOps: audit.checkpoint_interval_ops,
    checkpointIntervalMs: audit.checkpoint_interval,
    verify: audit.verify,
    hybrid: pq.produce_hybrid && service.allowed_algs.includes('ml-dsa'),
    keyGeneration: audit.key_generation,
    acceptKeys: audit.accept_keys,
    acceptOlder: audit.accept_older || backends.file.accept_older,
  }
}

/** Beside the directory that it watches over, unless it was put elsewhere. */
function anchorOf({ audit }: Config, dir: string): string {
  return audit.anchor || beside(dir, '.anchor')
}

/** What opens the store, or gives the audit keys. */
export function rootKeyOf({ root_key: { kind, file, env } }: Config): RootKeyOptions {
  return { kind, ...(file !== '' && { file }), ...(env !== '' && { env }) }
}
