import type { SecretMemory } from '../index.js'
import { attempt } from './errors.js'
import { requireNative } from './native.js'

export type { SecretMemory } from '../index.js'

/**
 * Where the secrets of this process are, and what protects them: what is locked into RAM, left out of core dumps and
 * wiped on fork, and what the operating system refused.
 *
 * @throws KmsError `Unsupported` without a native binary for this platform.
 */
export function secretMemory(): SecretMemory {
  const { secretMemory } = requireNative()
  return attempt(() => secretMemory())
}
