import { Coalescer } from '../coalescer.js'
import type { CallContext, CallTimes, Kms, VerifyRequest } from '../kms.js'
import type { Place, QueueName } from './fair-queue.js'
import { Refusal } from './problem.js'
import { type Endpoint, INLINE_BYTES } from './routes/endpoint.js'

/** What carries operations out. */
export type Dispatcher = Pick<Kms, 'dispatch' | 'dispatchAsync' | 'verifyCoalesced'>

/** One request, ready to be carried out when it is its turn. */
export interface Work {
  /** The kid in the path, where there is one. */
  readonly target: string | null
  readonly body: Uint8Array
  readonly context: CallContext
  readonly place: Place
  /** Filled with when it was done, where somebody wants to know. */
  readonly times?: CallTimes | undefined
}

/** Carries out one request: its answer, at once or later. */
export type Dispatch = (work: Work) => string | Promise<string>

/** Work that has not begun by then is given up. */
export const DEADLINE_MS = 2000

/** Operations that only read. */
const READS: ReadonlySet<string> = new Set(['verify', 'verify_batch', 'describe', 'attest', 'list'])

/** The queue of an operation. */
export function queueOf(op: string): QueueName {
  return READS.has(op) ? 'verify' : 'sign'
}

/**
 * Where and how an endpoint's work is done: here, with others that came at the same time, or on the engine's threads.
 * `threads` is how many of those there are for this event loop: the only one would take turns with it.
 */
export function dispatchOf(
  { op, inlineBytes = INLINE_BYTES, inlineBytesAlone = inlineBytes, coalesced }: Endpoint,
  kms: Dispatcher,
  threads: number,
): Dispatch {
  const most = threads > 1 ? inlineBytes : inlineBytesAlone
  const onThread = ({ target, body, context, place, times }: Work) =>
    kms.dispatchAsync(op, target, body, inTime(context, place), times)
  const later: Dispatch = work => {
    const turn = work.place.thread()
    return turn === undefined ? onThread(work) : turn.then(() => onThread(work))
  }
  // What would hold the event loop up is not done at once: nothing has happened yet then.
  const now: Dispatch = work => {
    const { target, body, context, place, times } = work
    const call = () => kms.dispatch(op, target, body, inTime(context, place))
    return place.measured(times ? () => timed(times, call) : call) ?? later(work)
  }
  const requests = new Coalescer<VerifyRequest, string | null>(batch => {
    const [first] = batch
    if (first === undefined || batch.length > 1) return kms.verifyCoalesced(batch)
    return [{ answer: kms.dispatch(op, null, first.body, first.context) }]
  })
  const together: Dispatch = async work => {
    const { body, context, place } = work
    const answer = place.measured(() => requests.submit({ body, context: inTime(context, place) }))
    return (await answer) ?? later(work)
  }
  const inline = coalesced ? together : now
  return work => {
    if (work.body.length > most) return later(work)
    const turn = work.place.loop()
    return turn === undefined ? inline(work) : turn.then(() => inline(work))
  }
}

/** Notes when a call on the event loop began and ended; nothing where it did nothing. */
function timed(times: CallTimes, call: () => string | null): string | null {
  const began = performance.now()
  let answer: string | null | undefined
  try {
    answer = call()
  } finally {
    if (answer !== null) Object.assign(times, { began, ended: performance.now() })
  }
  return answer
}

/** What is left of a request's time after it waited. */
function inTime(context: CallContext, { waitedMs }: Place): CallContext {
  if (waitedMs === 0) return context
  const deadlineMs = Math.floor((context.deadlineMs ?? DEADLINE_MS) - waitedMs)
  if (deadlineMs <= 0)
    throw new Refusal('Timeout', 'the request waited too long for its turn', { retryable: true })
  return { ...context, deadlineMs }
}
