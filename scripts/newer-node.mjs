// A Node whose node:crypto has ML-DSA, SLH-DSA and ML-KEM, from the npm package that carries its binary: a stranger to
// compare ours with. It lies where `npm test` clears it away.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { at, npm } from './lib.mjs'

export const NEWER_NODE = 'Node 24.8 or newer'

const windows = process.platform === 'win32'
const name = `node-${windows ? 'win' : process.platform}-${process.arch}`
const folder = at('test/.parts/node')
const binary = join(folder, 'node_modules', name, 'bin', windows ? 'node.exe' : 'node')

/** Whether this Node is one: the first with SLH-DSA and with contexts in node:crypto, or a later one. */
export function isNewerNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  return major > 24 || (major === 24 && minor >= 8)
}

/** Where one is: this very Node, one that was fetched before, or one that is fetched now; `undefined` without any. */
export function newerNode() {
  if (isNewerNode()) return process.execPath
  if (existsSync(binary)) return binary
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{"private":true}\n')
  const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error', '--no-package-lock']
  npm(['install', ...flags, `${name}@24`], { cwd: folder })
  return existsSync(binary) ? binary : undefined
}
