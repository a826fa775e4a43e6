import type { AuditStatus } from '../kms.js'
import type { Log } from '../logging/log.js'

/** What must hold for the service to take requests; later parts add their keys here. */
export const READY_KEYS = [
  'config_loaded',
  'listener_bound',
  'backend_ready',
  'audit_ready',
  'checkpoint_recent',
  'rng_ok',
  'clock_ok',
] as const

/** Keys that only say that something is wrong: the service goes on without them. */
const WARNINGS: ReadonlySet<string> = new Set<ReadyKey>(['clock_ok'])

/** One key of `/readyz`. */
export type ReadyKey = (typeof READY_KEYS)[number]

/** The answer to "can it work now, and if not, why not". */
export interface Readiness {
  readonly ready: boolean
  readonly missing: readonly ReadyKey[]
  /** Keys that do not hold, though the service still serves what it can. */
  readonly degraded: readonly ReadyKey[]
}

/** Evaluates the checks and logs every change of the verdict. */
export function createReadiness(checks: Record<ReadyKey, () => boolean>, log: Log): () => Readiness {
  let last: string | undefined
  return () => {
    const broken = READY_KEYS.filter(key => !holds(checks[key]))
    const missing = broken.filter(key => !WARNINGS.has(key))
    const degraded = broken.filter(key => WARNINGS.has(key))
    const ready = missing.length === 0
    const verdict = broken.join(',')
    if (verdict !== last) {
      last = verdict
      log.readyChanged({ ready, missing, degraded })
    }
    return { ready, missing, degraded }
  }
}

/** How far the wall clock may move against the monotonic one. */
const MOST_DRIFT_S = 5

/** Watches for a wall clock that is set while the service runs. */
export class ClockWatch {
  readonly #start = Date.now() - performance.now()

  /** How far the wall clock moved against the monotonic one since the start, in seconds. */
  driftSeconds(): number {
    return (Date.now() - performance.now() - this.#start) / 1000
  }

  /** Whether it was left alone, but for what synchronisation does to it. */
  isOk(): boolean {
    return Math.abs(this.driftSeconds()) <= MOST_DRIFT_S
  }
}

/** How many of its intervals a checkpoint may be late. */
const LATE_INTERVALS = 3
/** Time that making a checkpoint may take on a slow disk. */
const GRACE_MS = 5000

/** Whether the audit log takes records, where there is one, and is what it was. */
export function isAuditReady({ kind, writable, refused }: AuditStatus): boolean {
  return refused === undefined && (kind === 'off' || writable)
}

/** Whether a checkpoint covers everything, or is not much older than it may be. */
export function isCheckpointRecent(status: AuditStatus, intervalMs: number, now = Date.now()): boolean {
  const { kind, size, checkpointSize, checkpointAt } = status
  if (kind !== 'log' || size === checkpointSize) return true
  return checkpointAt !== undefined && now - checkpointAt.getTime() <= LATE_INTERVALS * intervalMs + GRACE_MS
}

function holds(check: () => boolean): boolean {
  try {
    return check()
  } catch {
    return false
  }
}
