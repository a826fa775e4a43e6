import { BASE, type Endpoint } from './endpoint.js'

/** Capabilities that are minted within the caller's own. */
export const capabilityEndpoints: readonly Endpoint[] = [
  { method: 'POST', path: '/capabilities', label: `${BASE}/capabilities`, op: 'mint_capability', body: true },
]
