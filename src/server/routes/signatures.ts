import type { Operation } from '../../kms.js'
import { BASE, type Endpoint } from './endpoint.js'

function post(
  op: Operation,
  more: Pick<Endpoint, 'inlineBytes' | 'inlineBytesAlone' | 'coalesced'> = {},
): Endpoint {
  return { method: 'POST', path: `/${op}`, label: `${BASE}/${op}`, op, body: true, ...more }
}

/**
 * Signing and verifying. One item takes microseconds and stays on this thread, and so does a batch of a few hundred
 * of them: some 20 items. With one processor a batch of 64 to verify stays, too; the engine says itself what would
 * hold the event loop up for over a millisecond.
 */
export const signatureEndpoints: readonly Endpoint[] = [
  post('sign'),
  post('verify', { coalesced: true }),
  post('sign_batch', { inlineBytes: 4 * 1024 }),
  post('verify_batch', { inlineBytes: 8 * 1024, inlineBytesAlone: 32 * 1024 }),
]
