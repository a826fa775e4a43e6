import type { PqPolicy, PqRule } from '../kms.js'
import type { Fault } from './faults.js'
import type { Config } from './schema.js'

type Rule = Partial<Omit<Config['pq'], 'tenants'>>

/** The settings as the key service takes them. */
export function pqPolicy({ tenants, ...service }: Config['pq']): PqPolicy {
  const rules = Object.entries(tenants).map(([name, rule]) => [name, toRule(rule)])
  return { ...toRule(service), tenants: Object.fromEntries(rules) }
}

function toRule({ produce_hybrid, verify_mode, rollout_percent, legacy_grace }: Rule): PqRule {
  return {
    ...(produce_hybrid !== undefined && { produceHybrid: produce_hybrid }),
    ...(verify_mode !== undefined && { verifyMode: verify_mode }),
    ...(rollout_percent !== undefined && { rolloutPercent: rollout_percent }),
    // `none` is 0, a moment long past: so it ends a tenant's grace where the service has one.
    ...(legacy_grace !== undefined && { legacyGraceUntil: new Date(legacy_grace) }),
  }
}

/** A rule that would refuse the signatures it makes. */
export function pqContradictions({ tenants, ...service }: Config['pq']): Fault[] {
  const rules: [string, Rule][] = [
    ['pq.produce_hybrid', service],
    ...Object.entries(tenants).map(([name, rule]): [string, Rule] => [
      `pq.tenants.${name}.produce_hybrid`,
      { ...service, ...rule },
    ]),
  ]
  return rules
    .filter(([, rule]) => rule.verify_mode === 'and' && rule.produce_hybrid === false)
    .map(([key]) => ({ key, value: 'false', rule: 'must be true where pq.verify_mode is and' }))
}
