import { REQUEST_BUCKETS } from '../metrics/catalog.js'
import { Refusal } from './problem.js'

/** The queues: what makes something, and what only reads. Each has its own bound. */
export type QueueName = 'sign' | 'verify'

/** Bounds of a {@link FairQueue}. */
export interface FairQueueLimits {
  /** Most requests of each queue that are under way or wait. */
  readonly inflight: Readonly<Record<QueueName, number>>
  /** The part of a queue that is a tenant's however many others want it, above 0 and at most 1. */
  readonly shareFloor: number
  /** Most work before the event loop looks at its sockets again, in milliseconds; 0.3 by default. */
  readonly turnMs?: number
  /** The same while one tenant is present; without a bound by default. */
  readonly aloneMs?: number
  /** Threads that work beside the event loop; 1 by default. */
  readonly threads?: number
}

/** The bounds of a service that says nothing else. */
export const QUEUE_LIMITS: FairQueueLimits = { inflight: { sign: 512, verify: 1024 }, shareFloor: 0.05 }

/** How long requests waited for their turns: cells of a histogram with the bounds of {@link REQUEST_BUCKETS}. */
export interface Waits {
  readonly buckets: Float64Array
  readonly sum: number
  readonly count: number
}

/** What a queue counts, in an array of {@link QUEUE_CELLS} that another thread may read. */
export type QueueCells = Readonly<Record<QueueName, Float64Array>>

const BUCKETS = REQUEST_BUCKETS.length + 1
const SUM = BUCKETS
const COUNT = BUCKETS + 1
/** Requests that are under way or wait. */
const DEPTH = BUCKETS + 2
/** How many numbers a queue counts. */
export const QUEUE_CELLS: number = DEPTH + 1

/** How long requests waited, of several threads. */
export function waitsOf(all: readonly Float64Array[]): Waits {
  const sums = new Float64Array(QUEUE_CELLS)
  for (const cells of all) {
    for (let i = 0; i < QUEUE_CELLS; i += 1) sums[i] = (sums[i] ?? 0) + (cells[i] ?? 0)
  }
  return { buckets: sums.subarray(0, BUCKETS), sum: sums[SUM] ?? 0, count: sums[COUNT] ?? 0 }
}

/** Requests that are under way or wait, on several threads. */
export function depthOf(all: readonly Float64Array[]): number {
  return all.reduce((sum, cells) => sum + (cells[DEPTH] ?? 0), 0)
}

/** Nothing is under way any more: the thread that counted has ended. */
export function abandonQueue(cells: Float64Array): void {
  cells[DEPTH] = 0
}

/** What a queue needs of the world; tests bring their own. */
export interface FairQueueHost {
  /** A monotonic clock, in milliseconds. */
  now(): number
  /** Calls back after the event loop has looked at its sockets. */
  nextTurn(callback: () => void): void
}

/** What a request waits for. */
type Resource = 'loop' | 'threads'

/** A tenant that has requests here, or had some a moment ago. */
interface Tenant {
  readonly inflight: Record<QueueName, number>
  /** Requests that wait, in the order they came. */
  readonly waiting: Record<Resource, Waiting[]>
  /** What its work took lately, in milliseconds. */
  readonly usual: Record<Resource, number>
  /** Milliseconds that it may use before others have their turn; below zero it has used more than its share. */
  credit: number
  lastSeen: number
}

interface Waiting {
  readonly place: Place
  readonly go: () => void
}

/** What HTTP takes for each request, served or refused. */
const REQUEST_MS = 0.025
/** What a tenant is given when it is its turn. */
const QUANTUM_MS = 0.1
/** Work is handed to each thread this far ahead while several tenants want them. */
const AHEAD_MS = 50
/** A tenant is present for this long after its last request. */
const PRESENT_MS = 250
/** Nobody pays longer than this for what it used. */
const MOST_DEBT_MS = 1_000
/** A refusal is held back between these while several tenants are present. */
const HOLD_MS = [50, 100] as const

const REAL: FairQueueHost = {
  now: () => performance.now(),
  nextTurn: callback => void setImmediate(callback),
}

/**
 * Shares the event loop, and the threads beside it, between tenants: by the time that their requests are measured to
 * take, so one that costs much has its turn less often.
 *
 * While one tenant is present every request has its turn at once, up to `aloneMs`. While several are, a turn of the event loop is
 * `turnMs` of work, and what goes beyond waits, tenant beside tenant (deficit round robin). Whose request waits sends
 * no other on that connection, so who sends more than its share waits in its own sockets and not in front of others.
 *
 * Bounded: what goes beyond a queue, or beyond the tenant's part of it, is refused before any work. One thread.
 */
export class FairQueue {
  #limits: FairQueueLimits
  readonly #turnMs: number
  readonly #aloneMs: number
  /** Threads that work beside the event loop. */
  readonly threads: number
  readonly #host: FairQueueHost
  readonly #tenants = new Map<string, Tenant>()
  readonly #inflight: Record<QueueName, number> = { sign: 0, verify: 0 }
  readonly #cells: QueueCells
  /** Tenants with requests that wait; the first is the one whose turn it is. */
  readonly #rings: Record<Resource, Tenant[]> = { loop: [], threads: [] }
  /** Work of this turn so far, in milliseconds; undefined while no turn is watched. */
  #turn: number | undefined
  /** Jobs on the threads, and what they are expected to take together. */
  readonly #jobs = { running: 0, ms: 0 }
  #swept = 0

  constructor(limits: FairQueueLimits, host: FairQueueHost = REAL, cells: QueueCells = ownCells()) {
    this.#cells = cells
    this.#limits = limits
    this.#turnMs = limits.turnMs ?? 0.3
    this.#aloneMs = limits.aloneMs ?? Number.POSITIVE_INFINITY
    this.threads = limits.threads ?? 1
    this.#host = host
  }

  /**
   * A place in a queue, to be given back with {@link Place.leave}.
   *
   * @throws Refusal `Backpressure` when the queue, or the tenant's part of it, is full.
   */
  enter(name: string, queue: QueueName): Place {
    const now = this.#host.now()
    if (now - this.#swept >= PRESENT_MS) this.#sweep(now)
    const tenant = this.#tenant(name, now)
    if (this.#mostMs < Number.POSITIVE_INFINITY) this.#watchTurn()
    this.#charge(tenant, REQUEST_MS)
    const bound = this.#limits.inflight[queue]
    const part = Math.max(1, bound * Math.max(this.#limits.shareFloor, 1 / this.#tenants.size))
    if (this.#inflight[queue] >= bound || tenant.inflight[queue] >= part) {
      throw new Refusal('Backpressure', `the ${queue} queue is full`, {
        retryable: true,
        reason: 'backpressure',
      })
    }
    this.#inflight[queue] += 1
    this.#cells[queue][DEPTH] = this.#inflight[queue]
    tenant.inflight[queue] += 1
    return new Place(this, tenant, queue)
  }

  /** Other bounds, for the requests to come. */
  setLimits(limits: Pick<FairQueueLimits, 'inflight' | 'shareFloor'>): void {
    this.#limits = { ...this.#limits, ...limits }
  }

  /** How long the requests of a queue waited so far, those that did not wait included. */
  waits(queue: QueueName): Waits {
    return waitsOf([this.#cells[queue]])
  }

  /** Requests that are under way or wait. */
  depth(queue: QueueName): number {
    return this.#inflight[queue]
  }

  /**
   * How long to hold a refusal back, in milliseconds. A client that asks again at once takes nearly as much time from
   * the others as one that is served.
   */
  holdMs(): number {
    const [least, most] = HOLD_MS
    return this.#tenants.size > 1 ? least + Math.random() * (most - least) : 0
  }

  /** @internal */
  awaitLoop(place: Place): Promise<void> | undefined {
    const most = this.#mostMs
    if (most === Number.POSITIVE_INFINITY) return
    if (this.#rings.loop.length === 0 && (this.#turn ?? 0) < most) return
    return this.#wait(place, 'loop')
  }

  /** @internal */
  awaitThread(place: Place): Promise<void> | undefined {
    if (this.#rings.threads.length > 0 || !this.#hasThread(place.tenant)) return this.#wait(place, 'threads')
    this.#startJob(place)
    return
  }

  /** @internal */
  worked(tenant: Tenant, ms: number, prepaid: number): void {
    learn(tenant, 'loop', ms)
    this.#charge(tenant, ms - prepaid)
  }

  /** @internal */
  endJob(tenant: Tenant, expectedMs: number, ms: number): void {
    // Those that ran beside it had their part of this time.
    tenant.credit -= ms / this.#jobs.running
    learn(tenant, 'threads', ms)
    this.#jobs.running -= 1
    this.#jobs.ms -= expectedMs
    while (this.#rings.threads.length > 0) {
      const next = this.#next('threads')
      if (!this.#hasThread(next)) return
      this.#startJob(this.#release('threads'))
    }
  }

  /** @internal */
  leave(tenant: Tenant, queue: QueueName, waitedMs: number): void {
    this.#inflight[queue] -= 1
    tenant.inflight[queue] -= 1
    const cells = this.#cells[queue]
    const seconds = waitedMs / 1000
    let bucket = 0
    while (bucket < REQUEST_BUCKETS.length && seconds > (REQUEST_BUCKETS[bucket] ?? 0)) bucket += 1
    cells[bucket] = (cells[bucket] ?? 0) + 1
    cells[SUM] = (cells[SUM] ?? 0) + seconds
    cells[COUNT] = (cells[COUNT] ?? 0) + 1
    cells[DEPTH] = this.#inflight[queue]
  }

  /** @internal */
  now(): number {
    return this.#host.now()
  }

  /** Most work of a turn, in milliseconds. */
  get #mostMs(): number {
    return this.#tenants.size < 2 ? this.#aloneMs : this.#turnMs
  }

  #tenant(name: string, now: number): Tenant {
    let tenant = this.#tenants.get(name)
    if (tenant === undefined) {
      tenant = {
        inflight: { sign: 0, verify: 0 },
        waiting: { loop: [], threads: [] },
        usual: { loop: REQUEST_MS, threads: 1 },
        credit: 0,
        lastSeen: now,
      }
      this.#tenants.set(name, tenant)
    }
    tenant.lastSeen = now
    return tenant
  }

  #charge(tenant: Tenant, ms: number): void {
    tenant.credit -= ms
    if (this.#turn !== undefined) this.#turn += ms
  }

  #watchTurn(): void {
    if (this.#turn !== undefined) return
    this.#turn = 0
    this.#host.nextTurn(() => this.#nextTurn())
  }

  #nextTurn(): void {
    this.#turn = undefined
    if (this.#rings.loop.length === 0) return
    this.#watchTurn()
    // What is let go works when this function has returned, and is measured then: until that it counts as usual.
    for (let ms = 0; this.#rings.loop.length > 0 && ms < this.#mostMs; ) {
      const { usual } = this.#next('loop')
      ms += usual.loop
      this.#release('loop')
    }
  }

  #wait(place: Place, resource: Resource): Promise<void> {
    const { tenant } = place
    return new Promise(go => {
      if (tenant.waiting[resource].push({ place, go }) === 1) this.#rings[resource].push(tenant)
    })
  }

  /** The tenant whose turn it is. */
  #next(resource: Resource): Tenant {
    const ring = this.#rings[resource]
    for (;;) {
      const first = ring[0] as Tenant
      if (first.credit > 0) return first
      first.credit = Math.max(first.credit, -MOST_DEBT_MS) + QUANTUM_MS
      ring.push(ring.shift() as Tenant)
      if (ring.length === 1 && first.credit <= 0) first.credit = QUANTUM_MS
    }
  }

  /** Lets the first request of the tenant go whose turn it is. */
  #release(resource: Resource): Place {
    const ring = this.#rings[resource]
    const tenant = ring[0] as Tenant
    const { place, go } = tenant.waiting[resource].shift() as Waiting
    if (tenant.waiting[resource].length === 0) ring.shift()
    if (resource === 'loop') place.prepay(tenant.usual.loop)
    go()
    return place
  }

  /** Whether a job of this tenant can be handed over. Alone it may use the threads as it likes. */
  #hasThread(tenant: Tenant): boolean {
    if (this.#tenants.size < 2 || this.#jobs.running < this.threads) return true
    return this.#jobs.ms + tenant.usual.threads <= AHEAD_MS * this.threads
  }

  #startJob(place: Place): void {
    const { threads } = place.tenant.usual
    this.#jobs.running += 1
    this.#jobs.ms += threads
    place.startJob(threads)
  }

  /** Time that has passed is everybody's in equal parts: it pays debts, and is not saved up. Who is gone is forgotten. */
  #sweep(now: number): void {
    const part = (now - this.#swept) / Math.max(1, this.#tenants.size)
    this.#swept = now
    for (const [name, tenant] of this.#tenants) {
      const { inflight, lastSeen } = tenant
      tenant.credit = Math.min(tenant.credit + part, Math.max(tenant.credit, 0))
      if (inflight.sign + inflight.verify === 0 && now - lastSeen > PRESENT_MS) this.#tenants.delete(name)
    }
  }
}

function ownCells(): QueueCells {
  return { sign: new Float64Array(QUEUE_CELLS), verify: new Float64Array(QUEUE_CELLS) }
}

function learn({ usual }: Tenant, resource: Resource, ms: number): void {
  usual[resource] += (ms - usual[resource]) / 8
}

/** One request in a {@link FairQueue}. */
export class Place {
  /** @internal */
  readonly tenant: Tenant
  /** Milliseconds that it has waited for its turns. */
  waitedMs = 0
  readonly #queue: FairQueue
  readonly #name: QueueName
  #since = 0
  #prepaid = 0
  #expected: number | undefined

  /** @internal */
  constructor(queue: FairQueue, tenant: Tenant, name: QueueName) {
    this.#queue = queue
    this.tenant = tenant
    this.#name = name
  }

  /** Waits for the event loop; undefined when the turn is at once. To be followed by {@link Place.worked}. */
  loop(): Promise<void> | undefined {
    return this.#counted(this.#queue.awaitLoop(this))
  }

  /** What work on the event loop gives, or the promise of it; the time it took is its tenant's, also where it throws. */
  measured<T>(work: () => T): T {
    const began = performance.now()
    try {
      return work()
    } finally {
      this.worked(performance.now() - began)
    }
  }

  /** The work on the event loop took this long, in milliseconds. */
  worked(ms: number): void {
    this.#queue.worked(this.tenant, ms, this.#prepaid)
    this.#prepaid = 0
  }

  /** Waits for a thread; undefined when there is one. The job ends with {@link Place.leave}. */
  thread(): Promise<void> | undefined {
    return this.#counted(this.#queue.awaitThread(this))
  }

  /** Gives the place back. */
  leave(): void {
    if (this.#expected !== undefined) {
      this.#queue.endJob(this.tenant, this.#expected, this.#queue.now() - this.#since)
    }
    this.#queue.leave(this.tenant, this.#name, this.waitedMs)
  }

  /** @internal */
  prepay(ms: number): void {
    this.tenant.credit -= ms
    this.#prepaid = ms
  }

  /** @internal */
  startJob(expectedMs: number): void {
    this.#expected = expectedMs
    this.#since = this.#queue.now()
  }

  #counted(turn: Promise<void> | undefined): Promise<void> | undefined {
    if (turn === undefined) return
    const since = this.#queue.now()
    return turn.then(() => {
      this.waitedMs += this.#queue.now() - since
    })
  }
}
