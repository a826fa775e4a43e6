import { setTimeout } from 'node:timers/promises'
import type { AuditLog } from '../kms.js'
import { requireNative } from '../native.js'

/** A witness: who it is, and where it takes checkpoints (C2SP tlog-witness). */
export interface Witness {
  /** Its URL prefix; `/add-checkpoint` is below it. */
  readonly url: string
  /** Its verifier key: `<name>+<id>+<base64 of type ‖ key>`, of a type for cosignatures. */
  readonly key: string
}

/** What a witness has done. */
export interface WitnessStatus {
  readonly name: string
  /** Size of the last checkpoint that it cosigned; 0 for none. */
  readonly size: number
  readonly failures: number
}

type Log = Pick<AuditLog, 'status' | 'checkpoint' | 'consistency'>

const EVERY_MS = 1000
const TIMEOUT_MS = 10_000
/** Longest answer that is read, in bytes. */
const MOST_BYTES = 64 * 1024

/**
 * Has witnesses cosign each checkpoint: whoever trusts one of them need not trust this service, nor whoever may restore
 * its files, not to show two histories. A witness that does not answer holds nothing up.
 */
export class Witnesses {
  readonly #log: Log
  readonly #visits: Visit[]
  readonly #ended = new AbortController()
  #work: Promise<void> | undefined
  /** The newest checkpoint that was shown to witnesses, and their lines under it. */
  #cosigned = { note: '', lines: '' }

  constructor(log: Log, witnesses: readonly Witness[]) {
    this.#log = log
    this.#visits = witnesses.map(witness => new Visit(witness))
  }

  /** Begins, where there are witnesses. */
  start(everyMs = EVERY_MS): void {
    if (this.#visits.length > 0) this.#work ??= this.#run(everyMs)
  }

  /** Ends; requests under way are given up. */
  async stop(): Promise<void> {
    this.#ended.abort()
    await this.#work
  }

  /** The last checkpoint, with the cosignatures that there are. */
  checkpoint(): string {
    const note = this.#log.checkpoint()
    return note === this.#cosigned.note ? note + this.#cosigned.lines : note
  }

  /** How each is. */
  status(): WitnessStatus[] {
    return this.#visits.map(({ name, size, failures }) => ({ name, size, failures }))
  }

  async #run(everyMs: number): Promise<void> {
    const { signal } = this.#ended
    while (!signal.aborted) {
      await this.#show()
      await setTimeout(everyMs, undefined, { signal }).catch(() => {})
    }
  }

  async #show(): Promise<void> {
    let note: string
    try {
      note = this.#log.checkpoint()
    } catch {
      // Closed.
      return
    }
    if (note !== this.#cosigned.note) this.#cosigned = { note, lines: '' }
    const shown = this.#cosigned
    const missing = this.#visits.filter(visit => visit.note !== note)
    await Promise.all(
      missing.map(async visit => {
        const lines = await visit.cosign(this.#log, note, this.#ended.signal)
        // Not before the wait: others add theirs meanwhile.
        shown.lines += lines
      }),
    )
  }
}

/** What is known of one witness. */
class Visit {
  readonly name: string
  readonly #url: string
  readonly #key: string
  /** The note that it cosigned last. */
  note = ''
  size = 0
  failures = 0

  constructor({ url, key }: Witness) {
    this.name = key.slice(0, key.indexOf('+'))
    this.#url = `${url.replace(/\/+$/, '')}/add-checkpoint`
    this.#key = key
  }

  /** Its lines under a checkpoint; none where it does not give any. */
  async cosign(log: Log, note: string, signal: AbortSignal): Promise<string> {
    try {
      const size = sizeOf(note)
      let answer = await this.#ask(log, note, size, signal)
      if (answer.status === 409) {
        // It has seen another size, and says which.
        const seen = /^(0|[1-9][0-9]{0,15})\n$/.exec(answer.text)?.[1]
        if (seen === undefined || Number(seen) > size) throw new Error('it has seen more than there is')
        this.size = Number(seen)
        answer = await this.#ask(log, note, size, signal)
      }
      if (answer.status !== 200) throw new Error(`status ${answer.status}`)
      // Only its own lines, and only where they hold.
      const lines = answer.text.split('\n').filter(line => line.startsWith(`— ${this.name} `))
      const own = lines.map(line => `${line}\n`).join('')
      if (own === '' || requireNative().auditCosignedAt(note + own, this.#key) === null) {
        throw new Error('its cosignature does not hold')
      }
      this.note = note
      this.size = size
      return own
    } catch {
      if (!signal.aborted) this.failures += 1
      return ''
    }
  }

  async #ask(log: Log, note: string, size: number, signal: AbortSignal) {
    const old = this.size
    const { proof } = old === 0 || old === size ? { proof: [] } : await log.consistency(old, size)
    const hashes = proof.map(hash => `${Buffer.from(hash).toString('base64')}\n`).join('')
    const response = await fetch(this.#url, {
      method: 'POST',
      body: `old ${old}\n${hashes}\n${note}`,
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    })
    return { status: response.status, text: await read(response) }
  }
}

/** The body of an answer, which may not be long. */
async function read({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body ?? []) {
    length += chunk.length
    if (length > MOST_BYTES) throw new Error('the answer is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function sizeOf(note: string): number {
  return Number(note.split('\n')[1])
}
