import { statfsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { type Fault, show } from './faults.js'
import type { Config } from './schema.js'

/** The directory of the audit log; empty where the log is in memory, or there is none. */
export function auditDir({ service, audit, backends }: Config): string {
  if (!audit.enabled) return ''
  return audit.dir || (service.backend === 'inmem' ? '' : `${backends.file.dir}/audit`)
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

/** A log that no device could seal, as far as that can be seen without asking one. */
export function sealingFaults({ service, audit }: Config): Fault[] {
  if (audit.sealing === 'software') return []
  const fault = (rule: string) => [{ key: 'audit.sealing', value: 'attested', rule }]
  if (!audit.enabled) return fault('contradicts audit.enabled = false')
  if (service.backend === 'pkcs11') return []
  return fault(
    'needs service.backend = pkcs11, with a token that makes Ed25519 keys (a TPM is not in this version)',
  )
}

/** Types of file systems that are in RAM, as statfs(2) names them. */
const TMPFS = 0x0102_1994
const RAMFS = 0x8584_58f6

/** A log that would outlive a process that must leave nothing behind. */
export function amnesiaFaults({ service, audit }: Config): Fault[] {
  if (!service.amnesia || !audit.enabled || audit.dir === '' || isInRam(audit.dir)) return []
  const rule = 'must be absent, or on a tmpfs or ramfs, with service.amnesia'
  return [{ key: 'audit.dir', value: show(audit.dir), rule }]
}

function isInRam(dir: string): boolean {
  let path = resolve(dir)
  for (;;) {
    try {
      const { type } = statfsSync(path)
      return process.platform === 'linux' && (type === TMPFS || type === RAMFS)
    } catch {
      // What is not there yet will be on the file system of the nearest directory that is.
      const parent = dirname(path)
      if (parent === path) return false
      path = parent
    }
  }
}
