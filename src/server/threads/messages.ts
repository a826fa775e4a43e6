import type { Config } from '../../config/schema.js'
import type { TlsMaterial } from '../../config/tls.js'
import type { KmsHandle } from '../../kms.js'
import { REJECT_REASONS } from '../../metrics/catalog.js'
import { sharedCells } from '../../metrics/http.js'
import { SPAN_RESULTS } from '../../tracing/tracer.js'
import { QUEUE_CELLS } from '../fair-queue.js'

/** The listeners, by their settings; a message names one by its place here. */
export const LISTENERS = ['bind_addr', 'uds.path'] as const

/** What a thread counts, in memory that outlives it: the thread that takes its place counts on. */
export interface SlotCells {
  readonly rejected: Float64Array
  readonly queue: { readonly sign: Float64Array; readonly verify: Float64Array }
  readonly spans: Float64Array
}

export function slotCells(): SlotCells {
  return {
    rejected: sharedCells(REJECT_REASONS.length),
    queue: { sign: sharedCells(QUEUE_CELLS), verify: sharedCells(QUEUE_CELLS) },
    spans: sharedCells(SPAN_RESULTS.length),
  }
}

/** A meter, as it goes to another thread. */
export interface PlainMeter {
  readonly route: string
  readonly method: string
  readonly op: string
  readonly cells: Float64Array
}

/** What a thread begins with. */
export interface ThreadData {
  readonly config: Config
  readonly kms: KmsHandle
  readonly capabilities: string
  readonly tls: TlsMaterial | undefined
  readonly index: number
  readonly cells: SlotCells
  readonly meters: readonly PlainMeter[]
  /** Connections of each of {@link LISTENERS} that are this thread's. The first thread adds, this one takes away. */
  readonly open: Int32Array
  /** Not 0 once the service takes no new work. */
  readonly draining: Int32Array
}

/** What a thread is asked to do; it answers each with its number. */
export type Order =
  | { readonly kind: 'config'; readonly config: Config }
  | { readonly kind: 'tls'; readonly tls: TlsMaterial }
  /** Answers with how many requests were cut off. */
  | { readonly kind: 'drain'; readonly ms: number }
  /** Answers with the values of `PROCESS_METRICS`, in their order. */
  | { readonly kind: 'measure' }

/** To a thread. */
export type ToThread =
  | { readonly kind: 'socket'; readonly listener: number; readonly number: number }
  | { readonly kind: 'order'; readonly id: number; readonly order: Order }
  /** The answer to a question for the last checkpoint; none where there is no answer. */
  | { readonly kind: 'checkpoint'; readonly id: number; readonly note: string | undefined }

/** From a thread. */
export type FromThread =
  | { readonly kind: 'ready' }
  | { readonly kind: 'line'; readonly line: string }
  | { readonly kind: 'meter'; readonly meter: PlainMeter }
  | { readonly kind: 'done'; readonly id: number; readonly value?: number | readonly number[] }
  | { readonly kind: 'checkpoint'; readonly id: number }
