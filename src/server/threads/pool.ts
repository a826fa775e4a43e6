import { closeSync } from 'node:fs'
import { setTimeout as after } from 'node:timers/promises'
import type { Config } from '../../config/schema.js'
import { readTls, type TlsMaterial, wipe } from '../../config/tls.js'
import { workersFaults } from '../../config/workers.js'
import type { KmsHandle } from '../../kms.js'
import type { Log } from '../../logging/log.js'
import { PROCESS_METRICS } from '../../metrics/catalog.js'
import { HttpMetrics, summed } from '../../metrics/http.js'
import { requireNative } from '../../native.js'
import { spanCounts } from '../../tracing/tracer.js'
import { ReloadError } from '../api-listeners.js'
import { depthOf, type QueueName, waitsOf } from '../fair-queue.js'
import { refusalCounter } from '../front.js'
import type { Listener, ListenerParts } from '../listen.js'
import type { Serving } from '../serving.js'
import { accept } from './acceptor.js'
import { LISTENERS, type Order } from './messages.js'
import { type BeginData, labelOf, Slot } from './slot.js'

/** What threads need of the process that starts them. */
export interface ThreadHost {
  /** Handles for one more thread. */
  readonly share: () => { readonly kms: KmsHandle; readonly capabilities: string }
  /** Takes whole lines of the log. */
  readonly writeLine: (line: string) => void
  /** The program of a thread; the one beside this file unless said. */
  readonly program?: URL
}

/** What a pool is made of. */
export interface PoolParts extends ThreadHost {
  readonly config: Config
  readonly log: Log
  /** The last checkpoint, with cosignatures. */
  readonly checkpoint: () => string
  /** Told when a thread begins or ends. */
  readonly onChange: () => void
}

/** Sockets that no thread is there for. */
const NOBODY = 0
/** A thread that does not answer for this long is too busy to be measured. */
const MEASURE_MS = 500
/** Its event loop is late by that much at least. */
const TOO_BUSY = PROCESS_METRICS.map(name => (name.includes('lag') ? MEASURE_MS / 1000 : 0))
/** What a thread may take to end beyond the time that its requests have. */
const END_MS = 1000

/**
 * Threads that serve the API, each with an event loop of its own over the one engine. This thread accepts: a connection
 * goes to the thread that has the fewest. Where a thread ends by itself its connections end with it; what was on its way to
 * it goes to the others, and another takes its place.
 */
export class HttpThreads implements Serving {
  readonly #parts: PoolParts
  readonly #slots: readonly Slot[]
  readonly #draining = new Int32Array(new SharedArrayBuffer(4))
  /** What this thread refuses itself. */
  readonly #own = new HttpMetrics()
  readonly #onRefused: ListenerParts['onRefused']
  /** Connections of each listener that wait for a thread. */
  readonly #waiting = LISTENERS.map(() => 0)
  #config: Config
  #failed = 0
  #measuring: Promise<readonly (readonly number[])[]> | undefined

  constructor(parts: PoolParts) {
    this.#parts = parts
    this.#config = parts.config
    this.#onRefused = refusalCounter(this.#own, parts.log)
    const host = {
      program: parts.program ?? new URL('./thread.js', import.meta.url),
      writeLine: parts.writeLine,
      checkpoint: () => this.#checkpoint(),
      begin: () => this.#begin(),
      onReady: (index: number, again: boolean) => {
        if (again) parts.log.threadStarted({ thread: index })
        this.#passOn(NOBODY)
        parts.onChange()
      },
      onFailed: ({
        index,
        number,
        ...failure
      }: {
        index: number
        number: number
        errorName: string
        retryMs: number
      }) => {
        this.#failed += 1
        parts.log.threadFailed({ thread: index, ...failure })
        this.#passOn(number)
        parts.onChange()
      },
    }
    this.#slots = Array.from({ length: parts.config.workers }, (_, index) => new Slot(index, host))
  }

  readonly http = summed(() => [this.#own, ...this.#slots.map(({ metrics }) => metrics)])

  readonly queue = {
    waits: (name: QueueName) => waitsOf(this.#slots.map(({ cells }) => cells.queue[name])),
    depth: (name: QueueName) => depthOf(this.#slots.map(({ cells }) => cells.queue[name])),
  }

  spans() {
    return this.#config.otel.endpoint === ''
      ? undefined
      : spanCounts(this.#slots.map(({ cells }) => cells.spans))
  }

  threads() {
    return { serving: this.#slots.filter(({ ready }) => ready).length, failed: this.#failed }
  }

  measure() {
    this.#measuring ??= this.#measure().finally(() => {
      this.#measuring = undefined
    })
    return this.#measuring
  }

  async listen(parts: Omit<ListenerParts, 'fetch' | 'onRefused'>): Promise<Listener> {
    const listener = (LISTENERS as readonly string[]).indexOf(parts.key)
    const acceptor = await accept(
      { ...parts, onRefused: this.#onRefused },
      {
        connections: () =>
          this.#slots.reduce((sum, { open }) => sum + (open[listener] ?? 0), this.#waiting[listener] ?? 0),
        pass: fd => this.#pass(fd, listener),
      },
    )
    return {
      ...acceptor,
      // Each thread reads the files when it begins.
      setTls: tls => {
        for (const slot of this.#slots) {
          const { own, transfer } = copyOf(tls)
          void slot.order({ kind: 'tls', tls: own }, transfer)
        }
      },
    }
  }

  async start(): Promise<void> {
    try {
      await Promise.all(this.#slots.map(async slot => slot.start()))
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  check(next: Config): void {
    const faults = workersFaults(next, this.#slots.length)
    if (faults.length > 0) throw new ReloadError(faults)
  }

  async setConfig(next: Config): Promise<void> {
    // A thread that begins from now on begins with it.
    this.#config = next
    await this.#all({ kind: 'config', config: next })
  }

  async drain(ms: number, stopIntake: Parameters<Serving['drain']>[1]): Promise<number> {
    Atomics.store(this.#draining, 0, 1)
    await stopIntake(0, () => {})
    const cut = this.#slots.map(slot =>
      Promise.race([
        slot.order({ kind: 'drain', ms }),
        // One that is stuck.
        after(ms + END_MS, undefined, { ref: false }).then(() => slot.metrics.inflight),
      ]),
    )
    const aborted = (await Promise.all(cut)).reduce<number>((sum, count) => sum + Number(count ?? 0), 0)
    await this.stop()
    return aborted
  }

  async stop(): Promise<void> {
    await Promise.all(this.#slots.map(slot => slot.stop()))
    for (const thread of [NOBODY, ...this.#slots.map(({ number }) => number)]) {
      for (const listener of LISTENERS.keys()) for (const fd of untaken(thread, listener)) closeSync(fd)
    }
  }

  #begin(): { data: BeginData; transfer: readonly ArrayBuffer[] } {
    const config = this.#config
    const { own, transfer } = config.tls.enabled
      ? copyOf(materialOf(config), true)
      : { own: undefined, transfer: [] }
    return { data: { config, tls: own, draining: this.#draining, ...this.#parts.share() }, transfer }
  }

  #checkpoint(): string | undefined {
    try {
      return this.#parts.checkpoint()
    } catch {
      return undefined
    }
  }

  /** To the thread that has the fewest; where none serves it waits for one that does. */
  #pass(fd: number, listener: number): void {
    let least: Slot | undefined
    for (const slot of this.#slots) {
      if (slot.ready && (least === undefined || slot.connections < least.connections)) least = slot
    }
    if (least) {
      least.send(fd, listener)
      return
    }
    requireNative().offerSocket(fd, labelOf(NOBODY, listener))
    this.#waiting[listener] = (this.#waiting[listener] ?? 0) + 1
  }

  /** Passes on what was on its way to a thread that has ended. */
  #passOn(thread: number): void {
    for (const listener of LISTENERS.keys()) {
      const sockets = untaken(thread, listener)
      if (thread === NOBODY) this.#waiting[listener] = 0
      for (const fd of sockets) {
        this.#pass(fd, listener)
        closeSync(fd)
      }
    }
  }

  async #all(order: Order) {
    return Promise.all(this.#slots.map(slot => slot.order(order)))
  }

  async #measure(): Promise<readonly (readonly number[])[]> {
    const late = after(MEASURE_MS, TOO_BUSY, { ref: false })
    const measured = this.#slots
      .filter(({ ready }) => ready)
      .map(slot => Promise.race([slot.order({ kind: 'measure' }), late]))
    return (await Promise.all(measured)).filter(values => typeof values === 'object')
  }
}

/** Takes back what a thread has not taken. */
function untaken(thread: number, listener: number): number[] {
  const native = requireNative()
  return native.offeredSockets(labelOf(thread, listener)).map(number => native.takeSocket(number))
}

function materialOf({ tls }: Config): TlsMaterial {
  const read = readTls(tls)
  if ('faults' in read) throw new ReloadError(read.faults)
  return read
}

/** A copy for another thread, moved there: a Buffer may share its memory with others, which would be copied with it. */
function copyOf(tls: TlsMaterial, wipes = false): { own: TlsMaterial; transfer: readonly ArrayBuffer[] } {
  const transfer: ArrayBuffer[] = []
  const copy = (bytes: Uint8Array): Buffer => {
    const own = new Uint8Array(bytes)
    transfer.push(own.buffer)
    return own as Buffer
  }
  const own = { ...tls, cert: copy(tls.cert), key: copy(tls.key), ca: tls.ca && copy(tls.ca) }
  if (wipes) wipe(tls)
  return { own, transfer }
}
