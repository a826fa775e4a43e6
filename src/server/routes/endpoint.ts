import type { Operation } from '../../kms.js'
import type { KidSegments } from '../middleware/kid.js'

/** One method of one path of the API and the operation behind it. */
export interface Endpoint {
  readonly method: 'GET' | 'POST'
  /** Below the base path, in the router's notation. */
  readonly path: string
  /** The route label of metrics and logs: two notations of one route share it. */
  readonly label: string
  /** The engine's operation. */
  readonly op: Operation
  /** Where the path names a key. */
  readonly kid?: KidSegments
  /** Whether other methods of this path would else go to the route of a kid, and are refused before that. */
  readonly alone?: true
  /** Whether a body is read; the engine parses it. */
  readonly body: boolean
  /** The parameters that the query may have; they are the engine's body then. */
  readonly query?: readonly string[]
  /**
   * Bytes of a body up to which the work is done on the event loop, where it is shorter than the way to another
   * thread and back; {@link INLINE_BYTES} unless said.
   */
  readonly inlineBytes?: number
  /** The same where there is one processor for both, so that the way to a thread brings nothing. */
  readonly inlineBytesAlone?: number
  /** Requests that come at the same time are worked on side by side. */
  readonly coalesced?: true
}

/**
 * A longer body is worked on by the engine's threads. What one request asks for grows with the product of its message
 * and its kids: within the cap on bodies that is a tenth of a second, below this a few milliseconds.
 */
export const INLINE_BYTES = 16 * 1024

/** Below this path lie all routes of the API. */
export const BASE = '/v1/kms'
