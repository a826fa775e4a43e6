/** Verifying passports offline, under keys that the caller trusts. */
import type { NativePassport } from '../../index.js'
import { requireBytes, requireObject, requireString } from '../bytes.js'
import { attempt, attemptAsync, KmsError } from '../errors.js'
import { follow } from './follow.js'
import { fromJwks, type JwkSet, type TrustedKey } from './jwks.js'
import { openNative } from './native.js'
import { type Remembered, TokenCache } from './token-cache.js'
import type { Envelope, Verdict, VerifyDemands } from './types.js'

/** How a verifier is made. */
export interface PassportVerifierOptions {
  /** Keys as a JWK set, as `/.well-known/jwks.json` answers it. */
  jwks?: JwkSet
  /** Keys as bytes. */
  keys?: readonly TrustedKey[]
  /** How far clocks may differ, in seconds: 120 by default, at most 600. */
  clockSkew?: number
  /** Longest payload in bytes: 4,096 by default. */
  maxMsgBytes?: number
  /** Most items of a batch: 512 by default. */
  maxBatch?: number
  /** Whether a passport is refused as `bad_aud` when no audience is asked for. On by default. */
  requireAud?: boolean
  /**
   * Takes each passport once, by its `jti` and `nonce`. `name` is the window's in this process: worker threads that name
   * the same one share it. When `maxItems` are remembered, further passports are refused as `internal`.
   */
  replay?: { name: string; maxItems: number }
  /**
   * Remembers up to `maxItems` tokens that held, so that the same one costs a lookup. A token is forgotten when it
   * expires, with the key that signed it, and when others came later. Off by default; not together with `replay`.
   */
  cache?: { maxItems: number }
  /** The time in Unix seconds; this machine's by default. For tests and for tokens of another time. */
  now?: () => number
}

/**
 * Verifies passports: strict Ed25519 over the exact bytes, then time, audience and scopes. No token makes it ask anyone.
 *
 * Synchronous: one takes tens of microseconds. Safe to share within a thread.
 */
export class PassportVerifier {
  readonly #native: NativePassport
  readonly #now: (() => number) | undefined
  readonly #cache: TokenCache | undefined

  /**
   * @throws KmsError `BadRequest` naming the option; `Unsupported` without a native binary for this platform.
   */
  constructor(options: PassportVerifierOptions = {}) {
    requireObject(options, 'options')
    const { jwks, keys = [], replay, cache, now, ...settings } = options
    if (cache && replay) {
      throw new KmsError('BadRequest', 'would answer what the replay window must refuse', { field: 'cache' })
    }
    this.#native = openNative({ ...settings, replay })
    this.#now = now
    this.#cache = cache && new TokenCache(cache.maxItems)
    for (const key of [...(jwks === undefined ? [] : fromJwks(jwks)), ...keys]) this.trust(key)
  }

  /**
   * Takes the keys that a service publishes, now and from then on: its JWK set is fetched again twice in the time that
   * its `Cache-Control` allows. What it no longer publishes is no longer trusted. Does not keep a process alive.
   *
   * @param url Such as `https://passport.example/.well-known/jwks.json`. Who can change what it answers can issue.
   * @returns What ends it.
   * @throws KmsError (as a rejection) `StoreUnavailable` where the keys cannot be had the first time, `BadRequest`.
   */
  follow(url: string): Promise<() => void> {
    requireString(url, 'url')
    return follow(url, { trust: key => this.trust(key), distrust: kid => void this.distrust(kid) })
  }

  /** Takes passports of this key from now on. */
  trust({ kid, publicKey }: TrustedKey): void {
    requireString(kid, 'kid')
    requireBytes(publicKey, 'publicKey')
    attempt(() => this.#native.trust(kid, publicKey))
    this.#cache?.clear()
  }

  /** Takes passports of this kid no longer, remembered ones included. Whether it was trusted. */
  distrust(kid: string): boolean {
    requireString(kid, 'kid')
    this.#cache?.clear()
    return attempt(() => this.#native.distrust(kid))
  }

  /**
   * The verdict on one passport. What is no passport at all is `malformed`, too.
   *
   * @param passport A compact token or an envelope, as the issuer answered it.
   * @throws KmsError `BadRequest` for a demand of a wrong type.
   */
  verify(passport: string | Envelope, demands: VerifyDemands = {}): Verdict {
    const at = this.#now?.()
    if (this.#cache && typeof passport === 'string') {
      const now = at ?? Math.floor(Date.now() / 1000)
      const key = TokenCache.key(passport, demands)
      const known = this.#cache.get(key, now)
      // Parsed anew, so that nobody changes what others are given.
      if (known) return { ok: true, claims: JSON.parse(known.claims) }
      const answer = this.#ask(passport, demands, at)
      const verdict = JSON.parse(answer) as Verdict
      if (verdict.ok) this.#cache.put(key, remember(verdict, now))
      return verdict
    }
    return JSON.parse(this.#ask(passport, demands, at)) as Verdict
  }

  /**
   * Verdicts on many passports, in order. Their signatures are checked side by side, which makes each several times as fast.
   *
   * @throws KmsError `TooLarge` for more than `maxBatch`, `BadRequest` for a demand of a wrong type.
   */
  verifyBatch(passports: readonly (string | Envelope)[], demands: VerifyDemands = {}): Verdict[] {
    if (!Array.isArray(passports)) {
      throw new KmsError('BadRequest', 'must be an array', { field: 'passports' })
    }
    const body = Buffer.from(`[${passports.map(passport => requestText(passport, demands)).join()}]`)
    try {
      return JSON.parse(Buffer.from(this.verifyBatchBody(body)).toString())
    } catch (error) {
      if ((error as KmsError).code !== 'BadRequest') throw error
      // One of them has text that is no Unicode, or is nested without end: it spoils no other.
      return passports.map(passport => this.verify(passport, demands))
    }
  }

  /**
   * As {@link PassportVerifier.verifyBatch} for a request body as it came: a JSON array of envelopes or `{token}`, each
   * perhaps with `audience` and `scopes`. Bytes in, bytes out, in one native call.
   *
   * @throws KmsError `BadRequest` for what is no JSON array, `TooLarge` for more than `maxBatch` items.
   */
  verifyBatchBody(body: Uint8Array): Uint8Array {
    requireBytes(body, 'body')
    return attempt(() => this.#native.verifyBatch(body, false, this.#now?.())) as Uint8Array
  }

  /**
   * As {@link PassportVerifier.verifyBatchBody}, on threads beside the event loop: for bodies that strangers send, of which
   * hundreds of signatures take milliseconds.
   *
   * @throws KmsError (as a rejection) as `verifyBatchBody`.
   */
  async verifyBatchBodyAsync(body: Uint8Array): Promise<Uint8Array> {
    requireBytes(body, 'body')
    const answer = attemptAsync(() => this.#native.verifyBatchAsync(body, false, this.#now?.()))
    return (await answer) as Uint8Array
  }

  #ask(passport: string | Envelope, demands: VerifyDemands, at: number | undefined): string {
    const body = Buffer.from(requestText(passport, demands))
    try {
      return attempt(() => this.#native.verify(body, false, at)) as string
    } catch (error) {
      const { code } = error as KmsError
      // Whoever holds a token in hand asked about it, and not whether the question was well put.
      if (code === 'BadRequest' || code === 'TooLarge') return '{"ok":false,"reason":"malformed"}'
      throw error
    }
  }
}

/** The JSON of a request; of what JSON has no words for, one that is malformed. */
function requestText(passport: unknown, demands: VerifyDemands): string {
  const asked = request(passport, demands)
  try {
    return JSON.stringify(asked)
  } catch {
    return '{}'
  }
}

function request(passport: unknown, demands: VerifyDemands): object {
  const { audience, scopes } = demands
  if (audience !== undefined) requireString(audience, 'audience')
  if (scopes !== undefined && !(Array.isArray(scopes) && scopes.every(scope => typeof scope === 'string'))) {
    throw new KmsError('BadRequest', 'must be an array of strings', { field: 'scopes' })
  }
  const form = typeof passport === 'string' ? { token: passport } : envelopeOf(passport)
  return { ...form, audience, scopes }
}

/** Its four fields: whatever else an object has is not part of an envelope, but may be meant to be. */
function envelopeOf(passport: unknown): object {
  const { audience: _audience, scopes: _scopes, ...fields } = (passport ?? {}) as Record<string, unknown>
  return fields
}

function remember({ claims }: Verdict & { ok: true }, now: number): Remembered {
  const until = performance.now() + (claims.exp - now) * 1000
  return { claims: JSON.stringify(claims), expiresAt: claims.exp, until }
}
