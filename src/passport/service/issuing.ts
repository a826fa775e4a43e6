import type { NativePassport } from '../../../index.js'
import { attempt, KmsError, toKmsError } from '../../errors.js'
import { toEnvelope, toToken } from '../issuer.js'
import type { Custody } from './custody.js'
import type { KeyRing } from './key-ring.js'

/** What issuing is made of. */
export interface IssuingParts {
  readonly native: Pick<NativePassport, 'issue'>
  readonly custody: Custody
  readonly ring: KeyRing
  /** Whether the clock was set back by more than clocks may differ. */
  readonly clockIsBehind: () => boolean
}

/** How often the head may change under us. */
const ATTEMPTS = 3

/** Issues a passport for a request body: the answer's JSON. */
export async function issue(
  { native, custody, ring, clockIsBehind }: IssuingParts,
  body: Uint8Array,
): Promise<string> {
  // It would carry times that nobody else has, or live longer than it may once the clock is right.
  if (clockIsBehind()) {
    throw new KmsError('StoreUnavailable', 'the clock of this machine was set back')
  }
  for (let attempts = 1; ; attempts += 1) {
    try {
      const version = ring.signing
      if (!version) throw new KmsError('Conflict', 'the version that signs is not trusted')
      const { kid } = version
      const { jwt, signed } = attempt(() => native.issue(body, kid))
      const made = custody.sign(version, signed)
      const signature = made instanceof Uint8Array ? made : await made
      return JSON.stringify(jwt ? { token: toToken(signed, signature) } : toEnvelope(kid, signed, signature))
    } catch (thrown) {
      const error = toKmsError(thrown)
      if (error.code !== 'Conflict') throw error
      // Another version signs, or none may: the key is not what the caller could have got wrong.
      if (attempts === ATTEMPTS)
        throw new KmsError('StoreUnavailable', 'the key does not sign now', { cause: error })
      await ring.refresh()
    }
  }
}
