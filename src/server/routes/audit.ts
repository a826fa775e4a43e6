import type { AuditLog } from '../../kms.js'
import type { Caller } from '../middleware/auth.js'
import { Refusal } from '../problem.js'
import { BASE } from './endpoint.js'

/** One route of the audit log. */
export interface AuditEndpoint {
  readonly method: 'GET'
  readonly path: string
  readonly label: string
  /** The label of metrics and logs. */
  readonly op: 'audit_checkpoint' | 'audit_proof'
  readonly contentType: string
  readonly answer: (
    log: AuditReader,
    param: (name: string) => string,
    caller: Caller,
  ) => string | Promise<string>
}

/** What the routes ask of the key service. */
export interface AuditReader extends Pick<AuditLog, 'proofJson'> {
  checkpoint(): string | Promise<string>
}

/** The last checkpoint as any C2SP client reads it, and the proof that a record is in the log. */
export const auditEndpoints: readonly AuditEndpoint[] = [
  {
    method: 'GET',
    path: '/audit/checkpoint',
    label: `${BASE}/audit/checkpoint`,
    op: 'audit_checkpoint',
    contentType: 'text/plain; charset=utf-8',
    answer: log => log.checkpoint(),
  },
  {
    method: 'GET',
    path: '/audit/proof/:seq',
    label: `${BASE}/audit/proof/{seq}`,
    op: 'audit_proof',
    contentType: 'application/json',
    answer: (log, param, { tenant, grant }) => log.proofJson(seqOf(param('seq')), tenant, grant),
  },
]

/** A leaf index in decimal digits, as it is answered with an operation. */
function seqOf(text: string): number {
  if (/^(0|[1-9][0-9]{0,15})$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text)
  throw new Refusal('BadRequest', 'must be a whole number from 0', { field: 'seq' })
}
