// `npm run chaos [-- --case NAME] [--rounds N] [--seed N] [--width N] [name of a test file…]`: builds, then runs test/chaos
// in its long form: every case, and many rounds. With `--case` one case alone, which is how a failed one is run again.
import { parseArgs } from 'node:util'
import { build } from './build.mjs'
import { fail, runNode, step } from './lib.mjs'

const flags = { case: 'CHAOS_CASE', rounds: 'CHAOS_ROUNDS', seed: 'CHAOS_SEED', width: 'CHAOS_WIDTH' }
const options = Object.fromEntries(Object.keys(flags).map(name => [name, { type: 'string' }]))
const { values, positionals } = parseArgs({ options, allowPositionals: true })
for (const name of ['rounds', 'seed', 'width']) {
  if (values[name] !== undefined && !/^\d+$/.test(values[name])) fail(`--${name} takes a whole number`)
}
const env = { CHAOS: 'long' }
for (const [name, variable] of Object.entries(flags)) if (values[name]) env[variable] = values[name]

await build()
let ran = false
const onLine = line => {
  ran ||= /^chaos: .*: \d+ cases, /.test(line)
}
const files = (positionals.length > 0 ? positionals : ['']).map(name => `test/chaos/${name}`)
await step(`test/chaos, long form ${positionals.join(' ')}`, () =>
  runNode('node_modules/vitest/vitest.mjs', ['run', ...files, '--no-file-parallelism'], { env, onLine }),
)
if (values.case && !ran) fail(`no case has this name: ${values.case}`)
