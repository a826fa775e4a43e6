import { hash, timingSafeEqual } from 'node:crypto'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { type Caller, type CapabilityVerifier, DENIALS, type Denial, type Scope } from '../../capability.js'
import type { KmsErrorCode } from '../../errors.js'
import type { RejectReason } from '../../metrics/catalog.js'
import { Refusal } from '../problem.js'
import type { PeerOf } from './peer.js'

export type { Caller, Scope } from '../../capability.js'

/** A request, as far as it is looked at before anybody knows whose it is. */
export interface Asking {
  /** What it needs, all of them. */
  readonly scopes: readonly Scope[]
  readonly header: (name: string) => string | undefined
  /** The address at the other end of the socket; absent on a Unix socket, or on another server. */
  readonly socketPeer: string | undefined
}

/** Says who makes a request, before anything else of it is read; throws a {@link Refusal}. */
export type Authenticator = (asking: Asking) => Caller

/** What each denial is over HTTP. Whoever is not known gets 401, whoever is known and may not 403. */
const ANSWERS: Readonly<Record<Denial, readonly [KmsErrorCode, ContentfulStatusCode, RejectReason]>> = {
  Missing: ['NoCapability', 401, 'unauth'],
  Invalid: ['NoCapability', 401, 'unauth'],
  Revoked: ['NoCapability', 401, 'unauth'],
  Expired: ['NoCapability', 401, 'unauth'],
  NotYet: ['NoCapability', 401, 'unauth'],
  Scope: ['NoCapability', 403, 'unauth'],
  Address: ['NoCapability', 403, 'unauth'],
  Rate: ['Backpressure', 429, 'backpressure'],
  Unavailable: ['StoreUnavailable', 503, 'store_unavailable'],
}

/** Capabilities as bearer tokens (RFC 6750). */
export function capabilities(verifier: Pick<CapabilityVerifier, 'check'>, peerOf: PeerOf): Authenticator {
  return asking => {
    const { scopes, header } = asking
    const found = verifier.check(header('authorization'), { scope: scopes, ip: peerOf(asking) })
    if (typeof found !== 'string') return found
    throw denied(found, scopes)
  }
}

/** One token that grants everything, for an app that is mounted behind a door of its own, and for tests. */
export function singleToken(token: string, caller: Caller): Authenticator {
  const expected = digest(token)
  return ({ header, scopes }) => {
    const sent = /^bearer +([^\s]+)$/i.exec(header('authorization') ?? '')?.[1]
    // Digests have one length, so the comparison tells nothing about the token, its length included.
    if (sent === undefined || !timingSafeEqual(digest(sent), expected)) throw denied('Invalid', scopes)
    return caller
  }
}

function digest(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}

function denied(denial: Denial, scopes: readonly Scope[]): Refusal {
  const [code, status, reason] = ANSWERS[denial]
  return new Refusal(code, DENIALS[denial], {
    status,
    reason,
    retryable: code !== 'NoCapability',
    ...(status === 401 && { headers: { 'www-authenticate': 'Bearer realm="ron-kms"' } }),
    ...(denial === 'Scope' && { hint: `needs ${scopes.join(' and ')}` }),
  })
}
