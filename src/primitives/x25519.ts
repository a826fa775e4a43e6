/** X25519 with other people's public keys. */
import { requireLength } from '../bytes.js'
import { attempt } from '../errors.js'
import * as noble from '../lanes/noble.js'
import { native, requireNative } from '../native.js'

/** Length of a public key in bytes. */
const PUBLIC_KEY = 32

/** X25519 (RFC 7748): the check of a public key. */
export const x25519 = Object.freeze({
  /**
   * Refuses a public key that would make every shared secret zero: the points of small order, in every encoding
   * (RFC 7748, section 6.1). As the RFC has it, the top bit is ignored, and values from 2^255 - 19 on stand for their
   * residue; any other 32 bytes are a public key.
   *
   * @throws KmsError `BadRequest`, field `publicKey`, for a wrong type, another length than 32 bytes and a small order.
   */
  checkPublicKey(publicKey: Uint8Array): void {
    requireLength(publicKey, PUBLIC_KEY, 'publicKey')
    if (native) attempt(() => requireNative().x25519CheckPublicKey(publicKey))
    else noble.x25519CheckPublicKey(publicKey)
  },
})
