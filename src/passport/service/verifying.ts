import type { NativePassport } from '../../../index.js'
import { Coalescer, type CoalescerLimits, type Outcome } from '../../coalescer.js'
import { attempt, attemptAsync, type ErrorRecord, fromRecord, KmsError } from '../../errors.js'
import type { FairQueue, Place } from '../../server/fair-queue.js'
import type { KeyRing } from './key-ring.js'

/** What verifying is made of. */
export interface VerifyingParts {
  readonly native: Pick<
    NativePassport,
    'verify' | 'verifyAsync' | 'verifyEach' | 'verifyBatch' | 'verifyBatchAsync'
  >
  readonly ring: Pick<KeyRing, 'find'>
  readonly queue: FairQueue
  /** Absent where requests are not joined. */
  readonly coalesce?: CoalescerLimits | undefined
  /** Told how long a request waited before it was worked on, in seconds. */
  readonly onQueued: (seconds: number) => void
}

/**
 * A longer body is worked on by the addon's threads. The longest passport of the default limits has three quarters of this;
 * what has more is mostly something else, and many of those come at once.
 */
const INLINE_BYTES = 8 * 1024
/** The same of a batch: so many bytes of envelopes take some 0.4 ms. */
const INLINE_BATCH_BYTES = 64 * 1024

/** Verifies request bodies. */
export class Verifying {
  readonly #parts: VerifyingParts
  readonly #requests: Coalescer<Waiting, string | readonly string[]> | undefined
  /** How many wait for their turn. */
  queued = 0

  constructor(parts: VerifyingParts) {
    this.#parts = parts
    const { coalesce } = parts
    this.#requests = coalesce && new Coalescer(batch => this.#together(batch), coalesce)
  }

  /** The answer to one passport. */
  async one(client: string, body: Uint8Array): Promise<string> {
    const { native, ring } = this.#parts
    const inline = body.length <= INLINE_BYTES
    const alone = (ask: boolean) =>
      this.#turn(client, inline, () =>
        inline ? attempt(() => native.verify(body, ask)) : attemptAsync(() => native.verifyAsync(body, ask)),
      )
    const requests = inline ? this.#requests : undefined
    const answer = await (requests
      ? this.#turn(client, true, (since, place) => requests.submit({ body, since, place }), true)
      : alone(true))
    if (typeof answer === 'string') return answer
    await ring.find()
    return (await alone(false)) as string
  }

  /** The answer to an array of passports. */
  async batch(client: string, body: Uint8Array): Promise<Uint8Array> {
    const { native, ring } = this.#parts
    const inline = body.length <= INLINE_BATCH_BYTES
    const verify = (ask: boolean) =>
      this.#turn(client, inline, () =>
        inline
          ? attempt(() => native.verifyBatch(body, ask))
          : attemptAsync(() => native.verifyBatchAsync(body, ask)),
      )
    const answer = await verify(true)
    if (answer instanceof Uint8Array) return answer
    await ring.find()
    return (await verify(false)) as Uint8Array
  }

  /** Other work, on the event loop up to its first `await`, when it is its client's turn. */
  async other<T>(client: string, work: () => Promise<T>): Promise<T> {
    const place = this.#parts.queue.enter(client, 'sign')
    try {
      const turn = place.loop()
      if (turn) await turn
      return await place.measured(work)
    } finally {
      place.leave()
    }
  }

  /**
   * Works on a request when it is its client's turn: on the event loop, or on a thread.
   *
   * @param joined Whether it says itself when its work began, and what it took.
   * @throws Refusal `Backpressure` when too many of its client, or of all, wait.
   */
  async #turn<T>(
    client: string,
    inline: boolean,
    work: (since: number, place: Place) => T | Promise<T>,
    joined = false,
  ): Promise<T> {
    const { queue, onQueued } = this.#parts
    const place = queue.enter(client, 'verify')
    try {
      const since = performance.now()
      const forLoop = place.loop()
      if (forLoop) await this.#wait(forLoop)
      const forThread = inline ? undefined : place.thread()
      if (forThread) await this.#wait(forThread)
      if (joined) return await work(since, place)
      const waited = forLoop || forThread ? performance.now() - since : 0
      onQueued(waited / 1000)
      // Handing megabytes to a thread is work on the event loop, too.
      return await place.measured(() => work(since, place))
    } finally {
      place.leave()
    }
  }

  async #wait(turn: Promise<void>): Promise<void> {
    this.queued += 1
    await turn
    this.queued -= 1
  }

  #together(batch: readonly Waiting[]): readonly Outcome<string | readonly string[]>[] {
    const { native, onQueued } = this.#parts
    const now = performance.now()
    for (const { since } of batch) onQueued((now - since) / 1000)
    const [first] = batch
    // Whatever it throws is that one's.
    if (first && batch.length === 1) {
      return [{ answer: first.place.measured(() => attempt(() => native.verify(first.body, true))) }]
    }
    try {
      return this.#each(batch)
    } finally {
      // Each pays for its part by its length.
      const took = performance.now() - now
      const length = batch.reduce((sum, { body }) => sum + body.length + 1, 0)
      for (const { body, place } of batch) place.worked((took * (body.length + 1)) / length)
    }
  }

  #each(batch: readonly Waiting[]): readonly Outcome<string | readonly string[]>[] {
    const { native } = this.#parts
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
  readonly place: Place
}
