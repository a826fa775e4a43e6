import { auditDir, beside } from '../config/audit.js'
import type { Config } from '../config/schema.js'
import {
  type AuditOptions,
  type FileStoreOptions,
  Kms,
  type Pkcs11Options,
  type RootKeyOptions,
} from '../kms.js'

/** Opens the key service that settings ask for. */
export function openKms(config: Config): Promise<Kms> {
  const { service, security, destroy } = config
  const { backend } = service
  const audit = auditOf(config)
  return Kms.open({
    backend,
    ...(backend !== 'inmem' && { store: storeOf(config) }),
    ...(backend === 'pkcs11' && { pkcs11: tokenOf(config) }),
    ...(service.multi_backends.length > 0 && { multiBackends: service.multi_backends }),
    allowSignFallback: service.allow_sign_fallback,
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

function tokenOf({ backends, security, audit }: Config): Pkcs11Options {
  const { module_path, slot_label, pin_env, max_sessions, queue, keep_alive, ...rest } = backends.pkcs11
  return {
    ...{ modulePath: module_path, slotLabel: slot_label, pinEnv: pin_env },
    ...{ maxSessions: max_sessions, queue, keepAliveMs: keep_alive, idleCloseMs: rest.idle_close },
    ...{ tripAfter: rest.trip_after, backoffFirstMs: rest.backoff_first, backoffMostMs: rest.backoff_most },
    ...{ deadlineMs: rest.deadline, openDeadlineMs: rest.open_deadline },
    attestRequire: security.attest_require,
    verifyCacheTtlMs: audit.verify_cache_ttl_ms,
  }
}

function auditOf(config: Config): AuditOptions | undefined {
  const { service, audit, backends, pq } = config
  if (!audit.enabled) return undefined
  const stored = service.backend !== 'inmem'
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
    sealing: audit.sealing,
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
export function rootKeyOf({ service, root_key: { kind, file, env } }: Config): RootKeyOptions {
  // With a token the root key is in it, unless another is given.
  if (kind === 'hsm' || (service.backend === 'pkcs11' && file === '' && env === '')) return { kind: 'hsm' }
  return { kind, ...(file !== '' && { file }), ...(env !== '' && { env }) }
}
