// What is signed and verified: fixed seeds and messages, so that every run times the same bytes.
import { createHash } from 'node:crypto'
import sodium from 'sodium-native'

export const MESSAGE_LENGTH = 128

const bytesOf = (name, length) => createHash('shake256', { outputLength: length }).update(name).digest()

const messages = []
function messageOf(number) {
  messages[number] ??= bytesOf(`message ${number}`, MESSAGE_LENGTH)
  return messages[number]
}

/** Views of one buffer: a hundred thousand small ones would slow down whatever allocates beside them. */
function slab(length) {
  const memory = Buffer.alloc(length)
  let used = 0
  return size => {
    used += size
    return memory.subarray(used - size, used)
  }
}

function keyPairs(keys, from) {
  const take = slab(keys * (32 + 32 + 64))
  return Array.from({ length: keys }, (_, i) => {
    const [seed, publicKey, secretKey] = [take(32), take(32), take(64)]
    seed.set(bytesOf(`seed ${from + i}`, 32))
    sodium.crypto_sign_seed_keypair(publicKey, secretKey, seed)
    return { seed, publicKey, secretKey }
  })
}

/**
 * `count` signed messages under `keys` keys in turn: 1 for one key, `count` for as many keys as items. The keys are
 * those from number `from` on.
 */
export function signedItems(count, keys, from = 0) {
  const pairs = keyPairs(keys, from)
  const take = slab(count * 64)
  return Array.from({ length: count }, (_, i) => {
    const pair = pairs[i % keys]
    const message = messageOf(i)
    const signature = take(64)
    sodium.crypto_sign_detached(signature, message, pair.secretKey)
    return { ...pair, message, signature }
  })
}

/** The same of a key service, which makes its own keys and takes no seeds. `made` keeps them from call to call. */
export async function kmsItems(kms, count, keys, made = []) {
  const wish = { tenant: 'bench', purpose: 'sign', alg: 'ed25519' }
  while (made.length < keys) made.push(await kms.createKey(wish))
  const take = slab(count * 64)
  return Array.from({ length: count }, (_, i) => {
    const { kid, publicKey } = made[i % keys]
    const message = messageOf(i)
    const signature = take(64)
    signature.set(kms.sign(kid, message))
    return { kid, publicKey, message, signature }
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
