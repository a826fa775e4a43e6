/** SLH-DSA verification of public data. */
import { requireBytes, requireLength } from '../bytes.js'
import { attempt, toKmsError } from '../errors.js'
import * as noble from '../lanes/noble-post-quantum.js'
import { native, requireNative } from '../native.js'
import { Lanes, NOBLE, type PostQuantumLane } from './lanes.js'
import { ParameterSets, requireContext } from './parameters.js'

/**
 * A parameter set of FIPS 205, section 11; `slh-dsa` is `slh-dsa-sha2-128s`. Sizes in bytes, the same for both hashes:
 *
 * | sets | public key | signature | category |
 * | --- | --- | --- | --- |
 * | `slh-dsa-sha2-128s`, `slh-dsa-shake-128s` | 32 | 7,856 | 1 |
 * | `slh-dsa-sha2-128f`, `slh-dsa-shake-128f` | 32 | 17,088 | 1 |
 * | `slh-dsa-sha2-192s`, `slh-dsa-shake-192s` | 48 | 16,224 | 3 |
 * | `slh-dsa-sha2-192f`, `slh-dsa-shake-192f` | 48 | 35,664 | 3 |
 * | `slh-dsa-sha2-256s`, `slh-dsa-shake-256s` | 64 | 29,792 | 5 |
 * | `slh-dsa-sha2-256f`, `slh-dsa-shake-256f` | 64 | 49,856 | 5 |
 */
export type SlhDsaSet = 'slh-dsa' | noble.SlhDsaName

/** An implementation of SLH-DSA: the crate `slh-dsa`, or pure JavaScript; the same verdict on every input. */
export type SlhDsaLane = Exclude<PostQuantumLane, 'aws-lc'>

/** Who verifies, and under which context. */
export interface SlhDsaVerifyOptions {
  /** What the signer gave as context, 0 to 255 bytes; empty by default. */
  context?: Uint8Array
  /** The lane; `auto` by default. */
  lane?: SlhDsaLane
}

interface Sizes {
  readonly name: noble.SlhDsaName
  /** Length of a public key in bytes. */
  readonly publicKey: number
  /** Length of a signature in bytes. */
  readonly signature: number
}

const SETS = new ParameterSets<noble.SlhDsaName, Sizes>('slh-dsa', [
  { name: 'slh-dsa-sha2-128s', publicKey: 32, signature: 7856 },
  { name: 'slh-dsa-sha2-128f', publicKey: 32, signature: 17_088 },
  { name: 'slh-dsa-sha2-192s', publicKey: 48, signature: 16_224 },
  { name: 'slh-dsa-sha2-192f', publicKey: 48, signature: 35_664 },
  { name: 'slh-dsa-sha2-256s', publicKey: 64, signature: 29_792 },
  { name: 'slh-dsa-sha2-256f', publicKey: 64, signature: 49_856 },
  { name: 'slh-dsa-shake-128s', publicKey: 32, signature: 7856 },
  { name: 'slh-dsa-shake-128f', publicKey: 32, signature: 17_088 },
  { name: 'slh-dsa-shake-192s', publicKey: 48, signature: 16_224 },
  { name: 'slh-dsa-shake-192f', publicKey: 48, signature: 35_664 },
  { name: 'slh-dsa-shake-256s', publicKey: 64, signature: 29_792 },
  { name: 'slh-dsa-shake-256f', publicKey: 64, signature: 49_856 },
])

/** The addon has one lane, which takes no number. */
const LANES = new Lanes<SlhDsaLane>(native && ['auto', 'rustcrypto'])

/**
 * SLH-DSA (FIPS 205), pure, with contexts; HashSLH-DSA is not offered. Verification only: keys that sign are the
 * service's.
 */
export const slhDsa = Object.freeze({
  /**
   * The verdict on one signature (FIPS 205, Algorithm 24). A signature of a wrong length is `false`.
   *
   * It runs on the calling thread, which takes it hundreds of microseconds in the small sets of SHA-2 and up to ten
   * milliseconds in the fast sets of SHAKE: see {@link slhDsa.verifyAsync}.
   *
   * @param publicKey PK.seed ‖ PK.root; every string of the set's length is one.
   * @param message What was signed, of any length.
   * @throws KmsError `BadRequest` naming the argument: a wrong type, an unknown set or lane, a key of a wrong length, a
   * context over 255 bytes.
   */
  verify(
    set: SlhDsaSet,
    publicKey: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
    options?: SlhDsaVerifyOptions,
  ): boolean {
    return verdict(check(set, publicKey, message, signature, options))
  },

  /**
   * As {@link slhDsa.verify}, off the event loop. The inputs are copied before this returns, so they may be changed at
   * once. Lane `noble` has no other thread.
   *
   * @throws KmsError (as a rejection) as {@link slhDsa.verify}.
   */
  async verifyAsync(
    set: SlhDsaSet,
    publicKey: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
    options?: SlhDsaVerifyOptions,
  ): Promise<boolean> {
    const checked = check(set, publicKey, message, signature, options)
    const { sizes, lane, context } = checked
    if (lane === NOBLE || signature.length !== sizes.signature) return verdict(checked)
    try {
      return await requireNative().slhDsaVerifyAsync(sizes.name, publicKey, message, context, signature)
    } catch (error) {
      throw toKmsError(error)
    }
  },

  /** The lanes of this process. */
  lanes(): readonly SlhDsaLane[] {
    return LANES.names()
  },
})

/** Arguments that fit each other. */
interface Checked {
  sizes: Sizes
  lane: number
  publicKey: Uint8Array
  message: Uint8Array
  context: Uint8Array
  /** Of any length. */
  signature: Uint8Array
}

/** Options come first: reading them runs the caller's getters, which may take a buffer away. */
function check(
  set: SlhDsaSet,
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
  options: SlhDsaVerifyOptions | undefined,
): Checked {
  const lane = LANES.number(options?.lane)
  const context = requireContext(options?.context)
  const sizes = SETS.get(set)
  requireLength(publicKey, sizes.publicKey, 'publicKey')
  requireBytes(message, 'message')
  requireBytes(signature, 'signature')
  return { sizes, lane, publicKey, message, context, signature }
}

function verdict({ sizes, lane, publicKey, message, context, signature }: Checked): boolean {
  if (signature.length !== sizes.signature) return false
  if (lane === NOBLE) return noble.slhDsaVerify(sizes.name, publicKey, message, context, signature)
  return attempt(() => requireNative().slhDsaVerify(sizes.name, publicKey, message, context, signature))
}
