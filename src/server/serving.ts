import type { Config } from '../config/schema.js'
import type { HttpCounters } from '../metrics/http.js'
import type { SpanCounts } from '../tracing/tracer.js'
import type { FairQueue } from './fair-queue.js'
import type { Front } from './front.js'
import { type Listener, type ListenerParts, listen } from './listen.js'

/** Whoever serves the API: this thread, or others. */
export interface Serving {
  readonly http: HttpCounters
  readonly queue: Pick<FairQueue, 'depth' | 'waits'>
  /** Spans of requests, where they are traced. */
  spans(): SpanCounts | undefined
  /** Threads that serve, and how often one ended by itself. */
  threads(): { readonly serving: number; readonly failed: number }
  /** What the event loops of other threads measure of themselves: values of `PROCESS_METRICS`, in their order. */
  measure(): Promise<readonly (readonly number[])[]>
  /** Binds an address. */
  listen(parts: Omit<ListenerParts, 'fetch' | 'onRefused'>): Promise<Listener>
  /** Begins; rejects where it cannot. */
  start(): Promise<void>
  /** Throws `ReloadError` for live settings that cannot be taken. */
  check(next: Config): void
  /** Takes the live settings of others; resolves when they are in force. */
  setConfig(next: Config): Promise<void>
  /** Lets requests end within `ms`, then cuts what is left: the number of requests that were. */
  drain(ms: number, stopIntake: (drainMs: number, onCut: () => void) => Promise<void>): Promise<number>
}

/** This thread serves, beside all else that it does. */
export function serveHere({ metrics, queue, tracer, fetch, onRefused, setConfig }: Front): Serving {
  return {
    http: metrics,
    queue,
    spans: () => tracer?.status(),
    threads: () => ({ serving: 1, failed: 0 }),
    measure: async () => [],
    listen: parts => listen({ ...parts, fetch, onRefused }),
    start: async () => {},
    check: () => {},
    setConfig: async next => setConfig(next),
    async drain(ms, stopIntake) {
      let aborted = 0
      await stopIntake(ms, () => {
        aborted = metrics.inflight
      })
      await tracer?.stop()
      return aborted
    },
  }
}
