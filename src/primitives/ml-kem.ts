/** ML-KEM with other people's public keys. */
import type { MlKemPublicKey as NativePublicKey } from '../../index.js'
import { requireLength } from '../bytes.js'
import { attempt, KmsError, toKmsError } from '../errors.js'
import * as noble from '../lanes/noble-post-quantum.js'
import { native, requireNative } from '../native.js'
import { NOBLE, POST_QUANTUM_LANES, type PostQuantumLane } from './lanes.js'
import { ParameterSets } from './parameters.js'

/**
 * A parameter set of FIPS 203, section 8; `ml-kem` is `ml-kem-768`. Sizes in bytes:
 *
 * | set | public key | ciphertext | category |
 * | --- | --- | --- | --- |
 * | `ml-kem-512` | 800 | 768 | 1 |
 * | `ml-kem-768` | 1,184 | 1,088 | 3 |
 * | `ml-kem-1024` | 1,568 | 1,568 | 5 |
 */
export type MlKemSet = 'ml-kem' | noble.MlKemName

/** Who encapsulates. */
export interface MlKemOptions {
  /** The lane; `auto` by default. */
  lane?: PostQuantumLane
}

/** A secret, and how to tell it to the owner of a key. */
export interface Encapsulation {
  /** For the owner of the key, who decapsulates it. */
  ciphertext: Uint8Array
  /** 32 bytes, the same as the owner of the key gets. Secret, and yours: see {@link mlKem.encapsulate}. */
  sharedSecret: Uint8Array
}

interface Sizes {
  readonly name: noble.MlKemName
  /** Length of a public (encapsulation) key in bytes. */
  readonly publicKey: number
  /** Length of a ciphertext in bytes. */
  readonly ciphertext: number
}

const SETS = new ParameterSets<noble.MlKemName, Sizes>('ml-kem', [
  { name: 'ml-kem-768', publicKey: 1184, ciphertext: 1088 },
  { name: 'ml-kem-512', publicKey: 800, ciphertext: 768 },
  { name: 'ml-kem-1024', publicKey: 1568, ciphertext: 1568 },
])

/** Length of a shared secret in bytes. */
const SHARED_SECRET = 32

/**
 * An ML-KEM public key from {@link mlKem.importKey}: checked and expanded, for many encapsulations.
 *
 * It holds public data only.
 */
class MlKemPublicKey {
  /** The parameter set. */
  readonly set: noble.MlKemName
  readonly #bytes: Uint8Array
  /** @internal Where there is an addon. */
  readonly native: NativePublicKey | undefined

  /** @internal */
  constructor({ name, publicKey }: Sizes, bytes: Uint8Array) {
    requireLength(bytes, publicKey, 'publicKey')
    this.set = name
    this.#bytes = Uint8Array.from(bytes)
    this.native = native && attempt(() => new (requireNative().MlKemPublicKey)(name, this.#bytes))
    if (!native) noble.mlKemCheckPublicKey(this.#bytes)
  }

  /** A copy of the encoded key. */
  get bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes)
  }

  /** @internal The encoded key itself, of a key that fits the set. */
  static bytesOf(key: Uint8Array | MlKemPublicKey, { name, publicKey }: Sizes): Uint8Array {
    if (!MlKemPublicKey.is(key)) {
      requireLength(key, publicKey, 'publicKey')
      return key
    }
    if (key.set !== name) {
      throw new KmsError('BadRequest', `a key of ${key.set}, not of ${name}`, { field: 'publicKey' })
    }
    return key.#bytes
  }

  /** @internal Unlike `instanceof`, false for what only has the prototype. */
  static is(key: unknown): key is MlKemPublicKey {
    return typeof key === 'object' && key !== null && #bytes in key
  }
}

export type { MlKemPublicKey }

/** ML-KEM (FIPS 203): the half that needs no private key. */
export const mlKem = Object.freeze({
  /**
   * Checks a public (encapsulation) key (FIPS 203, section 7.2): its length, and that every coefficient is below the
   * modulus.
   *
   * @throws KmsError `BadRequest`: field `set` for an unknown set, field `publicKey` for a wrong type and for a key that
   * fails the check.
   */
  checkPublicKey(set: MlKemSet, publicKey: Uint8Array): void {
    const sizes = SETS.get(set)
    requireLength(publicKey, sizes.publicKey, 'publicKey')
    if (native) attempt(() => requireNative().mlKemCheckPublicKey(sizes.name, publicKey))
    else noble.mlKemCheckPublicKey(publicKey)
  },

  /**
   * Makes a fresh shared secret, and the ciphertext that tells it to the owner of the key (FIPS 203, Algorithm 20).
   * The key is checked first, as {@link mlKem.checkPublicKey} does.
   *
   * **The shared secret is given to you in JavaScript memory.** This library wipes its own copies, but that one it
   * cannot: the garbage collector moves and frees memory without clearing it. Derive keys from it and `fill(0)` it
   * soon. Lane `noble` leaves copies that nobody wipes.
   *
   * @param publicKey The encoded key, or one from {@link mlKem.importKey}, which is faster.
   * @throws KmsError `BadRequest` naming the argument: an unknown set or lane, a key that fails the check or is of
   * another set; `Internal` when the system gives no randomness.
   */
  encapsulate(set: MlKemSet, publicKey: Uint8Array | MlKemPublicKey, options?: MlKemOptions): Encapsulation {
    const lane = POST_QUANTUM_LANES.number(options?.lane)
    const sizes = SETS.get(set)
    const key = MlKemPublicKey.bytesOf(publicKey, sizes)
    if (lane === NOBLE) return noble.mlKemEncapsulate(sizes.name, key)
    const ciphertext = new Uint8Array(sizes.ciphertext)
    const sharedSecret = new Uint8Array(SHARED_SECRET)
    try {
      if (MlKemPublicKey.is(publicKey) && publicKey.native) {
        publicKey.native.encapsulate(lane, ciphertext, sharedSecret)
      } else {
        requireNative().mlKemEncapsulate(sizes.name, lane, key, ciphertext, sharedSecret)
      }
    } catch (error) {
      throw toKmsError(error)
    }
    return { ciphertext, sharedSecret }
  },

  /**
   * Checks and expands a public key once, for many encapsulations; usable wherever a public key of this set is. In the
   * lane `auto`, on x86-64 with AVX2, an encapsulation then takes less than half the time; the expanded form takes 3 to
   * 11 KiB.
   *
   * @throws KmsError as {@link mlKem.checkPublicKey}.
   */
  importKey(set: MlKemSet, publicKey: Uint8Array): MlKemPublicKey {
    return new MlKemPublicKey(SETS.get(set), publicKey)
  },

  /** The lanes of this process. */
  lanes(): readonly PostQuantumLane[] {
    return POST_QUANTUM_LANES.names()
  },
})
