import type { SecureContextOptions, TlsOptions } from 'node:tls'
import { stampOf, type TlsFiles, type TlsMaterial } from '../config/tls.js'

/** What does not change with the certificates. TLS 1.3 leaves no choice of weak ciphers. */
export const TLS_OPTIONS: TlsOptions = { minVersion: 'TLSv1.3', ALPNProtocols: ['http/1.1'] }

/** Certificates as Node takes them. With roots for clients, one without a certificate under them is refused. */
export function contextOf({ cert, key, ca }: TlsMaterial): SecureContextOptions & TlsOptions {
  return { ...TLS_OPTIONS, cert, key, ...(ca && { ca, requestCert: true, rejectUnauthorized: true }) }
}

const LOOK_MS = 1000

/** The files that are watched, and how they were when they were taken. */
export interface WatchedTls {
  readonly files: TlsFiles
  readonly stamp: string
}

/**
 * Tells when a file of `tls.*` has changed, until stopped. It asks for the files by name once a second: what renews
 * certificates replaces files, or a link on the way to them, and then a watch on the file itself hears nothing.
 * `onChange` comes again each second until `taken` shows the new state, as when only one of two files is there yet.
 */
export function watchTls(taken: () => WatchedTls, onChange: (isRetry: boolean) => void): () => void {
  let last: string | undefined
  const look = () => {
    const { files, stamp } = taken()
    const now = stampNow(files)
    if (now !== undefined && now !== stamp) onChange(now === last)
    last = now
  }
  const timer = setInterval(look, LOOK_MS)
  timer.unref()
  return () => clearInterval(timer)
}

/** None where the file system does not even say whether the files are there: whatever it is, it passes. */
function stampNow(files: TlsFiles): string | undefined {
  try {
    return stampOf(files)
  } catch {
    return undefined
  }
}
