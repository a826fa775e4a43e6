// `npm run differential [-- CASES [SEED]]`: the long run of the accelerated verifier against ed25519-dalek's strict
// verification, in release mode. Every case is run in every tier of this processor, in a batch and alone.
import { fail, requireTools, run, seconds } from './lib.mjs'

const [cases = '10000000', seed = String(Date.now())] = process.argv.slice(2)
if (![cases, seed].every(text => /^\d+$/.test(text))) fail('usage: npm run differential [-- CASES [SEED]]')
requireTools()

let summary
const since = performance.now()
console.log(`==> ${cases} cases, seed ${seed}`)
const test = 'tests::differential::every_tier_gives_the_strict_verdict'
const args = ['test', '--release', '--locked', '-p', 'kms-ed25519-simd', '--lib', test]
const code = await run('cargo', [...args, '--', '--exact', '--nocapture'], {
  env: { SIMD_CASES: cases, SIMD_SEED: seed },
  onLine: line => {
    if (line.startsWith('cases: ')) summary = line
  },
})
// A test that is not found passes too.
if (code !== 0 || !summary) fail(`failed after ${seconds(since)} (cases ${cases}, seed ${seed})`, code || 1)
console.log(`==> ${summary}, in ${seconds(since)}`)
