import { native, nativeError } from '../native.js'

/** Whether the native core is there. */
export type AddonStatus =
  | { readonly loaded: true; readonly cpuTier: string }
  | { readonly loaded: false; readonly reason: string }

/** What a platform without a prebuilt binary needs. */
export const ADDON_HELP =
  'install the prebuilt binary of this platform (npm install ron-kms with optional dependencies on), ' +
  'or build it with Rust and a C compiler (npm run build in a checkout)'

/** Looks at the native core once it has been loaded, or not. */
export function addonStatus(): AddonStatus {
  return native ? { loaded: true, cpuTier: native.cpuTier() } : { loaded: false, reason: nativeError }
}
