import type { AuditLog } from '../kms.js'
import type { Log } from '../logging/log.js'

/** How often old records are looked for. */
const EVERY_MS = 60_000

/** What is kept of an audit log, and where the rest goes. */
export interface Retention {
  /** The newest records, at least so many; 0 keeps all. */
  readonly records: number
  /** A directory on the same file system; empty to remove what is not kept. */
  readonly archive: string
  /** The first record that an export has not sent yet: it and what follows is kept. */
  readonly unsent?: () => number
}

/** Gives old files of the log up, now and from time to time; stops when it is told to. */
export function retain(
  audit: Pick<AuditLog, 'status' | 'prune'>,
  { records, archive, unsent = () => Number.POSITIVE_INFINITY }: Retention,
  log: Pick<Log, 'unexpected'>,
  everyMs = EVERY_MS,
): () => void {
  if (records === 0) return () => {}
  let busy = false
  const prune = async () => {
    if (busy) return
    busy = true
    try {
      const { kind, size } = audit.status()
      const before = Math.min(size - records, unsent())
      if (kind === 'log' && before > 0) await audit.prune(before, archive ? { archive } : {})
    } catch {
      log.unexpected({ where: 'retention of the audit log', errorName: 'KmsError' })
    } finally {
      busy = false
    }
  }
  void prune()
  const timer = setInterval(prune, everyMs)
  timer.unref()
  return () => clearInterval(timer)
}
