import { Worker } from 'node:worker_threads'
import { errorName } from '../../logging/log.js'
import { HttpMetrics, RouteMeter } from '../../metrics/http.js'
import { requireNative } from '../../native.js'
import { abandonQueue } from '../fair-queue.js'
import {
  type FromThread,
  LISTENERS,
  type Order,
  slotCells,
  type ThreadData,
  type ToThread,
} from './messages.js'

/** What a slot needs of the pool. */
export interface SlotHost {
  /** What the next thread begins with, and what of it is handed over for good; throws where it cannot be had now. */
  begin(): { data: BeginData; transfer: readonly ArrayBuffer[] }
  /** The program of a thread. */
  readonly program: URL
  writeLine(line: string): void
  checkpoint(): string | undefined
  /** It serves now: the first time, or again. */
  onReady(index: number, again: boolean): void
  /** It ended by itself, and is started again after a while. Sockets are on their way to nobody. */
  onFailed(failure: { index: number; errorName: string; retryMs: number; number: number }): void
}

/** What the pool knows of what a thread begins with. */
export type BeginData = Pick<ThreadData, 'config' | 'kms' | 'capabilities' | 'tls' | 'draining'>

type Answer = number | readonly number[] | undefined

/** How long a thread that failed is not started again: doubling, between these. */
const BACKOFF_MS = [100, 10_000] as const
/** A thread that ran for this long was sound. */
const SOUND_MS = 30_000

let started = 0

/** One of the threads that serve, and whoever takes its place. */
export class Slot {
  readonly index: number
  readonly cells = slotCells()
  /** Connections of each listener. */
  readonly open = new Int32Array(new SharedArrayBuffer(4 * LISTENERS.length))
  readonly #meters = new Map<string, RouteMeter>()
  readonly #host: SlotHost
  #worker: Worker | undefined
  #ended: Promise<void> = Promise.resolve()
  #readySince: number | undefined
  #failures = 0
  #retry: NodeJS.Timeout | undefined
  #stopped = false
  readonly #orders = new Map<number, (answer: Answer) => void>()
  #ordered = 0
  #number = 0

  constructor(index: number, host: SlotHost) {
    this.index = index
    this.#host = host
  }

  /** Of the thread that has it now or had it last. Never given twice: sockets on their way are found by it. */
  get number(): number {
    return this.#number
  }

  /** Whether it serves. */
  get ready(): boolean {
    return this.#readySince !== undefined
  }

  /** Connections that it has, and that are on their way to it. */
  get connections(): number {
    return this.open.reduce((sum, count) => sum + Math.max(0, count), 0)
  }

  /** What it has counted, in whichever threads. */
  get metrics(): HttpMetrics {
    const meters = this.#meters.values()
    return new HttpMetrics({ rejected: this.cells.rejected, meters, onMeter: () => {} })
  }

  /** Resolves when it serves; rejects where the thread ends before that. */
  start(): Promise<void> {
    const { data, transfer } = this.#host.begin()
    const meters = [...this.#meters.values()].map(({ route, method, op, cells }) => ({
      route,
      method,
      op,
      cells,
    }))
    started += 1
    this.#number = started
    const worker = new Worker(this.#host.program, {
      workerData: {
        ...data,
        ...{ index: this.index, cells: this.cells, open: this.open, meters },
      } satisfies ThreadData,
      transferList: [...transfer],
      // The variables of the process may hold secrets. Only those of Node itself are for threads.
      env: Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('NODE_'))),
      name: `http-${this.index}`,
    })
    this.#worker = worker
    let thrown: unknown
    worker.on('error', error => {
      thrown = error
    })
    return new Promise<void>((resolve, reject) => {
      worker.on('message', (message: FromThread) => {
        if (message.kind !== 'ready') return this.#take(worker, message)
        this.#readySince = performance.now()
        this.#host.onReady(this.index, this.#failures > 0)
        resolve()
      })
      this.#ended = new Promise(gone => {
        worker.once('exit', () => {
          const wasReady = this.ready
          this.#onExit(thrown, wasReady)
          reject(thrown ?? new Error('a thread ended before it served'))
          gone()
        })
      })
    })
  }

  /** Hands a duplicate of a socket over. */
  send(fd: number, listener: number): void {
    const number = requireNative().offerSocket(fd, labelOf(this.#number, listener))
    Atomics.add(this.open, listener, 1)
    this.#post({ kind: 'socket', listener, number })
  }

  /** Has it do something. Resolves when that is done, or to nothing where there is no thread, or it ends. */
  order(order: Order, transfer: readonly ArrayBuffer[] = []): Promise<Answer> {
    if (!this.#worker) return Promise.resolve(undefined)
    this.#ordered += 1
    const id = this.#ordered
    this.#post({ kind: 'order', id, order }, transfer)
    return new Promise(resolve => this.#orders.set(id, resolve))
  }

  /** Ends it for good. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#retry)
    await this.#worker?.terminate()
    await this.#ended
  }

  #post(message: ToThread, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker?.postMessage(message, transfer)
  }

  #take(worker: Worker, message: Exclude<FromThread, { kind: 'ready' }>): void {
    if (message.kind === 'line') this.#host.writeLine(message.line)
    else if (message.kind === 'meter') {
      const { route, method, op, cells } = message.meter
      this.#meters.set(`${method} ${route}`, new RouteMeter(route, method, op, cells))
    } else if (message.kind === 'done') {
      this.#orders.get(message.id)?.(message.value)
      this.#orders.delete(message.id)
    } else {
      const answer: ToThread = { kind: 'checkpoint', id: message.id, note: this.#host.checkpoint() }
      worker.postMessage(answer)
    }
  }

  #onExit(thrown: unknown, wasReady: boolean): void {
    const ranMs = performance.now() - (this.#readySince ?? performance.now())
    this.#worker = undefined
    this.#readySince = undefined
    this.open.fill(0)
    for (const meter of this.#meters.values()) meter.abandon()
    for (const queue of Object.values(this.cells.queue)) abandonQueue(queue)
    for (const resolve of this.#orders.values()) resolve(undefined)
    this.#orders.clear()
    // One that never served at the start of the service ends that.
    if (this.#stopped || (!wasReady && this.#failures === 0)) return
    if (ranMs > SOUND_MS) this.#failures = 0
    this.#fail(thrown)
  }

  #fail(thrown: unknown): void {
    this.#failures += 1
    const [least, most] = BACKOFF_MS
    const retryMs = Math.min(most, least * 2 ** (this.#failures - 1))
    this.#host.onFailed({
      index: this.index,
      errorName: thrown === undefined ? 'Exit' : errorName(thrown),
      retryMs,
      number: this.#number,
    })
    this.#retry = setTimeout(() => {
      try {
        // Where it ends before it serves, its end has been seen to.
        this.start().catch(() => {})
      } catch (error) {
        this.#fail(error)
      }
    }, retryMs)
  }
}

/** By what sockets on their way to a thread are found. */
export function labelOf(thread: number, listener: number): number {
  return thread * LISTENERS.length + listener
}
