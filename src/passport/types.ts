/** What passports are made of. */

/** What a passport says, serialised as canonical JSON (RFC 8785). Times are Unix seconds. */
export interface PassportClaims {
  /** Who issued it. */
  iss: string
  /** Whom it is about. */
  sub: string
  /** Whom it is for; a JWT of another issuer may have a single one, as a string. */
  aud: string[] | string
  /** When it was issued. */
  iat: number
  /** When it expires. */
  exp: number
  /** When it begins to hold. */
  nbf?: number
  /** What it allows. */
  scopes?: string[]
  /** Chosen by whoever asked for it; a replay window takes it once. */
  nonce?: string
  /** Whatever else was to be signed. */
  ctx?: Record<string, unknown>
  /** The version of the key that signed: `<tenant>/<purpose>/ed25519/<uuid>#vN`. */
  kid: string
  /** Its own id, a UUID. */
  jti?: string
  [claim: string]: unknown
}

/** A passport with its payload and signature apart, both base64url without padding. */
export interface Envelope {
  alg: 'Ed25519'
  kid: string
  /** The canonical claims. */
  msg: string
  /** 64 bytes. */
  sig: string
}

/** What a passport is asked for beside being valid. */
export interface VerifyDemands {
  /** The audience that the caller is: it must be one of `aud`. */
  audience?: string
  /** Scopes that it must have, all of them. */
  scopes?: readonly string[]
}

/** Why a passport is not taken; of two reasons, the one that is further up. */
export type RefusalReason =
  | 'malformed'
  | 'unknown_kid'
  | 'verify_failed'
  | 'expired'
  | 'nbf'
  | 'bad_aud'
  | 'scope_denied'
  | 'replayed'
  | 'internal'

/** The answer to "does this passport hold?". */
export type Verdict =
  | { readonly ok: true; readonly claims: PassportClaims; readonly reason?: never }
  | { readonly ok: false; readonly reason: RefusalReason; readonly claims?: never }

/** A wish for a passport. */
export interface IssueRequest {
  /** Whom it is about. */
  sub: string
  /** Whom it is for. */
  aud: string | readonly string[]
  /** What it allows. */
  scopes: readonly string[]
  /** Whatever else is to be signed. */
  ctx?: Readonly<Record<string, unknown>>
  /** Lifetime in seconds; the issuer has a default and a longest one. */
  ttl_s?: number
  /** When it begins to hold, in Unix seconds. */
  nbf?: number
  /** Taken once by verifiers with a replay window. */
  nonce?: string
  /** `envelope`, the default, or `jwt` for stock JOSE libraries. */
  format?: 'envelope' | 'jwt'
}
