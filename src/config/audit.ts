import type { Fault } from './faults.js'
import type { Config } from './schema.js'

/** The directory of the audit log; empty where the log is in memory, or there is none. */
export function auditDir({ service, audit, backends }: Config): string {
  if (!audit.enabled) return ''
  return audit.dir || (service.backend === 'file' ? `${backends.file.dir}/audit` : '')
}

/** A file beside a directory. */
export function beside(dir: string, ending: string): string {
  return dir.replace(/\/+$/, '') + ending
}

/** Witnesses of which something is missing. */
export function witnessFaults({ audit }: Config): Fault[] {
  return Object.entries(audit.witnesses).flatMap(([name, witness]) => {
    const missing = (['url', 'key'] as const).filter(field => !witness[field])
    return missing.map(field => ({
      key: `audit.witnesses.${name}.${field}`,
      value: 'absent',
      rule: 'a witness needs a url and its verifier key',
    }))
  })
}
