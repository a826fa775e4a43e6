// Envelopes of version 1 and HPKE (RFC 9180), written from the documents alone, over a stranger's KEMs.
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto'

const INFO = Buffer.from('ron-kms/wrap/v1')
const KDF_ID = 1
const CIPHERS = {
  'aes-256-gcm': { id: 2, name: 'aes-256-gcm' },
  'chacha20-poly1305': { id: 3, name: 'chacha20-poly1305' },
}
export const KEMS = {
  x25519: { id: 0x0020, enc: 32 },
  'ml-kem-512': { id: 0x0040, enc: 768 },
  'ml-kem-768': { id: 0x0041, enc: 1088 },
  'ml-kem-1024': { id: 0x0042, enc: 1568 },
  'x-wing': { id: 0x647a, enc: 1120 },
}

const u16 = number => Buffer.from([number >> 8, number & 0xff])
const bytes = text => Buffer.from(text)
const extract = (salt, ikm) => createHmac('sha256', salt).update(ikm).digest()

/** HKDF-Expand (RFC 5869, section 2.3). */
function expand(prk, info, length) {
  const blocks = []
  for (let last = Buffer.alloc(0), i = 1; blocks.length * 32 < length; i += 1) {
    last = createHmac('sha256', prk)
      .update(Buffer.concat([last, info, Buffer.of(i)]))
      .digest()
    blocks.push(last)
  }
  return Buffer.concat(blocks).subarray(0, length)
}

/** LabeledExtract and LabeledExpand (RFC 9180, section 4) of a suite. */
function labelled(suite) {
  const prefix = bytes('HPKE-v1')
  return {
    extract: (salt, label, ikm) => extract(salt, Buffer.concat([prefix, suite, bytes(label), ikm])),
    expand: (prk, label, info, length) =>
      expand(prk, Buffer.concat([u16(length), prefix, suite, bytes(label), info]), length),
  }
}

/** DHKEM(X25519, HKDF-SHA256) (section 4.1) over a stranger's X25519. */
function dhkem({ x25519 }) {
  const secretOf = (agreed, enc, publicKey) => {
    const { extract, expand } = labelled(Buffer.concat([bytes('KEM'), u16(KEMS.x25519.id)]))
    const prk = extract(Buffer.alloc(0), 'eae_prk', agreed)
    return expand(prk, 'shared_secret', Buffer.concat([enc, publicKey]), 32)
  }
  return {
    encapsulate(publicKey) {
      const ephemeral = randomBytes(32)
      const enc = x25519.publicOf(ephemeral)
      return { secret: secretOf(x25519.agree(ephemeral, publicKey), enc, publicKey), enc }
    },
    decapsulate: (seed, enc) => secretOf(x25519.agree(seed, enc), enc, x25519.publicOf(seed)),
  }
}

function kemOf(stranger, kem) {
  if (kem === 'x25519') return dhkem(stranger)
  if (kem === 'x-wing') return stranger.xWing
  return {
    encapsulate: publicKey => stranger.mlKem.encapsulate(kem, publicKey),
    decapsulate: (seed, enc) => stranger.mlKem.decapsulate(kem, seed, enc),
  }
}

/** The key schedule (section 5.1); with a psk mode PSK, else base. */
function schedule(kem, cipher, secret, psk, pskId) {
  const suite = Buffer.concat([bytes('HPKE'), u16(KEMS[kem].id), u16(KDF_ID), u16(CIPHERS[cipher].id)])
  const { extract, expand } = labelled(suite)
  const nothing = Buffer.alloc(0)
  const context = Buffer.concat([
    Buffer.of(psk ? 1 : 0),
    extract(nothing, 'psk_id_hash', psk ? bytes(pskId) : nothing),
    extract(nothing, 'info_hash', INFO),
  ])
  const shared = extract(secret, 'secret', psk ?? nothing)
  return { key: expand(shared, 'key', context, 32), nonce: expand(shared, 'base_nonce', context, 12) }
}

/** An envelope for a key version, made by a stranger who has its public key: mode base, or PSK with the secret. */
export function seal(stranger, { kem, cipher = 'chacha20-poly1305', publicKey, kid, dataKey, psk }) {
  const { secret, enc } = kemOf(stranger, kem).encapsulate(publicKey)
  const header = Buffer.concat([
    bytes('RKW'),
    Buffer.of(1),
    ...[KEMS[kem].id, KDF_ID, CIPHERS[cipher].id].map(u16),
    Buffer.of(psk ? 1 : 0, kid.length),
    bytes(kid),
  ])
  const { key, nonce } = schedule(kem, cipher, secret, psk, kid)
  const sealing = createCipheriv(CIPHERS[cipher].name, key, nonce, { authTagLength: 16 })
  sealing.setAAD(header, { plaintextLength: dataKey.length })
  return Buffer.concat([header, enc, sealing.update(dataKey), sealing.final(), sealing.getAuthTag()])
}

/** The data key in an envelope, opened by a stranger who has the seed of the key version. Throws where it does not open. */
export function open(stranger, seed, envelope) {
  const [name, version, kemId, kdf, aead, mode, length] = [
    envelope.subarray(0, 3).toString(),
    envelope[3],
    ...[4, 6, 8].map(at => envelope.readUInt16BE(at)),
    envelope[10],
    envelope[11],
  ]
  const kem = Object.keys(KEMS).find(each => KEMS[each].id === kemId)
  const cipher = Object.keys(CIPHERS).find(each => CIPHERS[each].id === aead)
  if (name !== 'RKW' || version !== 1 || kdf !== KDF_ID || !kem || !cipher || mode > 1)
    throw new Error('framing')
  const header = envelope.subarray(0, 12 + length)
  const kid = header.subarray(12).toString()
  const enc = envelope.subarray(header.length, header.length + KEMS[kem].enc)
  const sealed = envelope.subarray(header.length + enc.length)
  const secret = kemOf(stranger, kem).decapsulate(seed, enc)
  const { key, nonce } = schedule(kem, cipher, secret, mode === 1 ? pskOf(seed) : undefined, kid)
  const opening = createDecipheriv(CIPHERS[cipher].name, key, nonce, { authTagLength: 16 })
  opening.setAAD(header, { plaintextLength: sealed.length - 16 })
  opening.setAuthTag(sealed.subarray(-16))
  return Buffer.concat([opening.update(sealed.subarray(0, -16)), opening.final()])
}

/** The pre-shared key of a key version: HKDF-SHA-256 of its seed. */
export const pskOf = seed => Buffer.from(hkdfSync('sha256', seed, '', 'wrap-psk', 32))
