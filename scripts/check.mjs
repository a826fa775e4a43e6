// `npm run check`: everything that CI does, without installing anything on the machine; .ci/run installs, then calls this.
// `node scripts/check.mjs NAME…` runs only the named steps (`npm run lint` does).
import { existsSync, readFileSync } from 'node:fs'
import { build } from './build.mjs'
import {
  at,
  biome,
  capture,
  fail,
  installPackages,
  requireAll,
  requireTools,
  run,
  runNode,
  step,
  tsc,
} from './lib.mjs'
import { pack } from './pack-local.mjs'

const textOf = path => (existsSync(at(path)) ? readFileSync(at(path), 'utf8') : undefined)
const before = new Map(['index.d.ts', 'Cargo.lock', 'package-lock.json'].map(path => [path, textOf(path)]))

let tarballs

const steps = {
  build: () => build(),

  // What the build generates must be what is committed: compared with the files as they were at the start.
  generated: () =>
    step('generated files are up to date (index.d.ts, lockfiles)', () => {
      const stale = [...before].filter(([path, text]) => text !== textOf(path)).map(([path]) => path)
      for (const path of stale) console.error(`changed by the build: ${path}; commit it`)
      return stale.length
    }),

  openapi: () =>
    step('docs/openapi is what the routes say, and the changelog says what changed', () =>
      runNode('scripts/openapi.mjs', ['--check']),
    ),

  table: () =>
    step('the README has the benchmark table of bench/results', () =>
      runNode('bench/readme-table.mjs', ['--check']),
    ),

  settings: () =>
    step('docs/configuration.md is made of the table of settings', () =>
      runNode('scripts/settings-page.mjs', ['--check']),
    ),

  hygiene: () => step('hosts, paths, versions, crypto crates once', () => runNode('scripts/hygiene.mjs', [])),

  fmt: () => step('cargo fmt --check', () => run('cargo', ['fmt', '--all', '--check'])),

  clippy: () =>
    step('cargo clippy, warnings are errors', () => {
      // Not --all-targets: it would compile the addon as a test, in which napi registers no export.
      const targets = ['--lib', '--bins', '--tests', '--examples', '--benches']
      const scope = ['--workspace', ...targets, '--all-features', '--locked']
      return run('cargo', ['clippy', ...scope, '--', '-D', 'warnings'])
    }),

  // The whole core in Rust, where there is no C compiler: without its lanes `auto` falls back to the references.
  pure: () =>
    step('cargo check without a C compiler', () => {
      const features = ['--no-default-features', '--features', 'pure,slh-dsa', '--locked']
      const env = { CC: 'false', CXX: 'false' }
      return run('cargo', ['check', '-p', 'kms-node', ...features], { env })
    }),

  biome: () => step('biome ci', () => biome('ci', '.')),

  types: () => step('tsc --noEmit', () => tsc('--noEmit')),

  // Advisories need a clone of the advisory database: the GitHub workflow checks them.
  deny: async () => {
    if (capture('cargo', ['deny', '--version']) === undefined) {
      const how = 'cargo-deny is missing: cargo install cargo-deny --locked'
      if (requireAll) fail(how)
      return console.log(`==> skipped: cargo deny (${how})`)
    }
    await step('cargo deny check bans licenses sources', () =>
      run('cargo', ['deny', '--locked', '--all-features', 'check', 'bans', 'licenses', 'sources']),
    )
  },

  pack: () =>
    step('pack, publint and attw', async () => {
      tarballs = pack()
      const main = tarballs.at(-1)
      const publint = await runNode('node_modules/publint/src/cli.js', ['run', '--strict', main])
      if (publint !== 0) return publint
      return runNode('node_modules/@arethetypeswrong/cli/dist/index.js', ['--profile', 'esm-only', main])
    }),

  package: () =>
    step('install the packed package in an empty folder and use it', () => {
      tarballs ??= pack()
      return runNode('test/package/run.mjs', tarballs)
    }),

  // The README's own command, with coverage held to its thresholds. Last: its closing lines are the test
  // runners' own summaries.
  test: async () => {
    const code = await run('npm', ['test', '--', '--coverage'])
    if (code !== 0) process.exit(code)
  },
}

const names = process.argv.slice(2)
for (const name of names)
  if (!(name in steps)) fail(`no step ${name}; there are: ${Object.keys(steps).join(' ')}`)
requireTools()
await installPackages()
for (const name of names.length > 0 ? names : Object.keys(steps)) await steps[name]()
