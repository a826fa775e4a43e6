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
}

/** Gives old files of the log up, now and from time to time; stops when it is told to. */
export function retain(
  audit: Pick<AuditLog, 'status' | 'prune'>,
  { records, archive }: Retention,
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
      if (kind === 'log' && size > records) await audit.prune(size - records, archive ? { archive } : {})
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
