import { hash, timingSafeEqual } from 'node:crypto'
import { Refusal } from '../problem.js'

/** Who makes a request. */
export interface Caller {
  /** Names the capability in the audit context. */
  readonly actor: string
  /** The tenant that the capability is bound to, if it is bound to one. */
  readonly tenant?: string
}

/** Checks an `Authorization` header before anything else of the request is read; throws a {@link Refusal}. */
export type Authenticator = (authorization: string | undefined) => Caller

/** One token that grants everything, for development mode. */
export function singleToken(token: string, caller: Caller): Authenticator {
  const expected = digest(token)
  return authorization => {
    const sent = /^bearer +([^\s]+)$/i.exec(authorization ?? '')?.[1]
    // Digests have one length, so the comparison tells nothing about the token, its length included.
    if (sent === undefined || !timingSafeEqual(digest(sent), expected)) throw unauthenticated()
    return caller
  }
}

function digest(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}

function unauthenticated(): Refusal {
  return new Refusal('NoCapability', 'a valid bearer token is needed', {
    status: 401,
    headers: { 'www-authenticate': 'Bearer realm="ron-kms"' },
    reason: 'unauth',
  })
}
