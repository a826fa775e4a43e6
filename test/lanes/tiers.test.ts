// The same verdicts with the instructions forced down to AVX2 and to plain 64-bit words.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { requireNative } from '../../src/native.js'

const fixture = fileURLToPath(new URL('fixtures/tier.mjs', import.meta.url))
const run = promisify(execFile)

async function inTier(tier: string): Promise<{ tier: string; verdicts: number[]; tables: number[] }> {
  const { stdout } = await run(process.execPath, [fixture], {
    env: { ...process.env, RON_KMS_CPU_TIER: tier },
  })
  return JSON.parse(stdout)
}

describe('a forced tier', () => {
  it.each(['avx512', 'avx2', 'scalar'])(
    '%s gives the strict verdicts, without and with tables',
    async tier => {
      const { tier: live, verdicts, tables } = await inTier(tier)
      const tiers = ['avx512', 'avx2', 'scalar']
      // One that the CPU lacks is ignored for the fastest that it has.
      const best = tiers.indexOf(requireNative().cpuTier())
      expect(live).toBe(tiers[Math.max(best, tiers.indexOf(tier))])
      // Of the speccheck cases the fourth alone is strict; after them come good and spoilt signatures in turn.
      const good = Array.from({ length: 40 }, (_, i) => (i % 5 === 3 ? 0 : 1))
      expect(verdicts).toEqual([0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, ...good])
      expect(tables).toEqual(verdicts)
    },
  )

  it('that does not exist is ignored', async () => {
    expect((await inTier('avx9')).tier).toBe(requireNative().cpuTier())
  })
})
