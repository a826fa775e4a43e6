/** Around a call of the addon: what goes in, checked, and what comes out of it beside a result. */
import { requireBytes, requireObject, requireString } from './bytes.js'
import { KmsError, toKmsError } from './errors.js'
import type { CallTimes, SignBundleOptions } from './kms-types.js'
import { algOf } from './known-kids.js'
import { requireNative } from './native.js'

const NOTHING = new Uint8Array(0)

/** A clock of the addon, and what it saw on ours. */
export function startClock() {
  const native = new (requireNative().CallClock)()
  const start = performance.now()
  const onOurs = (ms: number | undefined) => (ms === undefined ? undefined : start + ms)
  return {
    native,
    read(): CallTimes {
      const { asked, made, began, ended } = native.read()
      return {
        asked: onOurs(asked),
        made: onOurs(made),
        began: onOurs(began),
        ended: onOurs(ended),
        settled: performance.now(),
      }
    },
  }
}

/** What JSON has no words for (a BigInt, a cycle) is a fault of the options. */
export function toJson(body: object): Uint8Array {
  try {
    return Buffer.from(JSON.stringify(body))
  } catch (cause) {
    throw new KmsError('BadRequest', 'cannot be written as JSON', { field: 'options', cause })
  }
}

/** Whether signing takes longer than the event loop may wait. */
export function isSlow(kid: unknown): boolean {
  return typeof kid === 'string' && algOf(kid).startsWith('slh-dsa')
}

/** The options of a bundle of signatures, and its message, checked. */
export function bundleOptions(kid: unknown, message: unknown, options: SignBundleOptions) {
  requireString(kid, 'kid')
  requireObject(options, 'options')
  const { context = NOTHING, produceHybrid = false } = options
  if (typeof produceHybrid !== 'boolean') {
    throw new KmsError('BadRequest', 'must be a boolean', { field: 'produceHybrid' })
  }
  requireBytes(message, 'message')
  requireBytes(context, 'context')
  return { context, produceHybrid }
}

/** The kid that an envelope is expected to be of, where one was given. */
export function envelopeOptions(envelope: unknown, options: { readonly kid?: string }): string | undefined {
  requireObject(options, 'options')
  const { kid } = options
  if (kid !== undefined) requireString(kid, 'kid')
  requireBytes(envelope, 'envelope')
  return kid
}

/** Parameters whose faults the addon reports by their names in the HTTP API, which are others here. */
const OWN_NAMES: Readonly<Record<string, string>> = {
  'kid_or_set.kid': 'kid',
  'policy.mode': 'mode',
  kem_mode: 'kemMode',
}

/** An error by the name that its parameter has in the library. */
export function ownName(caught: unknown): KmsError {
  const error = toKmsError(caught)
  const field = error.field === undefined ? undefined : OWN_NAMES[error.field]
  if (field === undefined) return error
  return new KmsError(error.code, error.message, { retryable: error.retryable, field })
}

/** What a call gives, or its error by {@link ownName}. */
export function named<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw ownName(error)
  }
}
