// A server of ours over TLS in tests: certificates in a directory, settings that name them, and a client.
import { writeFileSync } from 'node:fs'
import { type RequestOptions, request } from 'node:https'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { type Certificate, certificate } from './certificates.js'

/** Issues the certificates of servers. */
export const root = certificate('root of servers')
/** Issues those of clients. */
export const clients = certificate('root of clients')
/** Two certificates of one server, by their names. */
export const first = certificate('first', { issuer: root })
export const second = certificate('second', { issuer: root })

/** Puts the files of a certificate into a directory, as `cert.pem` and `key.pem` behind a prefix. */
export function install(dir: string, { cert, key }: Certificate, prefix = ''): void {
  writeFileSync(join(dir, `${prefix}cert.pem`), cert, { mode: 0o600 })
  writeFileSync(join(dir, `${prefix}key.pem`), key, { mode: 0o600 })
}

/** Settings that name them. */
export function tlsSettings(dir: string, prefix = '') {
  return {
    'tls.enabled': 'true',
    'tls.cert_path': join(dir, `${prefix}cert.pem`),
    'tls.key_path': join(dir, `${prefix}key.pem`),
  } as const
}

/** Where a client of a URL connects, and what it trusts. */
export function place(url: string): { host: string; port: number; ca: string } {
  const { hostname, port } = new URL(url)
  return { host: hostname, port: Number(port), ca: root.cert }
}

/** The status of a request on a connection of its own, and the name in the certificate that it saw. */
export function askTls(
  url: string,
  path: string,
  options: RequestOptions = {},
): Promise<{ status: number; name: string }> {
  return new Promise((resolve, reject) => {
    const own = { agent: false, headers: { connection: 'close' } }
    request({ ...place(url), path, ...own, ...options }, answer => {
      const { subject } = (answer.socket as TLSSocket).getPeerCertificate()
      answer.resume().on('end', () => resolve({ status: answer.statusCode ?? 0, name: String(subject.CN) }))
    })
      .on('error', reject)
      .end()
  })
}
