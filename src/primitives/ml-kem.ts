/** ML-KEM with other people's public keys. */
import { requireLength } from '../bytes.js'
import { attempt } from '../errors.js'
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
   * @throws KmsError `BadRequest` naming the argument: an unknown set or lane, a key that fails the check; `Internal`
   * when the system gives no randomness.
   */
  encapsulate(set: MlKemSet, publicKey: Uint8Array, options?: MlKemOptions): Encapsulation {
    const lane = POST_QUANTUM_LANES.number(options?.lane)
    const sizes = SETS.get(set)
    requireLength(publicKey, sizes.publicKey, 'publicKey')
    if (lane === NOBLE) return noble.mlKemEncapsulate(sizes.name, publicKey)
    const ciphertext = new Uint8Array(sizes.ciphertext)
    const sharedSecret = new Uint8Array(SHARED_SECRET)
    attempt(() => requireNative().mlKemEncapsulate(sizes.name, lane, publicKey, ciphertext, sharedSecret))
    return { ciphertext, sharedSecret }
  },

  /** The lanes of this process. */
  lanes(): readonly PostQuantumLane[] {
    return POST_QUANTUM_LANES.names()
  },
})
