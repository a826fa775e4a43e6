/** Macaroons, without a root key: what they say, and how their holders narrow them. */
import { requireString } from '../bytes.js'
import { attempt, KmsError } from '../errors.js'
import { requireNative } from '../native.js'

/** Bytes as text, or in hex where they are none. */
export type MacaroonText = string | { readonly hex: string }

/** What a macaroon says. Nothing of it is verified. */
export interface MacaroonInspection {
  /** Where it is for; nobody's signature covers this. */
  readonly location?: MacaroonText
  readonly identifier: MacaroonText
  /** In order. One that somebody else would have to vouch for is an object. */
  readonly caveats: readonly (
    | MacaroonText
    | { readonly third_party: true; readonly identifier: MacaroonText }
  )[]
  /** What the identifier says, where it is one of this service. */
  readonly capability?: {
    /** What a list of revoked capabilities names it by. */
    readonly id: string
    /** The ids of the capabilities that it was minted with: revoking one of them revokes it. */
    readonly minted_with: readonly string[]
    /** The name of the root key. */
    readonly root_key: string
    readonly name: string
    /** In Unix milliseconds. */
    readonly minted_ms: number
  }
}

/** Macaroons in libmacaroons' version 2 binary format, in base64url without padding: at most 8 KiB and 64 caveats. */
export const macaroon = {
  /**
   * What a token says. The signature is not shown.
   *
   * @throws KmsError `BadRequest`, field `token`, for what is no macaroon; `Unsupported` without a native binary.
   */
  inspect(token: string): MacaroonInspection {
    requireString(token, 'token')
    const { macaroonInspect } = requireNative()
    return JSON.parse(attempt(() => macaroonInspect(token))) as MacaroonInspection
  },

  /**
   * A token with more caveats, such as `exp = 1767225600`: it grants no more than the one before, and nobody can take
   * a caveat away again.
   *
   * @throws KmsError `BadRequest` for what is no capability of this service or no caveat of it, `TooLarge`;
   * `Unsupported` without a native binary.
   */
  attenuate(token: string, caveats: readonly string[]): string {
    requireString(token, 'token')
    if (!Array.isArray(caveats)) throw new KmsError('BadRequest', 'must be an array', { field: 'caveats' })
    caveats.forEach((text, i) => {
      requireString(text, `caveats[${i}]`)
    })
    const { macaroonAttenuate } = requireNative()
    return attempt(() => macaroonAttenuate(token, [...caveats]))
  },
} as const
