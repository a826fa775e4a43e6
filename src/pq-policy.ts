import { requireObject } from './bytes.js'
import { KmsError } from './errors.js'
import type { PqPolicy, PqRule } from './kms-types.js'

/**
 * A policy as the addon takes it, with every default filled in. What a tenant's rule leaves out is the service's.
 *
 * @throws KmsError `BadRequest` for a value that JSON has no words for.
 */
export function pqPolicyJson(policy: PqPolicy): string {
  requireObject(policy, 'pq')
  const { tenants = {}, ...service } = policy
  const rules = Object.entries(tenants).map(([name, rule]) => {
    requireObject(rule, `pq.tenants.${name}`)
    return [name, ruleOf({ ...service, ...rule }, `pq.tenants.${name}`)]
  })
  return JSON.stringify({ service: ruleOf(service, 'pq'), tenants: Object.fromEntries(rules) })
}

function ruleOf(rule: PqRule, field: string) {
  const { produceHybrid = true, verifyMode = 'and', rolloutPercent = 100, legacyGraceUntil } = rule
  const until = legacyGraceUntil?.getTime()
  if (Number.isNaN(until)) {
    throw new KmsError('BadRequest', 'must be a date', { field: `${field}.legacyGraceUntil` })
  }
  return {
    ...{ produce_hybrid: produceHybrid, verify_mode: verifyMode, rollout_percent: rolloutPercent },
    ...(until !== undefined && { legacy_grace_until_ms: Math.max(0, until) }),
  }
}

/** How far a rule's migration is: 0 classical only, 1 either half, 2 both, 3 post-quantum only. */
export function phaseOf({ produceHybrid = true, verifyMode = 'and' }: PqRule): 0 | 1 | 2 | 3 {
  if (verifyMode === 'pq_only') return 3
  if (verifyMode === 'and') return 2
  return produceHybrid ? 1 : 0
}
