import type { Authenticator, Caller } from '../../server/middleware/auth.js'

/** What a route asks of a capability: a scope, or just that it is one for this service. */
export type PassportScope = 'passport:issue' | 'passport:admin' | 'any'

/** Checks an `Authorization` header for a scope; throws a `Refusal`. */
export type ScopedAuthenticator = (authorization: string | undefined, scope: PassportScope) => Caller

/** For a token that grants everything, in development mode. */
export function everyScope(authenticate: Authenticator): ScopedAuthenticator {
  return authorization => authenticate(authorization)
}
