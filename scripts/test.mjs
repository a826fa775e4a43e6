// `npm test [-- vitest arguments]`: builds, runs every Rust and TypeScript test, then says what was skipped.
// Both suites always run, so that one failure does not hide another.
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { build } from './build.mjs'
import { at, run, runNode, step } from './lib.mjs'

const skipFile = at('test/.parts/skipped.jsonl')
const reportFile = at('test/.parts/vitest.json')
const total = { passed: 0, failed: 0, skipped: 0 }

await build()
await step('build the addon with fault injection (test/.addon/ron-kms.fault.node)', buildFaultAddon)

rmSync(at('test/.parts'), { recursive: true, force: true })
mkdirSync(at('test/.parts'), { recursive: true })

const rust = await suite('cargo test --workspace --locked', () =>
  run('cargo', ['test', '--workspace', '--locked'], { onLine: countCargo }))
const typescript = await suite('vitest run', async () => {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportFile}`]
  const code = await runNode(
    'node_modules/vitest/vitest.mjs',
    ['run', ...reporters, ...process.argv.slice(2)],
    {
      env: { RON_KMS_SKIP_FILE: skipFile },
    },
  )
  countVitest()
  return code
})

printSkipped()
console.log(`==> cargo test: exit code ${rust}; vitest: exit code ${typescript}`)
console.log(`total: ${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exitCode = rust || typescript

async function suite(title, action) {
  console.log(`==> ${title}`)
  const since = performance.now()
  const code = await action()
  console.log(
    `    ${code === 0 ? 'passed' : `failed (exit code ${code})`} in ${((performance.now() - since) / 1000).toFixed(1)} s: ${title}`,
  )
  return code
}

/**
 * The same addon with the cargo feature `fault-injection`, by which tests make any export panic. It never ships:
 * plain cargo in the profile of `cargo test` builds it, so that the two share every dependency.
 */
async function buildFaultAddon() {
  let library
  const flags = ['--package', 'kms-node', '--features', 'fault-injection', '--locked']
  const code = await run('cargo', ['build', ...flags, '--message-format=json-render-diagnostics'], {
    quiet: true,
    onLine: line => {
      const { reason, target, filenames } = JSON.parse(line)
      if (reason === 'compiler-artifact' && target.kind.includes('cdylib')) {
        library = filenames.find(name => /\.(so|dylib|dll)$/.test(name))
      }
    },
  })
  if (code !== 0) return code
  mkdirSync(at('test/.addon'), { recursive: true })
  // A new file under the old name: a process that has the old one loaded keeps it.
  copyFileSync(library, at('test/.addon/new'))
  renameSync(at('test/.addon/new'), at('test/.addon/ron-kms.fault.node'))
}

function countCargo(line) {
  const found = /test result: .*? (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line)
  if (!found) return
  total.passed += Number(found[1])
  total.failed += Number(found[2])
  total.skipped += Number(found[3])
}

function countVitest() {
  if (!existsSync(reportFile)) return
  const report = JSON.parse(readFileSync(reportFile, 'utf8'))
  total.passed += report.numPassedTests
  total.failed += report.numFailedTests
  total.skipped += report.numPendingTests + report.numTodoTests
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
