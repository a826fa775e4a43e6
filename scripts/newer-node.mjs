// A Node of another version than the one at hand, from the npm package that carries its binary: newer versions have
// post-quantum algorithms of their own, to compare ours with.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { at, fail, npm, requireAll } from './lib.mjs'

/** The first version whose node:crypto signs with ML-DSA and encapsulates with ML-KEM. */
export const NEWER_MAJOR = 24

const windows = process.platform === 'win32'
const name = `node-${windows ? 'win' : process.platform}-${process.arch}`
const folder = at(`.cache/node-${NEWER_MAJOR}`)
const binary = at(`.cache/node-${NEWER_MAJOR}`, 'node_modules', name, 'bin', windows ? 'node.exe' : 'node')

/** Where it is: this very Node, or one that was fetched before; `undefined` where there is none. */
export function newerNode() {
  if (Number(process.versions.node.split('.')[0]) >= NEWER_MAJOR) return process.execPath
  return existsSync(binary) ? binary : undefined
}

/** As {@link newerNode}; fetches it if need be. Without it, tests and rows of the benchmark are left out. */
export function fetchNewerNode() {
  const found = newerNode()
  if (found) return found
  mkdirSync(folder, { recursive: true })
  writeFileSync(`${folder}/package.json`, '{"private":true}\n')
  const flags = ['--no-audit', '--no-fund', '--loglevel=error', '--no-package-lock']
  const { code } = npm(['install', ...flags, `${name}@${NEWER_MAJOR}`], { cwd: folder })
  if (code === 0 && existsSync(binary)) return binary
  if (requireAll) fail(`Node ${NEWER_MAJOR} cannot be had as the npm package ${name}`)
  console.log(`skipped: Node ${NEWER_MAJOR} (the npm package ${name}@${NEWER_MAJOR} cannot be had)`)
  return undefined
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) console.log(fetchNewerNode() ?? '')
