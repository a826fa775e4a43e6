// `npm test [-- vitest arguments]`: builds, runs every Rust and TypeScript test, then says what was skipped.
// Both suites always run, so that one failure does not hide another.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { build } from './build.mjs'
import { buildFaultAddon } from './fault-addon.mjs'
import { at, run, runNode, seconds } from './lib.mjs'

const skipFile = at('test/.parts/skipped.jsonl')
const reportFile = at('test/.parts/vitest.json')
const none = { passed: 0, failed: 0, skipped: 0 }
const counts = { cargo: { ...none }, vitest: { ...none } }

await build()
await buildFaultAddon()

rmSync(at('test/.parts'), { recursive: true, force: true })
mkdirSync(at('test/.parts'), { recursive: true })

const rust = await suite('cargo test --workspace --locked', () =>
  run('cargo', ['test', '--workspace', '--locked'], { onLine: countCargo }))
const typescript = await suite('vitest run', async () => {
  const args = ['run', ...process.argv.slice(2)]
  if (!args.some(arg => arg.startsWith('--reporter'))) args.push('--reporter=default')
  args.push('--reporter=json', `--outputFile.json=${reportFile}`)
  const env = { SKIPPED_PARTS_FILE: skipFile }
  const code = await runNode('node_modules/vitest/vitest.mjs', args, { env })
  countVitest()
  return code
})

printSkipped()
const { cargo, vitest } = counts
// What does not compile, and a bound that is missed, fails without a failed test.
if (rust !== 0) cargo.failed = Math.max(cargo.failed, 1)
if (typescript !== 0) vitest.failed = Math.max(vitest.failed, 1)
const sum = key => cargo[key] + vitest[key]
console.log(
  `==> cargo test: ${cargo.passed} passed, exit code ${rust}; vitest: ${vitest.passed} passed, exit code ${typescript}`,
)
console.log(`total: ${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`)
process.exitCode = rust || typescript

async function suite(title, action) {
  console.log(`==> ${title}`)
  const since = performance.now()
  const code = await action()
  const outcome = code === 0 ? 'passed' : `failed (exit code ${code})`
  console.log(`    ${outcome} in ${seconds(since)}: ${title}`)
  return code
}

function countCargo(line) {
  const found = /test result: .*? (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line)
  if (!found) return
  const { cargo } = counts
  cargo.passed += Number(found[1])
  cargo.failed += Number(found[2])
  cargo.skipped += Number(found[3])
}

function countVitest() {
  if (!existsSync(reportFile)) return
  const report = JSON.parse(readFileSync(reportFile, 'utf8'))
  counts.vitest = {
    passed: report.numPassedTests,
    failed: report.numFailedTests,
    skipped: report.numPendingTests + report.numTodoTests,
  }
}

/** One block for everything that this machine lacks, and the one line that brings it. */
function printSkipped() {
  if (!existsSync(skipFile)) return
  const skips = new Map()
  for (const line of readFileSync(skipFile, 'utf8').split('\n').filter(Boolean)) {
    const skip = JSON.parse(line)
    skips.set(skip.part, skip)
  }
  console.log('==> skipped, because this machine lacks a part:')
  for (const { part, reason, skips: what } of skips.values())
    console.log(`    ${part}: ${reason}; not run: ${what}`)
  const packages = [...skips.values()].flatMap(skip => skip.debian ?? [])
  if (packages.length > 0) console.log(`    to run them: apt-get install -y ${packages.join(' ')}`)
}
