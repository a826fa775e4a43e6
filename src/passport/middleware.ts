/** A guard for routes of Hono. */
import type { MiddlewareHandler } from 'hono'
import type { PassportClaims, RefusalReason } from './types.js'
import type { PassportVerifier } from './verifier.js'

/** What a route asks for. */
export interface PassportAuthOptions {
  verifier: Pick<PassportVerifier, 'verify'>
  /** The audience that this service is. */
  audience: string
  /** Scopes that a caller must have, all of them. */
  scopes?: readonly string[]
}

/** What handlers behind the guard find in their context. */
export interface PassportVariables {
  passport: PassportClaims
}

/** Reasons for which another passport would not help: the caller may not do this. */
const FORBIDDEN: ReadonlySet<RefusalReason> = new Set(['scope_denied'])

/**
 * Lets a request through if it bears a passport for this audience with these scopes, as a compact token in
 * `Authorization: Bearer` (RFC 6750). Its claims are `c.get('passport')`.
 *
 * Anything else is answered 401, or 403 for a scope that is missing, as `{code,message,retryable}` with the reason in
 * `WWW-Authenticate`.
 */
export function passportAuth(
  options: PassportAuthOptions,
): MiddlewareHandler<{ Variables: PassportVariables }> {
  const { verifier, audience, scopes = [] } = options
  return async (c, next) => {
    const token = /^bearer +([^\s]+)$/i.exec(c.req.header('authorization') ?? '')?.[1]
    if (token === undefined) return refuse(401, 'Bearer', 'NoCapability', 'a passport is needed')
    const { ok, claims, reason } = verifier.verify(token, { audience, scopes })
    if (ok) {
      c.set('passport', claims)
      await next()
      return
    }
    if (reason === 'internal')
      return refuse(503, undefined, 'StoreUnavailable', 'the passport cannot be checked now')
    if (FORBIDDEN.has(reason)) {
      const challenge = `Bearer error="insufficient_scope", scope="${scopes.join(' ')}"`
      return refuse(403, challenge, 'NoCapability', 'the passport lacks a scope')
    }
    const challenge = `Bearer error="invalid_token", error_description="${reason}"`
    return refuse(401, challenge, 'NoCapability', `the passport is not taken: ${reason}`)
  }
}

function refuse(
  status: 401 | 403 | 503,
  challenge: string | undefined,
  code: string,
  message: string,
): Response {
  const retryable = status === 503
  return new Response(JSON.stringify({ code, message, retryable }), {
    status,
    headers: {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      ...(challenge !== undefined && { 'www-authenticate': challenge }),
      ...(retryable && { 'retry-after': '1' }),
    },
  })
}
