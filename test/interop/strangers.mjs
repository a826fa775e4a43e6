// Other people's implementations, in one form: node:crypto of this Node (OpenSSL) and @noble/post-quantum.
import * as openssl from 'node:crypto'
import { x25519 } from '@noble/curves/ed25519.js'
import { ml_kem768_x25519 as xWing } from '@noble/post-quantum/hybrid.js'
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { ml_kem512, ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js'
import { slh_dsa_sha2_128f } from '@noble/post-quantum/slh-dsa.js'

const EMPTY = new Uint8Array(0)

/** Object identifiers as DER has them: NIST's arc and its last number; X25519 is of another arc. */
const nist = (...tail) => Buffer.from([0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, ...tail])
const OIDS = {
  'ml-dsa-44': nist(3, 17),
  'ml-dsa-65': nist(3, 18),
  'ml-dsa-87': nist(3, 19),
  'slh-dsa-sha2-128f': nist(3, 21),
  'ml-kem-512': nist(4, 1),
  'ml-kem-768': nist(4, 2),
  'ml-kem-1024': nist(4, 3),
  x25519: Buffer.from([0x06, 0x03, 0x2b, 0x65, 0x6e]),
  ed25519: Buffer.from([0x06, 0x03, 0x2b, 0x65, 0x70]),
}

function der(tag, ...parts) {
  const content = Buffer.concat(parts)
  const { length } = content
  const head = length < 128 ? [tag, length] : [tag, 0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from(head), content])
}

/** A KeyObject of a raw public key: a SubjectPublicKeyInfo around it. */
export function publicKeyObject(alg, raw) {
  const key = der(0x30, der(0x30, OIDS[alg]), der(0x03, Buffer.of(0), raw))
  return openssl.createPublicKey({ key, format: 'der', type: 'spki' })
}

/** A KeyObject of a seed (of the raw private key, for X25519): a PrivateKeyInfo around it. */
export function privateKeyObject(alg, seed) {
  const inner = alg.endsWith('25519') ? der(0x04, seed) : der(0x80, seed)
  const key = der(0x30, Buffer.from([0x02, 0x01, 0x00]), der(0x30, OIDS[alg]), der(0x04, inner))
  return openssl.createPrivateKey({ key, format: 'der', type: 'pkcs8' })
}

const rawOf = publicKey => publicKey.export({ format: 'der', type: 'spki' })

export const node = {
  name: `node:crypto of Node ${process.versions.node}`,
  signatures: {
    verify: (alg, publicKey, message, signature, context = EMPTY) =>
      openssl.verify(null, message, { key: publicKeyObject(alg, publicKey), context }, signature),
    generate(alg) {
      const { publicKey, privateKey } = openssl.generateKeyPairSync(alg)
      const length = { 'ml-dsa-44': 1312, 'ml-dsa-65': 1952, 'ml-dsa-87': 2592, 'slh-dsa-sha2-128f': 32 }[alg]
      return {
        publicKey: rawOf(publicKey).subarray(-length),
        sign: (message, context = EMPTY) => openssl.sign(null, message, { key: privateKey, context }),
      }
    },
  },
  mlKem: {
    generate(alg) {
      const seed = openssl.randomBytes(64)
      const publicKey = rawOf(openssl.createPublicKey(privateKeyObject(alg, seed)))
      return { seed, publicKey: publicKey.subarray(-nobleKem[alg].lengths.publicKey) }
    },
    encapsulate(alg, publicKey) {
      const { sharedKey, ciphertext } = openssl.encapsulate(publicKeyObject(alg, publicKey))
      return { secret: sharedKey, enc: ciphertext }
    },
    decapsulate: (alg, seed, enc) => openssl.decapsulate(privateKeyObject(alg, seed), enc),
  },
  x25519: {
    publicOf: secret => rawOf(openssl.createPublicKey(privateKeyObject('x25519', secret))).subarray(-32),
    agree: (secret, publicKey) =>
      openssl.diffieHellman({
        privateKey: privateKeyObject('x25519', secret),
        publicKey: publicKeyObject('x25519', publicKey),
      }),
  },
}

const nobleDsa = {
  'ml-dsa-44': ml_dsa44,
  'ml-dsa-65': ml_dsa65,
  'ml-dsa-87': ml_dsa87,
  'slh-dsa-sha2-128f': slh_dsa_sha2_128f,
}
const nobleKem = { 'ml-kem-512': ml_kem512, 'ml-kem-768': ml_kem768, 'ml-kem-1024': ml_kem1024 }

export const noble = {
  name: '@noble/post-quantum',
  signatures: {
    verify: (alg, publicKey, message, signature, context = EMPTY) =>
      nobleDsa[alg].verify(signature, message, publicKey, { context }),
    generate(alg) {
      const { publicKey, secretKey } = nobleDsa[alg].keygen()
      return {
        publicKey,
        sign: (message, context = EMPTY) => nobleDsa[alg].sign(message, secretKey, { context }),
      }
    },
  },
  mlKem: {
    generate(alg) {
      const seed = openssl.randomBytes(64)
      return { seed, publicKey: nobleKem[alg].keygen(seed).publicKey }
    },
    encapsulate(alg, publicKey) {
      const { sharedSecret, cipherText } = nobleKem[alg].encapsulate(publicKey)
      return { secret: sharedSecret, enc: cipherText }
    },
    decapsulate: (alg, seed, enc) => nobleKem[alg].decapsulate(enc, nobleKem[alg].keygen(seed).secretKey),
  },
  x25519: { publicOf: secret => x25519.getPublicKey(secret), agree: x25519.getSharedSecret },
  xWing: {
    encapsulate(publicKey) {
      const { sharedSecret, cipherText } = xWing.encapsulate(publicKey)
      return { secret: sharedSecret, enc: cipherText }
    },
    decapsulate: (seed, enc) => xWing.decapsulate(enc, xWing.keygen(seed).secretKey),
  },
}

/** X-Wing put together from its halves by the draft's combiner, for strangers that have the halves only. */
function xWingOf({ mlKem, x25519: half }) {
  const combine = (mlKemSecret, x25519Secret, x25519Enc, x25519Public) =>
    openssl
      .createHash('sha3-256')
      .update(Buffer.concat([mlKemSecret, x25519Secret, x25519Enc, x25519Public]))
      .update('\\.//^\\')
      .digest()
  return {
    encapsulate(publicKey) {
      const [mlKemPublic, x25519Public] = [publicKey.subarray(0, 1184), publicKey.subarray(1184)]
      const { secret, enc } = mlKem.encapsulate('ml-kem-768', mlKemPublic)
      const ephemeral = openssl.randomBytes(32)
      const x25519Enc = half.publicOf(ephemeral)
      const agreed = half.agree(ephemeral, x25519Public)
      return {
        secret: combine(secret, agreed, x25519Enc, x25519Public),
        enc: Buffer.concat([enc, x25519Enc]),
      }
    },
    decapsulate(seed, enc) {
      const expanded = openssl.createHash('shake256', { outputLength: 96 }).update(seed).digest()
      const secret = mlKem.decapsulate('ml-kem-768', expanded.subarray(0, 64), enc.subarray(0, 1088))
      const own = expanded.subarray(64)
      const x25519Enc = enc.subarray(1088)
      return combine(secret, half.agree(own, x25519Enc), x25519Enc, half.publicOf(own))
    },
  }
}
node.xWing = xWingOf(node)

export const STRANGERS = [node, noble]
