import { auditDir, beside } from '../config/audit.js'
import type { Config } from '../config/schema.js'
import type { AuditLog } from '../kms.js'
import type { Log } from '../logging/log.js'
import { requireNative } from '../native.js'
import { Exporter } from './audit-export.js'
import { retain } from './retention.js'
import { type Witness, Witnesses } from './witness.js'

/** What a service does with its audit log beside writing it: old records, a receiver, witnesses. */
export class AuditDuties {
  readonly #exporter: Exporter | undefined
  readonly #witnesses: Witnesses
  readonly #retain: () => () => void
  #stopRetaining = () => {}

  /** @throws KmsError `BadRequest` for a position file that no export wrote. */
  constructor(config: Config, audit: AuditLog, log: Log) {
    const { retain_records: records, archive_dir: archive, witnesses, instance } = config.audit
    const dir = auditDir(config)
    const writes = audit.status().kind === 'log'
    const url = config.audit.export
    if (url !== '' && writes) {
      this.#exporter = new Exporter({
        log: `ron-kms/${instance}`,
        url,
        positionFile: config.audit.export_position || beside(dir, '.export'),
        open: from => new (requireNative().AuditRecords)(dir, from),
      })
    }
    this.#witnesses = new Witnesses(audit, writes ? Object.values(witnesses).filter(isWhole) : [])
    const exporter = this.#exporter
    const unsent = exporter && { unsent: () => exporter.status().next }
    this.#retain = () => retain(audit, { records, archive, ...unsent }, log)
  }

  /** Begins. */
  start(): void {
    this.#exporter?.start()
    this.#witnesses.start()
    this.#stopRetaining = this.#retain()
  }

  /** Ends. */
  async stop(): Promise<void> {
    this.#stopRetaining()
    await Promise.all([this.#exporter?.stop(), this.#witnesses.stop()])
  }

  /** The last checkpoint, with the cosignatures that there are. */
  checkpoint(): string {
    return this.#witnesses.checkpoint()
  }

  /** For metrics. */
  status() {
    return { exported: this.#exporter?.status(), witnesses: this.#witnesses.status() }
  }
}

function isWhole(witness: Partial<Witness>): witness is Witness {
  return witness.url !== undefined && witness.key !== undefined
}
