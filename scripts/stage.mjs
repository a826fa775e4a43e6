// Lays out, under dist-pack/stage/, exactly what is published: the main package and one package a platform.
// Used by `npm run pack:local`, by the package test and by the release workflow.
//
//   node scripts/stage.mjs [FOLDER]   takes every ron-kms.<platform>.node found in FOLDER (default: the root)
//
// The main package gets its `optionalDependencies` here and not in the repository: `npm ci` on a clone would
// otherwise ask the registry for platform packages of a version that is not published yet.
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { at, fail, readJson } from './lib.mjs'
import { thirdPartyLicences } from './licences.mjs'

export const stageFolder = at('dist-pack/stage')

/** Stages what is there and returns the folders: platform packages first, as they must be published first. */
export function stage(addons = at('.')) {
  rmSync(stageFolder, { recursive: true, force: true })
  const platforms = readdirSync(at('npm')).filter(name => existsSync(join(addons, `ron-kms.${name}.node`)))
  if (platforms.length === 0) fail(`no ron-kms.<platform>.node in ${addons}; npm run build makes one`)

  const licences = thirdPartyLicences()
  const folders = platforms.map(name => {
    const folder = join(stageFolder, `ron-kms-${name}`)
    mkdirSync(folder, { recursive: true })
    for (const file of ['package.json', 'README.md']) copyFileSync(at('npm', name, file), join(folder, file))
    copyFileSync(join(addons, `ron-kms.${name}.node`), join(folder, `ron-kms.${name}.node`))
    copyLicences(folder)
    writeFileSync(join(folder, 'THIRD-PARTY-LICENSES'), licences)
    return folder
  })
  return [...folders, stageMain(platforms)]
}

function stageMain(platforms) {
  const folder = join(stageFolder, 'ron-kms')
  const manifest = readJson('package.json')
  mkdirSync(folder, { recursive: true })
  for (const name of manifest.files) cpSync(at(name), join(folder, name), { recursive: true })
  copyLicences(folder)

  // Nothing of the checkout's own tooling is any use to who installs the package.
  const {
    scripts: _scripts,
    devDependencies: _dev,
    overrides: _overrides,
    napi: _napi,
    ...published
  } = manifest
  published.optionalDependencies = Object.fromEntries(
    platforms.map(name => [`ron-kms-${name}`, manifest.version]),
  )
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(published, null, 2)}\n`)
  return folder
}

function copyLicences(folder) {
  for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) copyFileSync(at(name), join(folder, name))
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const folder of stage(resolve(process.argv[2] ?? at('.')))) console.log(folder)
}
