// Builds the addon with the cargo feature `fault-injection`, by which tests make any export panic, and puts it at
// test/.addon/ron-kms.fault.node. It never ships: plain cargo in the profile of `cargo test` builds it, so that
// the two share every dependency.
import { copyFileSync, mkdirSync, renameSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { at, run, step } from './lib.mjs'

export const buildFaultAddon = () =>
  step('build the addon with fault injection (test/.addon/ron-kms.fault.node)', compile)

async function compile() {
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

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await buildFaultAddon()
