// `npm run build`: installs what is missing, builds the addon and dist/. Enough alone on a fresh clone.
import { chmodSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { addonFile, at, installPackages, requireTools, runNode, step, tsc } from './lib.mjs'

/**
 * Builds the addon crate. Cargo decides what is stale; the files are put in place by rename, so that a server
 * that runs with the old addon goes on. No `--strip` here: it would set RUSTFLAGS and so drop the flags of
 * .cargo/config.toml (the release profile strips).
 */
function buildAddon() {
  return runNode('node_modules/@napi-rs/cli/dist/cli.js', [
    ...['build', '--release', '--platform', '--manifest-path', 'crates/kms-node/Cargo.toml'],
    ...['--output-dir', '.', '--dts', 'index.d.ts'],
    // The loader is ours (src/native.ts): the generated one has no pure JavaScript fallback.
    '--no-js',
    // String unions instead of `const enum`: the declarations promise nothing that is not there at run time.
    '--no-const-enum',
    ...['--', '--locked'],
  ])
}

export async function build() {
  requireTools()
  await installPackages()
  await step(`build the addon (${addonFile})`, buildAddon)
  await step('compile src/ to dist/', async () => {
    const code = await tsc('--project', 'tsconfig.build.json')
    if (code !== 0) return code
    prune()
    chmodSync(at('dist/cli/main.js'), 0o755)
  })
}

/** Removes from dist/ what no longer has a source. Afterwards, not before: a running server keeps its files. */
function prune() {
  for (const entry of readdirSync(at('dist'), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const source = path.replace(at('dist'), at('src')).replace(/(\.d\.ts|\.js|\.js\.map)$/, '.ts')
    if (!existsSync(source)) rmSync(path)
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await build()
