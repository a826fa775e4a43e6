// The slower tiers of this CPU, each forced in a process of its own: the tier is chosen once a process.
import { inChild } from './child.mjs'

/** The tiers below one, on a CPU that has it. */
const BELOW = { avx512: ['avx2', 'scalar'], avx2: ['scalar'] }
export const tiersBelow = tier => BELOW[tier] ?? []

/** What is timed there: what depends on the tier, beside the control. */
export const TIER_ROWS = [
  'verify',
  'verify, keys never seen',
  'batch 64, 1 key',
  'batch 64, 64 keys',
  'batch 64, keys never seen',
]

/** Results under a forced tier. `labels`: only those candidates, and the control. */
export async function measureTier(tier, { rounds, budget, rows = TIER_ROWS, labels }) {
  const options = JSON.stringify({ rounds, budget, rows, labels })
  const sent = await inChild('tier.mjs', [options], { RON_KMS_CPU_TIER: tier })
  if (sent.tier !== tier) throw new Error(`tier.mjs ran under ${sent.tier}, not ${tier}`)
  return sent.results.map(result => ({ ...result, tier }))
}
