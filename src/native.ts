/**
 * Finds and loads the addon. The only module that does.
 *
 * Looked for in this order: `ron-kms.<platform>.node` at the package root (a build from source), then
 * the package `ron-kms-<platform>` (the prebuilt binary).
 */
import { createRequire } from 'node:module'
import type * as Binding from '../index.js'
import { KmsError } from './errors.js'

/** What the addon exports; generated from Rust. */
export type Native = typeof Binding

/** `<os>-<cpu>[-<libc>]`, the last part of the platform package's name. */
export const platform: string = platformName()

const loaded = load()

/** The addon, or `undefined` where none loads; {@link nativeError} then says why. */
export const native: Native | undefined = loaded.native

/** Why there is no addon, and what to install; empty where there is one. */
export const nativeError: string = loaded.problem ?? ''

/**
 * The addon, for what cannot do without it.
 *
 * @throws KmsError `Unsupported`, saying what to install.
 */
export function requireNative(): Native {
  if (native) return native
  throw new KmsError('Unsupported', `no native addon: ${nativeError}`)
}

function platformName(): string {
  const { platform, arch } = process
  if (platform === 'win32') return `win32-${arch}-msvc`
  if (platform !== 'linux') return `${platform}-${arch}`
  return `linux-${arch}-${isMusl() ? 'musl' : 'gnu'}`
}

function isMusl(): boolean {
  const report = process.report as typeof process.report & { excludeNetwork: boolean }
  const { excludeNetwork } = report
  // Otherwise the report asks the name server about the peer of every open socket, and waits.
  report.excludeNetwork = true
  // The report names glibc where node is linked with it.
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } }
  report.excludeNetwork = excludeNetwork
  return !header?.glibcVersionRuntime
}

function load(): { native?: Native; problem?: string } {
  const require = createRequire(import.meta.url)
  const candidates = [`../ron-kms.${platform}.node`, `ron-kms-${platform}`]
  const problems: string[] = []
  for (const candidate of candidates) {
    try {
      return { native: require(candidate) as Native }
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code !== 'MODULE_NOT_FOUND') problems.push(`${candidate} does not load: ${firstLine(message)}`)
    }
  }
  const missing = `no binary for ${platform}: install the package ron-kms-${platform}, or build from source`
  return { problem: problems[0] ?? missing }
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? ''
}
