import type { CapabilityVerifier } from '../../capability.js'
import { requireNative } from '../../native.js'

/** The longest that a capability lives. */
const LIFE_S = 30 * 24 * 3600

/** A token for everything, for development mode. */
export function devToken(verifier: CapabilityVerifier): string {
  const scopes = requireNative().capabilityScopes()
  const exp = Math.floor(Date.now() / 1000) + LIFE_S
  return verifier.mint('dev', [`scope = ${scopes.join(',')}`, 'tenant = *', `exp = ${exp}`]).token
}
