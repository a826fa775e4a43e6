// `npm run pack:local`: builds, and packs what a release would publish for this platform into dist-pack/.
// Both tarballs install together in an empty folder: npm install <platform>.tgz <main>.tgz
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { at, npm, step } from './lib.mjs'
import { stage } from './stage.mjs'

/** Packs the stage; returns the tarballs' paths, the platform's first. */
export function pack() {
  mkdirSync(at('dist-pack'), { recursive: true })
  for (const old of readdirSync(at('dist-pack'))) {
    if (old.endsWith('.tgz')) rmSync(at('dist-pack', old))
  }
  return stage().map(folder => {
    const { code, stdout } = npm(['pack', '--json', '--pack-destination', at('dist-pack')], { cwd: folder })
    if (code !== 0) process.exit(code)
    return at('dist-pack', JSON.parse(stdout)[0].filename)
  })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await build()
  await step('pack the platform package and the main package', () => {
    for (const tarball of pack()) console.log(`    ${tarball.replace(at('/'), '')}`)
  })
}
