import type { Operation } from '../../kms.js'
import { BASE, type Endpoint } from './endpoint.js'

function post(op: Operation, threaded?: true): Endpoint {
  return {
    method: 'POST',
    path: `/${op}`,
    label: `${BASE}/${op}`,
    op,
    body: true,
    ...(threaded && { threaded }),
  }
}

/** Signing and verifying. One item takes microseconds and stays on this thread; a batch goes to the engine's. */
export const signatureEndpoints: readonly Endpoint[] = [
  post('sign'),
  post('verify'),
  post('sign_batch', true),
  post('verify_batch', true),
]
