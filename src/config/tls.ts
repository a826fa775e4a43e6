import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { type Fault, show } from './faults.js'
import type { Config } from './schema.js'

/** What the files of `tls.*` hold, checked. {@link wipe} it after use. */
export interface TlsMaterial {
  readonly cert: Buffer
  readonly key: Buffer
  /** Roots of client certificates, where clients need one. */
  readonly ca: Buffer | undefined
  /** Of the certificate itself. */
  readonly validUntil: Date
  /** SHA-256 of the certificate, as openssl prints it. */
  readonly fingerprint: string
  /** Who may read the key. */
  readonly keyMode: number
  /** {@link stampOf} the files, from before they were read: whatever changes later has another. */
  readonly stamp: string
}

/** The files of `tls.*`, by name; empty for none. */
export type TlsFiles = Omit<Config['tls'], 'enabled'>

/** Thrown by a reader below; becomes a fault. */
class TlsFault extends Error {
  readonly fault: Fault
  constructor(key: 'cert_path' | 'key_path' | 'client_ca', value: string, rule: string) {
    super(rule)
    this.fault = { key: `tls.${key}`, value: show(value), rule }
  }
}

const OTHERS_MAY_READ = 0o004

/** Reads the files, or says what is wrong with them. Messages never quote a file. */
export function readTls({ cert_path, key_path, client_ca }: TlsFiles): TlsMaterial | { faults: Fault[] } {
  let key: Buffer | undefined
  try {
    const stamp = parse('cert_path', cert_path, 'cannot be looked at, or tls.key_path or tls.client_ca', () =>
      stampOf({ cert_path, key_path, client_ca }),
    )
    const cert = readFile('cert_path', cert_path)
    const certificate = parse('cert_path', cert_path, 'must hold a certificate in PEM', () => firstOf(cert))
    const keyMode = process.platform === 'win32' ? 0 : modeOf(key_path)
    if ((keyMode & OTHERS_MAY_READ) !== 0) {
      throw new TlsFault('key_path', key_path, 'must not be readable by everyone: chmod 600 FILE')
    }
    key = readFile('key_path', key_path)
    const pem = key
    const pair = 'must hold the private key of the certificate in tls.cert_path'
    const privateKey = parse('key_path', key_path, 'must hold a private key in PEM, not encrypted', () =>
      createPrivateKey(pem),
    )
    if (!certificate.checkPrivateKey(privateKey)) throw new TlsFault('key_path', key_path, pair)
    const ca = client_ca === '' ? undefined : readFile('client_ca', client_ca)
    if (ca) parse('client_ca', client_ca, 'must hold a certificate in PEM', () => firstOf(ca))
    parse('cert_path', cert_path, 'is refused by OpenSSL, as one with a short key is', () =>
      createSecureContext({ cert, key, ...(ca && { ca }), minVersion: 'TLSv1.3' }),
    )
    const { validTo, fingerprint256: fingerprint } = certificate
    return { cert, key, ca, validUntil: new Date(validTo), fingerprint, keyMode, stamp }
  } catch (thrown) {
    key?.fill(0)
    if (thrown instanceof TlsFault) return { faults: [thrown.fault] }
    throw thrown
  }
}

/** Tells one state of the files from another without reading them. */
export function stampOf(files: TlsFiles): string {
  const parts = [files.cert_path, files.key_path, files.client_ca].map(path => {
    if (path === '') return ''
    const found = statSync(path, { bigint: true, throwIfNoEntry: false })
    return found ? `${path} ${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}` : `${path} absent`
  })
  return parts.join('\n')
}

/** Overwrites the private key. OpenSSL has copied it by then. */
export function wipe(material: TlsMaterial): void {
  material.key.fill(0)
}

/** Everything wrong with `tls.*`. */
export function tlsFaults({ tls }: Pick<Config, 'tls'>): Fault[] {
  if (!tls.enabled) {
    if (tls.client_ca === '') return []
    // Whoever asks for client certificates must not be served without.
    const rule = 'needs tls.enabled = true'
    return [{ key: 'tls.client_ca', value: show(tls.client_ca), rule }]
  }
  const missing = (['cert_path', 'key_path'] as const).filter(name => tls[name] === '')
  if (missing.length > 0) {
    return missing.map(name => ({
      key: `tls.${name}`,
      value: show(''),
      rule: 'is needed with tls.enabled = true',
    }))
  }
  const read = readTls(tls)
  if ('faults' in read) return read.faults
  wipe(read)
  return []
}

function readFile(key: 'cert_path' | 'key_path' | 'client_ca', path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    const { code = 'unknown reason' } = error as NodeJS.ErrnoException
    throw new TlsFault(key, path, `cannot be read (${code})`)
  }
}

function modeOf(path: string): number {
  return (statSync(path, { throwIfNoEntry: false })?.mode ?? 0) & 0o777
}

function parse<T>(key: 'cert_path' | 'key_path' | 'client_ca', path: string, rule: string, work: () => T): T {
  try {
    return work()
  } catch {
    throw new TlsFault(key, path, rule)
  }
}

/** The first certificate of a PEM file. DER, which is as good for OpenSSL here and not there, is refused. */
function firstOf(pem: Buffer): X509Certificate {
  if (!pem.includes('-----BEGIN CERTIFICATE-----')) throw new Error('no PEM')
  return new X509Certificate(pem)
}
