// What is signed and verified: fixed seeds and messages, so that every run times the same bytes.
import { createHash } from 'node:crypto'
import sodium from 'sodium-native'

export const MESSAGE_LENGTH = 128

const bytesOf = (name, length) => createHash('shake256', { outputLength: length }).update(name).digest()
const messageOf = number => bytesOf(`message ${number}`, MESSAGE_LENGTH)

function keyPairOf(number) {
  const seed = bytesOf(`seed ${number}`, 32)
  const publicKey = Buffer.alloc(32)
  const secretKey = Buffer.alloc(64)
  sodium.crypto_sign_seed_keypair(publicKey, secretKey, seed)
  return { seed, publicKey, secretKey }
}

/**
 * `count` signed messages under `keys` keys in turn: 1 for one key, `count` for as many keys as items. The keys are
 * those from number `from` on.
 */
export function signedItems(count, keys, from = 0) {
  const pairs = Array.from({ length: keys }, (_, i) => keyPairOf(from + i))
  return Array.from({ length: count }, (_, i) => {
    const pair = pairs[i % keys]
    const message = messageOf(i)
    const signature = Buffer.alloc(64)
    sodium.crypto_sign_detached(signature, message, pair.secretKey)
    return { ...pair, message, signature }
  })
}

/** The same of a key service, which makes its own keys and takes no seeds. `made` keeps them from call to call. */
export async function kmsItems(kms, made, count, keys) {
  const wish = { tenant: 'bench', purpose: 'sign', alg: 'ed25519' }
  while (made.length < keys) made.push(await kms.createKey(wish))
  return Array.from({ length: count }, (_, i) => {
    const { kid, publicKey } = made[i % keys]
    const message = messageOf(i)
    return { kid, publicKey, message, signature: kms.sign(kid, message) }
  })
}

/** A copy of an item with one bit of one field flipped; `n` moves the bit over the whole field. */
export function flipped(item, field, n) {
  const bytes = Buffer.from(item[field])
  const bit = (n * 37) % (bytes.length * 8)
  bytes[bit >> 3] ^= 1 << (bit & 7)
  return { ...item, [field]: bytes }
}

/** Copies of the items in four buffers, as `verifyBatch` takes them. */
export function packed(items) {
  const offsets = new Uint32Array(items.length + 1)
  for (const [i, { message }] of items.entries()) offsets[i + 1] = offsets[i] + message.length
  return {
    publicKeys: Buffer.concat(items.map(item => item.publicKey)),
    signatures: Buffer.concat(items.map(item => item.signature)),
    messages: Buffer.concat(items.map(item => item.message)),
    offsets,
    out: new Uint8Array(items.length),
  }
}
