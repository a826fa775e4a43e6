// X.509 certificates for tests (RFC 5280), with P-256 keys. Nothing else that is installed makes them on every system.
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

export interface Certificate {
  readonly name: string
  /** PEM. */
  readonly cert: string
  /** PEM, PKCS #8. */
  readonly key: string
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

export interface CertificateOptions {
  /** Signs itself unless given. */
  readonly issuer?: Certificate
  readonly isCa?: boolean
  readonly notAfter?: Date
}

/** A certificate for `name`, 127.0.0.1 and localhost. */
export function certificate(name: string, options: CertificateOptions = {}): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { issuer, isCa = issuer === undefined, notAfter = new Date(Date.now() + 86_400_000) } = options
  const extensions = [
    extension('551d13', isCa ? sequence(boolean(true)) : sequence()),
    extension(
      '551d11',
      sequence(tlv(0x82, Buffer.from('localhost')), tlv(0x87, Buffer.from([127, 0, 0, 1]))),
    ),
    extension('551d0e', tlv(0x04, createHash('sha1').update(publicKey.export(SPKI)).digest())),
  ]
  const body = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    tlv(0x02, Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    ECDSA_SHA256,
    nameOf(issuer?.name ?? name),
    sequence(time(new Date(Date.now() - 86_400_000 * 30)), time(notAfter)),
    nameOf(name),
    publicKey.export(SPKI),
    tlv(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', body, issuer?.privateKey ?? privateKey)
  const der = sequence(body, ECDSA_SHA256, tlv(0x03, Buffer.concat([Buffer.from([0]), signature])))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return {
    name,
    cert: ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n'),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    privateKey,
    publicKey,
  }
}

const SPKI = { type: 'spki', format: 'der' } as const

function tlv(tag: number, ...parts: Buffer[]): Buffer {
  const value = Buffer.concat(parts)
  const n = value.length
  const length = n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, n >> 8, n & 255]
  return Buffer.concat([Buffer.from([tag, ...length]), value])
}

const sequence = (...parts: Buffer[]) => tlv(0x30, ...parts)
const boolean = (value: boolean) => tlv(0x01, Buffer.from([value ? 255 : 0]))
const oid = (hex: string) => tlv(0x06, Buffer.from(hex, 'hex'))
const ECDSA_SHA256 = sequence(oid('2a8648ce3d040302'))
const nameOf = (text: string) => sequence(tlv(0x31, sequence(oid('550403'), tlv(0x0c, Buffer.from(text)))))
const extension = (id: string, value: Buffer) => sequence(oid(id), tlv(0x04, value))

function time(date: Date): Buffer {
  const digits = date
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace(/[-:T]/g, '')
  return tlv(0x17, Buffer.from(digits.slice(2)))
}
