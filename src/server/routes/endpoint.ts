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
  /** Whether a body is read; the engine parses it. */
  readonly body: boolean
  /** Runs on the engine's threads: for work that would hold up the event loop. */
  readonly threaded?: true
}

/** Below this path lie all routes of the API. */
export const BASE = '/v1/kms'
