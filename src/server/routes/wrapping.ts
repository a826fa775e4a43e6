import { BASE, type Endpoint } from './endpoint.js'

const post = (op: 'wrap' | 'unwrap' | 'rewrap'): Endpoint => ({
  ...{ method: 'POST', path: `/${op}`, label: `${BASE}/${op}`, op, body: true },
})

/** Data keys: encrypted, decrypted, and encrypted anew to the head. Tens of microseconds each. */
export const wrappingEndpoints: readonly Endpoint[] = [post('wrap'), post('unwrap'), post('rewrap')]
