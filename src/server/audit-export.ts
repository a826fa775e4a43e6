import { setTimeout } from 'node:timers/promises'
import type { AuditRecords } from '../../index.js'
import { readPosition, writePosition } from '../export-position.js'

/** What is exported, and where to. */
export interface Export {
  /** The log's name, told to the receiver. */
  readonly log: string
  /** Takes JSON lines by POST, and answers 2xx once it has them. */
  readonly url: string
  /** The file that remembers which record comes next. */
  readonly positionFile: string
  /** Reads the log from a record on. */
  readonly open: (from: number) => Pick<AuditRecords, 'read'>
}

/** How the export is. */
export interface ExportStatus {
  /** The first record that the receiver does not have. */
  readonly next: number
  readonly failures: number
}

/** How often the end of the log is looked at: a record leaves within a second. */
const EVERY_MS = 500
const TIMEOUT_MS = 10_000
const LONGEST_WAIT_MS = 60_000
/** Bytes of JSON in one request, about. */
const MOST_BYTES = 1024 * 1024

/**
 * Sends every record of the log to a receiver, in order and at least once: the position moves after the receiver has
 * answered. It reads the log's files beside the service, so a slow receiver holds nothing up.
 */
export class Exporter {
  readonly #export: Export
  readonly #ended = new AbortController()
  #work: Promise<void> | undefined
  #next: number
  #failures = 0

  /** @throws KmsError `BadRequest` for a position file that no export wrote. */
  constructor(export_: Export) {
    this.#export = export_
    this.#next = readPosition(export_.positionFile) ?? 0
  }

  /** Begins. */
  start(everyMs = EVERY_MS): void {
    this.#work ??= this.#run(everyMs)
  }

  /** Ends; what is under way is sent again the next time. */
  async stop(): Promise<void> {
    this.#ended.abort()
    await this.#work
  }

  /** How it is. */
  status(): ExportStatus {
    return { next: this.#next, failures: this.#failures }
  }

  async #run(everyMs: number): Promise<void> {
    const { signal } = this.#ended
    let wait = everyMs
    let records: Pick<AuditRecords, 'read'> | undefined
    while (!signal.aborted) {
      try {
        records ??= this.#export.open(this.#next)
        if (await this.#send(records)) continue
        wait = everyMs
      } catch {
        if (signal.aborted) return
        this.#failures += 1
        wait = Math.min(Math.max(wait, 500) * 2, LONGEST_WAIT_MS)
        // What was read and not taken is read again.
        records = undefined
      }
      await setTimeout(wait, undefined, { signal }).catch(() => {})
    }
  }

  /** Sends what there is, about a mebibyte of it; whether there was something. */
  async #send(records: Pick<AuditRecords, 'read'>): Promise<boolean> {
    const { lines, first, next, broken, torn } = await records.read(MOST_BYTES)
    if (lines === '') {
      // A torn end may just be being written; anything else is for people.
      if (broken !== undefined && broken !== null && !torn) throw new Error(broken)
      return false
    }
    const { log, url, positionFile } = this.#export
    const response = await fetch(url, {
      method: 'POST',
      body: lines,
      redirect: 'error',
      headers: {
        'content-type': 'application/x-ndjson',
        'x-audit-log': log,
        'x-audit-first': String(first),
        'x-audit-next': String(next),
      },
      signal: AbortSignal.any([this.#ended.signal, AbortSignal.timeout(TIMEOUT_MS)]),
    })
    await response.body?.cancel()
    if (!response.ok) throw new Error(`status ${response.status}`)
    writePosition(positionFile, next)
    this.#next = next
    return true
  }
}
