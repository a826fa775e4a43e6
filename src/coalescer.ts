/** What became of one item. */
export type Outcome<Answer> = { readonly answer: Answer } | { readonly error: unknown }

/** Bounds of a {@link Coalescer}. */
export interface CoalescerLimits {
  /** A batch of this many items is worked on at once; 64 by default. */
  readonly targetBatch?: number
  /** Most items of a batch; 256 by default. A larger target is held to it. */
  readonly maxBatch?: number
  /** Longest that an item waits for others within one turn of the event loop, in milliseconds; 0.5 by default. */
  readonly maxWaitMs?: number
}

interface Waiting<Item, Answer> {
  readonly item: Item
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
}

/**
 * Joins items that come at the same time into batches, for work that costs less side by side.
 *
 * What comes within one turn of the event loop is one batch; it is worked on at the turn's end, or earlier where a
 * limit is reached. While items come one by one, each is worked on at once, so that none waits for company: only
 * after a turn that brought several does the first of the next one wait for its end. There is no timer, and while
 * nothing comes nothing runs.
 *
 * `run` gets the items in the order they came and gives an outcome for each, in that order. Should it throw, every
 * item of that batch fails with what it threw.
 */
export class Coalescer<Item, Answer> {
  readonly #run: (items: readonly Item[]) => readonly Outcome<Answer>[]
  readonly #target: number
  readonly #maxWaitMs: number
  #waiting: Waiting<Item, Answer>[] = []
  /** When the first of those that wait came. */
  #since = 0
  /** Items of this turn so far; 0 while no turn is watched. */
  #count = 0
  /** Whether the turn before brought several. */
  #crowded = false

  constructor(
    run: (items: readonly Item[]) => readonly Outcome<Answer>[],
    { targetBatch = 64, maxBatch = 256, maxWaitMs = 0.5 }: CoalescerLimits = {},
  ) {
    this.#run = run
    this.#target = Math.max(1, Math.min(targetBatch, maxBatch))
    this.#maxWaitMs = maxWaitMs
  }

  /** The item's answer, or a rejection with its error. */
  submit(item: Item): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#count++ === 0) setImmediate(() => this.#endTurn())
      const count = this.#waiting.push({ item, resolve, reject })
      const alone = this.#count === 1 && !this.#crowded
      if (alone || count >= this.#target) this.#flush()
      else if (count === 1) this.#since = performance.now()
      else if (performance.now() - this.#since >= this.#maxWaitMs) this.#flush()
    })
  }

  #endTurn(): void {
    this.#crowded = this.#count > 1
    this.#count = 0
    this.#flush()
  }

  #flush(): void {
    const batch = this.#waiting
    if (batch.length === 0) return
    this.#waiting = []
    let outcomes: readonly Outcome<Answer>[]
    try {
      outcomes = this.#run(batch.map(({ item }) => item))
    } catch (error) {
      for (const { reject } of batch) reject(error)
      return
    }
    for (const [i, { resolve, reject }] of batch.entries()) {
      const outcome = outcomes[i]
      if (outcome === undefined) reject(new Error('an item of a batch has no outcome'))
      else if ('answer' in outcome) resolve(outcome.answer)
      else reject(outcome.error)
    }
  }
}
