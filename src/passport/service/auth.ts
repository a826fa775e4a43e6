import type { CapabilityVerifier, Scope } from '../../capability.js'
import { type Asking, type Authenticator, type Caller, capabilities } from '../../server/middleware/auth.js'
import { Refusal } from '../../server/problem.js'

/** What a route asks of a capability: a scope, or just that it is one for this service. */
export type PassportScope = 'passport:issue' | 'passport:admin' | 'any'

/** Says who makes a request that needs a scope; throws a `Refusal`. */
export type ScopedAuthenticator = (asking: Omit<Asking, 'scopes'>, scope: PassportScope) => Caller

const NEEDED: Readonly<Record<PassportScope, readonly Scope[]>> = {
  'passport:issue': ['passport:issue'],
  'passport:admin': ['passport:admin'],
  any: [],
}

/**
 * Capabilities that cover the key of this service, with all of its versions: one for another tenant, purpose or key is
 * none here.
 */
export function passportCapabilities(
  verifier: Pick<CapabilityVerifier, 'check'>,
  key: string,
): ScopedAuthenticator {
  const authenticate: Authenticator = capabilities(verifier, ({ socketPeer }) => socketPeer)
  return (asking, scope) => {
    const caller = authenticate({ ...asking, scopes: NEEDED[scope] })
    if (caller.held?.coversKey(key) !== true) {
      throw new Refusal('NoCapability', 'the capability does not cover the key of this service', {
        reason: 'unauth',
      })
    }
    return caller
  }
}
