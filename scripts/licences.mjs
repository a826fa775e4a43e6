// The licences of every crate that is linked into the addon: their terms ask for the texts to go with a binary.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { capture, fail, readJson } from './lib.mjs'

const licenceFile = /^(licen[cs]e|copying|notice|unlicense)/i

/** One text for all: what each crate is, and each distinct licence file once. */
export function thirdPartyLicences() {
  const crates = linkedCrates()
  const texts = new Map()
  for (const { name, version, manifest_path } of crates) {
    const folder = dirname(manifest_path)
    for (const file of readdirSync(folder).filter(file => licenceFile.test(file))) {
      const text = readFileSync(join(folder, file), 'utf8').trim()
      texts.set(text, [...(texts.get(text) ?? []), `${name} ${version}`])
    }
  }
  const list = crates.map(({ name, version, license }) => `${name} ${version}: ${license}`)
  const parts = [...texts].map(([text, of]) => `${'='.repeat(80)}\n${of.join(', ')}\n\n${text}`)
  const head = 'The addon of ron-kms is linked with these crates. Their licences follow.'
  return `${[head, list.join('\n'), ...parts].join('\n\n')}\n`
}

/** The crates that kms-node links on the platforms that are built, build scripts and macros left out. */
function linkedCrates() {
  const crates = new Map()
  for (const target of readJson('package.json').napi.targets) {
    for (const crate of linkedOn(target)) crates.set(crate.id, crate)
  }
  return [...crates.values()].sort((a, b) => a.name.localeCompare(b.name))
}

function linkedOn(target) {
  const output = capture('cargo', [
    'metadata',
    '--format-version=1',
    '--locked',
    `--filter-platform=${target}`,
  ])
  if (output === undefined) fail('cargo metadata failed')
  const { packages, resolve } = JSON.parse(output)
  const packageOf = new Map(packages.map(entry => [entry.id, entry]))
  const nodeOf = new Map(resolve.nodes.map(node => [node.id, node]))
  const seen = new Set()
  const visit = id => {
    if (seen.has(id) || packageOf.get(id).targets.some(target => target.kind.includes('proc-macro'))) return
    seen.add(id)
    for (const { pkg, dep_kinds } of nodeOf.get(id).deps) {
      if (dep_kinds.some(({ kind }) => kind === null)) visit(pkg)
    }
  }
  visit(packages.find(({ name }) => name === 'kms-node').id)
  return [...seen].map(id => packageOf.get(id)).filter(({ source }) => source !== null)
}
