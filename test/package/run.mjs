// Installs the packed package in empty folders, as a user without Rust would, and uses it there: on this Node, on a
// newer one, from ESM, CommonJS and TypeScript, through its binary, and without the platform's addon.
//
//   node test/package/run.mjs [PLATFORM.tgz MAIN.tgz]   packs what is built when no tarballs are named
//
// Not part of `npm test`: it asks the registry for the dependencies and for a second Node, and takes half a minute.
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { at, capture, fail, npm, readJson, requireAll } from '../../scripts/lib.mjs'
import { NEWER_NODE, newerNode } from '../../scripts/newer-node.mjs'
import { pack } from '../../scripts/pack-local.mjs'

const work = mkdtempSync(join(tmpdir(), 'ron-kms-package-'))
process.on('exit', () => rmSync(work, { recursive: true, force: true }))

const [platformTarball, mainTarball] = process.argv.length > 2 ? process.argv.slice(2) : pack()
const path = pathWithoutRust()

const app = folder('app', platformTarball, mainTarball)
const bare = folder('bare', mainTarball)
const newer = newerNode()
if (!newer && requireAll) fail(`${NEWER_NODE} cannot be had from the registry`)
if (!newer) console.log(`skipped: ${NEWER_NODE} (cannot be had from the registry)`)
const nodes = [...new Set([process.execPath, newer])].filter(Boolean)

for (const node of nodes) {
  use(node, app, 'use.mjs')
  use(node, app, 'use.cjs')
  use(node, bare, 'no-binary.mjs')
}
useBinary()
// On Windows the signal would end the shell and leave the service behind.
if (process.platform !== 'win32') use(process.execPath, app, 'passport.mjs')
compile()
console.log(`the packed package works on ${nodes.length} versions of Node`)

/** An empty folder with nothing but the tarballs installed. */
function folder(name, ...tarballs) {
  const path = join(work, name)
  mkdirSync(path)
  writeFileSync(join(path, 'package.json'), JSON.stringify({ name, private: true }))
  cpSync(at('test/package/fixture'), path, { recursive: true })
  // The platform package counts as published only where it is given: npm must not look for it elsewhere.
  const optional = name === 'bare' ? ['--omit=optional'] : []
  install(path, [...optional, ...tarballs])
  return path
}

function install(cwd, args) {
  const flags = ['install', '--no-audit', '--no-fund', '--loglevel=error', '--no-package-lock']
  const { code, stdout } = npm([...flags, ...args], { cwd, env: { PATH: path } })
  if (code !== 0) fail(`npm install of ${args.map(arg => basename(arg)).join(' ')} failed:\n${stdout}`, code)
}

function use(node, cwd, script) {
  process.stdout.write(output(node, [script], cwd))
}

/** The standard output of a program that runs as the user would run it; its failure is ours. */
function output(program, args, cwd) {
  try {
    return execFileSync(program, args, {
      cwd,
      encoding: 'utf8',
      env: { ...process.env, PATH: path },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
  } catch (error) {
    return fail(`${basename(program)} ${args.join(' ')}: exit code ${error.status}\n${error.stdout}`)
  }
}

/** The command that the package installs. */
function useBinary() {
  const expected = readJson('package.json').version
  const main = join(app, 'node_modules/ron-kms/dist/cli/main.js')
  const version = output(process.execPath, [main, '--version'], app).trim()
  if (version !== expected) fail(`ron-kms --version says ${version}`)
  if (process.platform !== 'win32') output(join(app, 'node_modules/.bin/ron-kms'), ['--version'], app)
  if (!JSON.parse(output(process.execPath, [main, 'doctor', '--json'], app)).healthy)
    fail('doctor is not content')
  console.log(`ron-kms ${version} doctor: healthy`)
}

/** The declarations compile in a project that checks those of its dependencies too. */
function compile() {
  const options = {
    compilerOptions: {
      module: 'nodenext',
      target: 'es2023',
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      noEmit: true,
      types: ['node'],
      typeRoots: [at('node_modules/@types')],
    },
    files: ['types.ts'],
  }
  writeFileSync(join(app, 'tsconfig.json'), JSON.stringify(options))
  writeFileSync(join(app, 'package.json'), JSON.stringify({ name: 'app', private: true, type: 'module' }))
  output(process.execPath, [at('node_modules/typescript/bin/tsc'), '--project', 'tsconfig.json'], app)
  console.log('the declarations compile with skipLibCheck off')
}

/** A PATH on which there is Node and no Rust. */
function pathWithoutRust() {
  const bin = join(work, 'bin')
  mkdirSync(bin)
  // npm and the shims of installed commands start `node` by name.
  const name = process.platform === 'win32' ? 'node.exe' : 'node'
  cpSync(process.execPath, join(bin, name))
  chmodSync(join(bin, name), 0o755)
  const system =
    process.platform === 'win32' ? [join(process.env.SystemRoot ?? '', 'System32')] : ['/usr/bin', '/bin']
  const path = [bin, ...system].join(delimiter)
  if (capture('cargo', ['--version'], { env: { PATH: path } }) !== undefined) {
    console.log('note: cargo is in a system folder of this machine and stays on the PATH')
  }
  return path
}
