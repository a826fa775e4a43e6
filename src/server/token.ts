import type { Kms, TokenStatus } from '../kms.js'
import type { Log } from '../logging/log.js'
import type { Check } from './ready.js'

/** How often it is looked whether the token went away or came back, in milliseconds. */
const INTERVAL_MS = 500

/** The readiness of a service by its token; holds where there is none. */
export function tokenChecks(
  kms: Pick<Kms, 'tokenStatus'>,
  verifyTtlMs: number,
): { backend: Check; attestation: Check; verifyCache: Check } {
  const served = ({ outageMs }: TokenStatus) => outageMs === null || outageMs <= 2 * verifyTtlMs
  const check = (holds: (status: TokenStatus) => boolean | 'degraded') => () => {
    const status = kms.tokenStatus()
    return status === undefined || holds(status)
  }
  return {
    // While keys are verified with what is known of them, the service is of use.
    backend: check(status => status.unavailable === null || (served(status) && 'degraded')),
    attestation: check(status => status.attested),
    verifyCache: check(served),
  }
}

/** The token as `/readyz` shows it. */
export function shownToken(status: TokenStatus) {
  const { class: attestationClass, label, serial, slot, unavailable, outageMs, sessions } = status
  return {
    ...{ label, serial, slot, class: attestationClass, available: unavailable === null },
    ...(unavailable !== null && { reason: unavailable }),
    ...(outageMs !== null && { cache_age_ms: outageMs }),
    sessions,
  }
}

/** Logs when the token goes away and when it is back. Returns what ends that. */
export function watchToken(kms: Pick<Kms, 'tokenStatus'>, log: Log): () => void {
  let available = true
  const look = () => {
    const status = kms.tokenStatus()
    if (status === undefined || (status.unavailable === null) === available) return
    available = status.unavailable === null
    log.tokenChanged({ available, label: status.label, reason: status.unavailable ?? undefined })
  }
  if (kms.tokenStatus() === undefined) return () => {}
  const timer = setInterval(look, INTERVAL_MS).unref()
  return () => clearInterval(timer)
}
