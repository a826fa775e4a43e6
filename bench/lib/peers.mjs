// What a user would take instead, each used the fastest way that its interface has (keys loaded once).
import { createPrivateKey, createPublicKey, sign, verify, webcrypto } from 'node:crypto'
import { ed25519 as noble } from '@noble/curves/ed25519.js'
import sodium from 'sodium-native'

const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')
const ED25519 = { name: 'Ed25519' }

export const sodiumNative = {
  name: 'sodium-native',
  loadSecret: item => item.secretKey,
  sign(key, message) {
    const signature = new Uint8Array(64)
    sodium.crypto_sign_detached(signature, message, key)
    return signature
  },
  load: item => item.publicKey,
  verify: (key, message, signature) => sodium.crypto_sign_verify_detached(signature, message, key),
}

export const nodeCrypto = {
  name: 'node:crypto',
  how: 'KeyObject',
  loadSecret: ({ seed }) =>
    createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' }),
  sign: (key, message) => sign(null, message, key),
  load: ({ publicKey }) =>
    createPublicKey({ key: Buffer.concat([SPKI, publicKey]), format: 'der', type: 'spki' }),
  verify: (key, message, signature) => verify(null, message, key, signature),
}

export const webCrypto = {
  name: 'WebCrypto',
  how: 'CryptoKey',
  load: ({ publicKey }) => webcrypto.subtle.importKey('raw', publicKey, ED25519, false, ['verify']),
  verify: (key, message, signature) => webcrypto.subtle.verify(ED25519, key, signature, message),
}

export const nobleCurves = {
  name: '@noble/curves',
  slow: true,
  loadSecret: item => item.seed,
  sign: (key, message) => noble.sign(message, key),
  load: item => item.publicKey,
  verify: (key, message, signature) => noble.verify(signature, message, key, { zip215: false }),
}
