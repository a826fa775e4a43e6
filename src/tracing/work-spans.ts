/** What a request's work looks like as spans: from moments to a tree, pure but for ids. */
import { randomBytes } from 'node:crypto'
import type { CallTimes } from '../kms-types.js'
import type { Span } from './otlp.js'

/** When a request's work was handed over, and when the parts of it were, all on the clock of `performance.now()`. */
export interface WorkTimes extends CallTimes {
  readonly dispatched: number
}

/** What the spans of a service depend on. */
export interface Custody {
  /** The backend of the service. */
  readonly backend: string
  /** Whether an answer waits until the audit log's record is on the disk. */
  readonly waits?: boolean
}

/** Operations that use, make or change what is secret, by the name that a span of the backend gives them. */
const VERBS: Readonly<Record<string, string>> = {
  ...{ sign: 'sign', sign_batch: 'sign', wrap: 'wrap', unwrap: 'unwrap', rewrap: 'rewrap' },
  ...{ create: 'create', import: 'import', derive: 'derive', rotate: 'rotate', attest: 'attest' },
  ...{ disable: 'disable', enable: 'enable', destroy: 'destroy', cancel_destroy: 'cancel_destroy' },
}
const TOKEN = 'pkcs11'
/** Where a service with a token has its other keys. Without having been asked, a token did not sign, and never wraps. */
const BESIDE_TOKEN = 'file'
const NEEDS_ASKING: ReadonlySet<string> = new Set(['sign', 'wrap'])

/**
 * The spans below a request: `svc.kms.<op>` from the moment that the work was handed over, and below it
 * `backend.<backend>.<op>` while it was done and `svc.kms.audit.append` while the answer waited for the disk. What lies
 * before the backend's span is waiting for a turn: the attribute `queue_ms`.
 */
export function workSpans(root: Span, op: string, times: WorkTimes, { backend, waits }: Custody): Span[] {
  const { dispatched, asked, made, began, ended, settled } = times
  const first = asked ?? began
  const work: Span = {
    ...within(root, dispatched),
    name: `svc.kms.${op}`,
    attributes: { ...root.attributes, queue_ms: first && Math.max(0, first - dispatched) },
  }
  const verb = VERBS[op]
  if (verb === undefined || first === undefined) return [work]
  const last = asked === undefined ? ended : made
  const holder = asked === undefined && backend === TOKEN && NEEDS_ASKING.has(verb) ? BESIDE_TOKEN : backend
  const secret: Span = {
    ...within(work, first, last),
    name: `backend.${holder}.${verb}`,
    kind: asked === undefined ? 'internal' : 'client',
    attributes: { ...root.attributes, backend: holder },
  }
  const isRecorded = waits === true && verb !== 'attest' && root.error === undefined
  if (!isRecorded || ended === undefined || settled === undefined) return [work, secret]
  const append: Span = {
    ...within(work, ended, settled),
    name: 'svc.kms.audit.append',
    attributes: root.attributes,
  }
  return [work, secret, append]
}

/** A span below another and not outside of it; to the other's end unless said. */
function within(parent: Span, from: number, to?: number): Span {
  const at = (ms: number) => Math.min(parent.endMs, Math.max(parent.startMs, performance.timeOrigin + ms))
  const [startMs, endMs] = [at(from), to === undefined ? parent.endMs : at(to)]
  return { ...parent, spanId: spanId(), parentSpanId: parent.spanId, kind: 'internal', startMs, endMs }
}

/** 16 hex digits. */
export function spanId(): string {
  return randomBytes(8).toString('hex')
}
