/** Issuing passports with a key of a service in this process. */
import type { NativePassport } from '../../index.js'
import { requireObject, requireString } from '../bytes.js'
import { attempt, KmsError } from '../errors.js'
import type { Kms } from '../kms.js'
import { type Jwk, toJwk } from './jwks.js'
import { openNative } from './native.js'
import type { Envelope, IssueRequest } from './types.js'

/** How an issuer is made. */
export interface PassportIssuerOptions {
  /** The service that holds the key. */
  kms: Pick<Kms, 'describeKey' | 'signAsync'>
  /** The key, without `#vN`: Ed25519, and one that signs messages. Its head signs. */
  key: string
  /** `iss`. */
  issuer: string
  /** Lifetime where none is asked for, in seconds: 3,600 by default. */
  defaultTtl?: number
  /** Longest lifetime, in seconds: 86,400 by default. */
  maxTtl?: number
  /** Longest payload in bytes: 4,096 by default. */
  maxMsgBytes?: number
}

/** How often a rotation may come between looking the head up and signing with it. */
const ATTEMPTS = 3

/** Issues passports under the head of one key. */
export class PassportIssuer {
  readonly #native: NativePassport
  readonly #kms: PassportIssuerOptions['kms']
  readonly #key: string
  /** The version that signed last; whoever rotated since then is found out by the `Conflict` of a stale version. */
  #head: number | undefined

  /**
   * @throws KmsError `BadRequest` naming the option; `Unsupported` without a native binary for this platform.
   */
  constructor(options: PassportIssuerOptions) {
    requireObject(options, 'options')
    const { kms, key, ...settings } = options
    requireObject(kms, 'kms')
    requireString(key, 'key')
    requireString(settings.issuer, 'issuer')
    if (key.includes('#')) throw new KmsError('BadRequest', 'must be without its version', { field: 'key' })
    this.#native = openNative(settings)
    this.#kms = kms
    this.#key = key
  }

  /**
   * Issues a passport.
   *
   * @returns An envelope, or a compact token for `format: 'jwt'`.
   * @throws KmsError (as a rejection) `BadRequest` naming the field, `TooLarge`, `Conflict` for a key that is out of use,
   * and what signing throws.
   */
  issue(request: IssueRequest & { format: 'jwt' }): Promise<string>
  issue(request: IssueRequest & { format?: 'envelope' }): Promise<Envelope>
  issue(request: IssueRequest): Promise<Envelope | string>
  async issue(request: IssueRequest): Promise<Envelope | string> {
    requireObject(request, 'request')
    const body = toBody(request)
    for (let attempts = 1; ; attempts += 1) {
      this.#head ??= (await this.#kms.describeKey(this.#key)).head
      const kid = `${this.#key}#v${this.#head}`
      const { jwt, signed } = attempt(() => this.#native.issue(body, kid))
      try {
        const signature = await this.#kms.signAsync(kid, signed)
        return jwt ? toToken(signed, signature) : toEnvelope(kid, signed, signature)
      } catch (error) {
        this.#head = undefined
        if (!(error instanceof KmsError) || error.code !== 'Conflict' || attempts === ATTEMPTS) throw error
      }
    }
  }

  /** Every version of the key that is in use, for verifiers. */
  async jwks(): Promise<{ keys: Jwk[] }> {
    const { versionStates } = await this.#kms.describeKey(this.#key)
    const used = versionStates.filter(({ state }) => state === 'enabled')
    const keys = used.map(async ({ version }) => {
      const { kid, publicKey } = await this.#kms.describeKey(`${this.#key}#v${version}`)
      return toJwk({ kid, publicKey })
    })
    return { keys: await Promise.all(keys) }
  }
}

/** A compact JWS. */
export function toToken(signed: Uint8Array, signature: Uint8Array): string {
  return `${Buffer.from(signed).toString('latin1')}.${Buffer.from(signature).toString('base64url')}`
}

export function toEnvelope(kid: string, payload: Uint8Array, signature: Uint8Array): Envelope {
  const encode = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url')
  return { alg: 'Ed25519', kid, msg: encode(payload), sig: encode(signature) }
}

function toBody(request: IssueRequest): Uint8Array {
  try {
    return Buffer.from(JSON.stringify(request))
  } catch (cause) {
    throw new KmsError('BadRequest', 'cannot be written as JSON', { field: 'request', cause })
  }
}
