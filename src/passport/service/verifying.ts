import type { NativePassport } from '../../../index.js'
import { Coalescer, type CoalescerLimits, type Outcome } from '../../coalescer.js'
import { attempt, attemptAsync, type ErrorRecord, fromRecord, KmsError } from '../../errors.js'
import type { FairGate } from './fair-gate.js'
import type { KeyRing } from './key-ring.js'

/** What verifying is made of. */
export interface VerifyingParts {
  readonly native: Pick<NativePassport, 'verify' | 'verifyEach' | 'verifyBatch' | 'verifyBatchAsync'>
  readonly ring: Pick<KeyRing, 'find'>
  readonly gate: FairGate
  /** Absent where requests are not joined. */
  readonly coalesce?: CoalescerLimits | undefined
  /** Told how long a request waited before it was worked on, in seconds. */
  readonly onQueued: (seconds: number) => void
}

/** A longer batch is worked on by the addon's threads: 64 KiB of envelopes take some 0.4 ms. */
const INLINE_BYTES = 64 * 1024

/** Verifies request bodies. */
export class Verifying {
  readonly #parts: VerifyingParts
  readonly #requests: Coalescer<Waiting, string | readonly string[]> | undefined

  constructor(parts: VerifyingParts) {
    this.#parts = parts
    const { coalesce } = parts
    this.#requests = coalesce && new Coalescer(batch => this.#together(batch), coalesce)
  }

  /** The answer to one passport. */
  async one(client: string, body: Uint8Array): Promise<string> {
    const { gate, ring, native, onQueued } = this.#parts
    const since = performance.now()
    const turn = gate.enter(client)
    if (turn) await turn
    let answer: string | readonly string[]
    if (this.#requests) answer = await this.#requests.submit({ body, since })
    else {
      onQueued((performance.now() - since) / 1000)
      answer = attempt(() => native.verify(body, true))
    }
    if (typeof answer === 'string') return answer
    await ring.find()
    return attempt(() => native.verify(body, false)) as string
  }

  /** The answer to an array of passports. */
  async batch(client: string, body: Uint8Array): Promise<Uint8Array> {
    const { gate, ring, native, onQueued } = this.#parts
    const since = performance.now()
    const turn = gate.enter(client)
    if (turn) await turn
    onQueued((performance.now() - since) / 1000)
    const verify = (ask: boolean) =>
      body.length <= INLINE_BYTES
        ? attempt(() => native.verifyBatch(body, ask))
        : attemptAsync(() => native.verifyBatchAsync(body, ask))
    const answer = await verify(true)
    if (answer instanceof Uint8Array) return answer
    await ring.find()
    return (await verify(false)) as Uint8Array
  }

  #together(batch: readonly Waiting[]): readonly Outcome<string | readonly string[]>[] {
    const { native, onQueued } = this.#parts
    const now = performance.now()
    for (const { since } of batch) onQueued((now - since) / 1000)
    const [first] = batch
    // Whatever it throws is that one's.
    if (first && batch.length === 1) return [{ answer: attempt(() => native.verify(first.body, true)) }]
    const offsets = new Uint32Array(batch.length + 1)
    for (const [i, { body }] of batch.entries()) offsets[i + 1] = (offsets[i] ?? 0) + body.length
    const bodies = Buffer.concat(batch.map(({ body }) => body))
    return attempt(() => native.verifyEach(bodies, offsets, true)).map(({ answer, error, unknown }) => {
      if (error !== undefined) return { error: fromRecord(JSON.parse(error) as ErrorRecord) }
      const either = answer ?? unknown
      return either === undefined ? { error: new KmsError('Internal', 'no answer') } : { answer: either }
    })
  }
}

interface Waiting {
  readonly body: Uint8Array
  readonly since: number
}
