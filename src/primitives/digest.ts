/** Hashes. */
import { requireBytes } from '../bytes.js'
import { attempt } from '../errors.js'
import * as noble from '../lanes/noble.js'
import { native } from '../native.js'

/**
 * BLAKE3-256.
 *
 * @returns 32 bytes.
 * @throws KmsError `BadRequest` for a wrong type.
 */
export function blake3(payload: Uint8Array): Uint8Array {
  requireBytes(payload, 'payload')
  if (!native) return noble.blake3(payload)
  const out = new Uint8Array(32)
  attempt(() => native?.blake3(payload, out))
  return out
}
