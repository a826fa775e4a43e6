/** ML-DSA verification of public data. */
import type { MlDsaPublicKey as NativePublicKey } from '../../index.js'
import { requireBytes, requireLength } from '../bytes.js'
import { attempt, KmsError, toKmsError } from '../errors.js'
import * as noble from '../lanes/noble-post-quantum.js'
import { native, requireNative } from '../native.js'
import { isShort } from '../short-work.js'
import { NOBLE, POST_QUANTUM_LANES, type PostQuantumLane } from './lanes.js'
import { ParameterSets, requireContext } from './parameters.js'

/**
 * A parameter set of FIPS 204, section 4; `ml-dsa` is `ml-dsa-65`. Sizes in bytes:
 *
 * | set | public key | signature | category |
 * | --- | --- | --- | --- |
 * | `ml-dsa-44` | 1,312 | 2,420 | 2 |
 * | `ml-dsa-65` | 1,952 | 3,309 | 3 |
 * | `ml-dsa-87` | 2,592 | 4,627 | 5 |
 */
export type MlDsaSet = 'ml-dsa' | noble.MlDsaName

/** Who verifies a message representative. */
export interface MlDsaVerifyMuOptions {
  /** The lane; `auto` by default. */
  lane?: PostQuantumLane
}

/** Who verifies, and under which context. */
export interface MlDsaVerifyOptions extends MlDsaVerifyMuOptions {
  /** What the signer gave as context, 0 to 255 bytes; empty by default. */
  context?: Uint8Array
}

interface Sizes {
  readonly name: noble.MlDsaName
  /** Length of a public key in bytes. */
  readonly publicKey: number
  /** Length of a signature in bytes. */
  readonly signature: number
}

const SETS = new ParameterSets<noble.MlDsaName, Sizes>('ml-dsa', [
  { name: 'ml-dsa-65', publicKey: 1952, signature: 3309 },
  { name: 'ml-dsa-44', publicKey: 1312, signature: 2420 },
  { name: 'ml-dsa-87', publicKey: 2592, signature: 4627 },
])

/** Length of μ in bytes. */
const MU = 64

/** A public key that is ready for many verifications. */
class MlDsaPublicKey {
  /** The parameter set, by its own name. */
  readonly set: noble.MlDsaName
  readonly #bytes: Uint8Array
  /** @internal */
  readonly native: NativePublicKey | undefined

  /** @internal Made by {@link mlDsa.importKey}. */
  constructor({ name, publicKey }: Sizes, bytes: Uint8Array) {
    requireLength(bytes, publicKey, 'publicKey')
    this.set = name
    this.#bytes = Uint8Array.from(bytes)
    this.native = native && attempt(() => new (requireNative().MlDsaPublicKey)(name, this.#bytes))
  }

  /** A copy of the encoded key. */
  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes)
  }

  /** @internal The encoded key itself, of a key that fits the set. */
  static bytesOf(key: Uint8Array | MlDsaPublicKey, { name, publicKey }: Sizes): Uint8Array {
    if (!MlDsaPublicKey.is(key)) {
      requireLength(key, publicKey, 'publicKey')
      return key
    }
    if (key.set !== name) {
      throw new KmsError('BadRequest', `a key of ${key.set}, not of ${name}`, { field: 'publicKey' })
    }
    return key.#bytes
  }

  /** @internal Unlike `instanceof`, false for what only has the prototype. */
  static is(key: unknown): key is MlDsaPublicKey {
    return typeof key === 'object' && key !== null && #bytes in key
  }
}

export type { MlDsaPublicKey }

/**
 * ML-DSA (FIPS 204), pure, with contexts; HashML-DSA is not offered. Verification only: keys that sign are the
 * service's.
 */
export const mlDsa = Object.freeze({
  /**
   * The verdict on one signature (FIPS 204, Algorithm 3). A signature of a wrong length is `false`.
   *
   * It runs on the calling thread: tens of microseconds, and two to three milliseconds a MiB of the message. For large
   * messages there is {@link mlDsa.verifyAsync}.
   *
   * @param publicKey The encoded key, or one from {@link mlDsa.importKey}.
   * @param message What was signed, of any length.
   * @throws KmsError `BadRequest` naming the argument: a wrong type, an unknown set or lane, a key of a wrong length or
   * of another set, a context over 255 bytes.
   */
  verify(
    set: MlDsaSet,
    publicKey: Uint8Array | MlDsaPublicKey,
    message: Uint8Array,
    signature: Uint8Array,
    options?: MlDsaVerifyOptions,
  ): boolean {
    return verdict(check(set, publicKey, message, signature, options))
  },

  /**
   * As {@link mlDsa.verify}, off the event loop. The inputs are copied before this returns, so they may be changed at
   * once. A message of less than some 25 KB is verified at once: the way to another thread would cost more. Lane `noble`
   * has no other thread.
   *
   * @throws KmsError (as a rejection) as {@link mlDsa.verify}.
   */
  async verifyAsync(
    set: MlDsaSet,
    publicKey: Uint8Array | MlDsaPublicKey,
    message: Uint8Array,
    signature: Uint8Array,
    options?: MlDsaVerifyOptions,
  ): Promise<boolean> {
    const checked = check(set, publicKey, message, signature, options)
    const { sizes, lane, key, context } = checked
    const short = isShort('verify ML-DSA', 1, message.length)
    if (lane === NOBLE || short || signature.length !== sizes.signature) return verdict(checked)
    try {
      return await requireNative().mlDsaVerifyAsync(sizes.name, lane, key, message, context, signature)
    } catch (error) {
      throw toKmsError(error)
    }
  },

  /**
   * {@link mlDsa.verify} of a message representative μ that was computed elsewhere: external μ (FIPS 204, section 6.2,
   * and line 6 of Algorithm 7), μ = SHAKE256(SHAKE256(public key, 64) ‖ 0x00 ‖ length of the context ‖ context ‖
   * message, 64). So a message that is hashed where it lies need not be at hand.
   *
   * Whoever computes μ decides what was signed: verify only a μ that you computed from the message.
   *
   * @param mu 64 bytes.
   * @throws KmsError `BadRequest` naming the argument: a wrong type, an unknown set or lane, a key of a wrong length or
   * of another set, a μ of another length than 64 bytes.
   */
  verifyMu(
    set: MlDsaSet,
    publicKey: Uint8Array | MlDsaPublicKey,
    mu: Uint8Array,
    signature: Uint8Array,
    options?: MlDsaVerifyMuOptions,
  ): boolean {
    const lane = POST_QUANTUM_LANES.number(options?.lane)
    const sizes = SETS.get(set)
    const key = MlDsaPublicKey.bytesOf(publicKey, sizes)
    requireLength(mu, MU, 'mu')
    requireBytes(signature, 'signature')
    if (signature.length !== sizes.signature) return false
    if (lane === NOBLE) return noble.mlDsaVerifyMu(sizes.name, key, mu, signature)
    return attempt(() =>
      MlDsaPublicKey.is(publicKey) && publicKey.native
        ? publicKey.native.verifyMu(lane, mu, signature)
        : requireNative().mlDsaVerifyMu(sizes.name, lane, key, mu, signature),
    )
  },

  /**
   * Hashes a public key once, for many verifications; usable wherever a public key of this set is. The lane
   * `rustcrypto` keeps its expanded form too, 36 to 70 KiB, from its first verification on.
   *
   * Every string of the right length is a public key (FIPS 204, Algorithm 23).
   *
   * @throws KmsError `BadRequest`: field `set` for an unknown set, field `publicKey` for a wrong type or length.
   */
  importKey(set: MlDsaSet, publicKey: Uint8Array): MlDsaPublicKey {
    return new MlDsaPublicKey(SETS.get(set), publicKey)
  },

  /** The lanes of this process. */
  lanes(): readonly PostQuantumLane[] {
    return POST_QUANTUM_LANES.names()
  },
})

/** Arguments that fit each other. */
interface Checked {
  sizes: Sizes
  lane: number
  /** The encoded key. */
  key: Uint8Array
  /** The imported one, where there is an addon. */
  imported: NativePublicKey | undefined
  message: Uint8Array
  context: Uint8Array
  /** Of any length. */
  signature: Uint8Array
}

/** Options come first: reading them runs the caller's getters, which may take a buffer away. */
function check(
  set: MlDsaSet,
  publicKey: Uint8Array | MlDsaPublicKey,
  message: Uint8Array,
  signature: Uint8Array,
  options: MlDsaVerifyOptions | undefined,
): Checked {
  const lane = POST_QUANTUM_LANES.number(options?.lane)
  const context = requireContext(options?.context)
  const sizes = SETS.get(set)
  const key = MlDsaPublicKey.bytesOf(publicKey, sizes)
  const imported = MlDsaPublicKey.is(publicKey) ? publicKey.native : undefined
  requireBytes(message, 'message')
  requireBytes(signature, 'signature')
  return { sizes, lane, key, imported, message, context, signature }
}

function verdict({ sizes, lane, key, imported, message, context, signature }: Checked): boolean {
  if (signature.length !== sizes.signature) return false
  if (lane === NOBLE) return noble.mlDsaVerify(sizes.name, key, message, context, signature)
  return attempt(
    () =>
      imported?.verify(lane, message, context, signature) ??
      requireNative().mlDsaVerify(sizes.name, lane, key, message, context, signature),
  )
}
