import { isDate } from 'node:util/types'
import { requireObject } from './bytes.js'
import { KmsError } from './errors.js'
import type { PqPolicy, PqRule } from './kms-types.js'

/** What a rule says, in the order in which it is checked. */
const FIELDS = ['produceHybrid', 'verifyMode', 'rolloutPercent', 'legacyGraceUntil'] as const
const MODES: readonly unknown[] = ['or', 'and', 'pq_only']
const TENANT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

type Rule = { readonly [K in keyof PqRule]: PqRule[K] | undefined }

/**
 * A policy as the addon takes it, with every default filled in. What a tenant's rule leaves out is the service's.
 * A name that nothing knows is refused: a rule with a slip of the pen would be another rule.
 *
 * @throws KmsError `BadRequest` naming what is at fault.
 */
export function pqPolicyJson(policy: PqPolicy): string {
  requireTable(policy, 'pq')
  const { tenants = {}, ...rest } = policy
  const service = ruleOf(rest, 'pq')
  requireTable(tenants, 'pq.tenants')
  const rules = Object.entries(tenants).map(([name, rule]) => {
    if (!TENANT.test(name)) throw fault('pq.tenants', 'must have names of tenants')
    return [name, dtoOf(over(service, ruleOf(rule, `pq.tenants.${name}`)), `pq.tenants.${name}`)]
  })
  return JSON.stringify({ service: dtoOf(service, 'pq'), tenants: Object.fromEntries(rules) })
}

/** A tenant's rule, with the service's for what it leaves out. */
export function over(service: PqRule, own: PqRule): PqRule {
  const given = FIELDS.filter(field => own[field] !== undefined).map(field => [field, own[field]])
  return { ...service, ...Object.fromEntries(given) }
}

/** Reads each field once and checks it. */
function ruleOf(given: unknown, at: string): PqRule {
  requireTable(given, at)
  const unknown = Object.keys(given).find(name => !(FIELDS as readonly string[]).includes(name))
  if (unknown !== undefined) throw fault(at, 'has a field that is not known')
  const { produceHybrid, verifyMode, rolloutPercent, legacyGraceUntil } = given as Rule
  const check = (holds: boolean, field: keyof PqRule, why: string) => {
    if (!holds) throw fault(`${at}.${field}`, why)
  }
  check(
    produceHybrid === undefined || typeof produceHybrid === 'boolean',
    'produceHybrid',
    'must be a boolean',
  )
  check(
    verifyMode === undefined || MODES.includes(verifyMode),
    'verifyMode',
    'must be `or`, `and` or `pq_only`',
  )
  check(rolloutPercent === undefined || isPercent(rolloutPercent), 'rolloutPercent', 'must be from 0 to 100')
  check(
    legacyGraceUntil === undefined || !Number.isNaN(millis(legacyGraceUntil)),
    'legacyGraceUntil',
    'must be a date',
  )
  return {
    ...(produceHybrid !== undefined && { produceHybrid }),
    ...(verifyMode !== undefined && { verifyMode }),
    ...(rolloutPercent !== undefined && { rolloutPercent }),
    ...(legacyGraceUntil !== undefined && { legacyGraceUntil: new Date(millis(legacyGraceUntil)) }),
  }
}

function dtoOf(rule: PqRule, at: string) {
  const { produceHybrid = true, verifyMode = 'and', rolloutPercent = 100, legacyGraceUntil } = rule
  if (verifyMode === 'and' && !produceHybrid) {
    throw fault(`${at}.produceHybrid`, 'must be true where verifyMode is `and`')
  }
  return {
    ...{ produce_hybrid: produceHybrid, verify_mode: verifyMode, rollout_percent: rolloutPercent },
    ...(legacyGraceUntil && { legacy_grace_until_ms: Math.max(0, legacyGraceUntil.getTime()) }),
  }
}

/** Milliseconds of a date, whatever its class makes of them; NaN of anything else. */
function millis(value: unknown): number {
  return isDate(value) ? Date.prototype.getTime.call(value) : Number.NaN
}

function isPercent(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 100
}

function requireTable(value: unknown, field: string): asserts value is object {
  requireObject(value, field)
  if (Array.isArray(value)) throw fault(field, 'must not be an array')
}

function fault(field: string, why: string): KmsError {
  return new KmsError('BadRequest', why, { field })
}

/** How far a rule's migration is: 0 classical only, 1 either half, 2 both, 3 post-quantum only. */
export function phaseOf({ produceHybrid = true, verifyMode = 'and' }: PqRule): 0 | 1 | 2 | 3 {
  if (verifyMode === 'pq_only') return 3
  if (verifyMode === 'and') return 2
  return produceHybrid ? 1 : 0
}
