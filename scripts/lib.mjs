// What every script needs: where the project is, one line a step, and the parts a build stands on.
// No dependencies: these scripts run before anything is installed.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = join(dirname(fileURLToPath(import.meta.url)), '..')
export const at = (...parts) => join(root, ...parts)
export const readJson = path => JSON.parse(readFileSync(at(path), 'utf8'))

/**
 * With REQUIRE_ALL_PARTS=1 a part that is missing on the machine is an error, not a skip. (Its name does not begin
 * with RON_KMS_: a server refuses to start with a variable of that prefix that it does not know.)
 */
export const requireAll = process.env.REQUIRE_ALL_PARTS === '1'

/** Ends the script with one line that says why. */
export function fail(message, code = 1) {
  console.error(`error: ${message}`)
  process.exit(code)
}

export const seconds = since => `${((performance.now() - since) / 1000).toFixed(1)} s`

/** Says what is done, does it, and ends the script with the step's own exit code if it fails. */
export async function step(title, action) {
  console.log(`==> ${title}`)
  const since = performance.now()
  const code = (await action()) ?? 0
  if (code !== 0) fail(`step failed after ${seconds(since)}: ${title} (exit code ${code})`, code)
  console.log(`    done in ${seconds(since)}: ${title}`)
}

/**
 * Runs a program in the project's root and resolves to its exit code.
 * `onLine` sees every line of its standard output, which is still printed unless `quiet`.
 */
export function run(command, args, { env = {}, cwd = root, onLine, quiet = false } = {}) {
  return new Promise(resolve => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', onLine ? 'pipe' : 'inherit', 'inherit'],
    })
    let rest = ''
    child.stdout?.on('data', chunk => {
      if (!quiet) process.stdout.write(chunk)
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine(line)
    })
    child.on('error', error => {
      console.error(`error: ${command}: ${error.message}`)
      resolve(127)
    })
    child.on('close', (code, signal) => resolve(signal ? 1 : code))
  })
}

/** Runs a JavaScript program of a dependency with this Node: no shell, no `npx`, the same on every system. */
export const runNode = (script, args, options) => run(process.execPath, [at(script), ...args], options)
export const tsc = (...args) => runNode('node_modules/typescript/bin/tsc', args)
export const biome = (...args) => runNode('node_modules/@biomejs/biome/bin/biome', args)

/** The output of a program, or `undefined` if it is missing or fails. */
export function capture(command, args, { cwd = root, env = {} } = {}) {
  const options = { cwd, env: { ...process.env, ...env }, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 }
  const result = spawnSync(command, args, options)
  return result.status === 0 ? result.stdout : undefined
}

/** npm as it was started; by name (through a shell on Windows, where it is a batch file) otherwise. */
export function npm(args, { cwd = root, env = {} } = {}) {
  const path = process.env.npm_execpath
  const options = {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  }
  const result = path?.endsWith('.js')
    ? spawnSync(process.execPath, [path, ...args], options)
    : spawnSync('npm', args, { ...options, shell: process.platform === 'win32' })
  return { code: result.status ?? 1, stdout: result.stdout ?? '' }
}

const older = (have, need) => {
  const [a, b] = [have, need].map(version => version.split('.').map(Number))
  for (let i = 0; i < b.length; i++) if ((a[i] ?? 0) !== b[i]) return (a[i] ?? 0) < b[i]
  return false
}

/** Node, Rust and a C compiler are all that a clone needs; each that is missing is named in one line. */
export function requireTools() {
  const node = readJson('package.json').engines.node.replace('>=', '')
  if (older(process.versions.node, node))
    fail(`Node ${node} or newer is needed, this is ${process.versions.node}`)

  const rust = /rust-version = "([\d.]+)"/.exec(readFileSync(at('Cargo.toml'), 'utf8'))?.[1] ?? '1.88'
  const missing = []
  const rustc = capture('rustc', ['--version'])
  const version = /rustc (\d+\.\d+)/.exec(rustc ?? '')?.[1]
  if (!version || !capture('cargo', ['--version']))
    missing.push(`Rust ${rust} or newer (rustc and cargo on the PATH)`)
  else if (older(version, rust)) missing.push(`Rust ${rust} or newer (found ${version})`)
  if (process.platform !== 'win32' && !capture(process.env.CC ?? 'cc', ['--version'])) {
    missing.push('a C compiler (cc on the PATH; Debian: apt-get install build-essential)')
  }
  if (missing.length > 0) fail(`to build, this machine lacks ${missing.join(' and ')}`)
}

const stamp = 'node_modules/.ron-kms-stamp'

/** `npm ci` when node_modules is missing, or is not what the lockfile asks for on this platform. */
export async function installPackages() {
  const digest = createHash('sha256')
    .update(readFileSync(at('package-lock.json')))
    .update(`${process.platform} ${process.arch}`)
    .digest('hex')
  const mark = () => {
    mkdirSync(dirname(at(stamp)), { recursive: true })
    writeFileSync(at(stamp), digest)
  }
  if (existsSync(at(stamp))) {
    if (readFileSync(at(stamp), 'utf8') === digest) return
  } else if (installedByHand()) {
    return mark()
  }
  await step('install packages (npm ci)', () => {
    // Only errors: build tools warn about engines of parts of theirs that are never loaded.
    const { code, stdout } = npm(['ci', '--no-audit', '--no-fund', '--loglevel=error'])
    process.stdout.write(stdout.trim() ? `    ${stdout.trim()}\n` : '')
    return code
  })
  mark()
}

/** Whether a plain `npm ci` or `npm install` has run since the lockfile last changed. */
function installedByHand() {
  const hidden = at('node_modules/.package-lock.json')
  return existsSync(hidden) && statSync(hidden).mtimeMs >= statSync(at('package-lock.json')).mtimeMs
}

/** The name that Node addons give this platform, as in `ron-kms.<name>.node`. */
export function platformName() {
  const { platform, arch } = process
  if (platform === 'linux') {
    // Without this the report looks up the name of every network interface.
    process.report.excludeNetwork = true
    const glibc = process.report.getReport().header.glibcVersionRuntime
    return `linux-${arch}-${glibc ? 'gnu' : 'musl'}`
  }
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`
}

export const addonFile = `ron-kms.${platformName()}.node`
