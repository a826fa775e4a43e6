// Checks of the repository itself: nothing in it may name a registry host or a path of somebody's machine, the
// versions agree, and every crypto crate is there once.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { at, capture, fail, readJson } from './lib.mjs'

/**
 * One version each: two of them mean two code paths for the same secret, and types that do not fit. (deny.toml
 * refuses every other duplicate, and gives a reason for the few it lets pass.)
 */
const cryptoCrates = [
  'aead',
  'aes',
  'aes-gcm',
  'blake3',
  'chacha20',
  'chacha20poly1305',
  'crypto-common',
  'curve25519-dalek',
  'digest',
  'ed25519',
  'ed25519-dalek',
  'getrandom',
  'ghash',
  'hkdf',
  'hmac',
  'hybrid-array',
  'keccak',
  'ml-dsa',
  'ml-kem',
  'module-lattice',
  'poly1305',
  'rand_core',
  'ring',
  'sha2',
  'shake',
  'signature',
  'slh-dsa',
  'subtle',
  'x25519-dalek',
  'zeroize',
]

/** Every file of the repository, those not yet added included, except what is ignored. */
function repositoryFiles() {
  const listed = capture('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'])
  if (listed === undefined) fail('git ls-files failed: this check needs a git checkout')
  return listed.split('\0').filter(path => path && existsSync(at(path)))
}

export function hostFaults() {
  const faults = []
  for (const [index, line] of readFileSync(at('package-lock.json'), 'utf8').split('\n').entries()) {
    if (/"resolved":\s*"https?:/.test(line)) {
      faults.push(`package-lock.json:${index + 1}: names a registry host (is .npmrc in force?)`)
    }
  }
  for (const lock of ['Cargo.lock', 'fuzz/Cargo.lock']) {
    for (const [index, line] of readFileSync(at(lock), 'utf8').split('\n').entries()) {
      const source = /^source = "(.*)"$/.exec(line)?.[1]
      // Cargo writes this name for crates.io whatever registry stands in for it.
      if (source && source !== 'registry+https://github.com/rust-lang/crates.io-index') {
        faults.push(`${lock}:${index + 1}: source is not crates.io: ${source}`)
      }
    }
  }
  return faults
}

/** `npm install` leaves out optional packages that it could not fetch, and `npm ci` then refuses the lockfile. */
export function lockFaults() {
  const { packages } = readJson('package-lock.json')
  const faults = []
  for (const [path, { optionalDependencies = {} }] of Object.entries(packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      if (packages[`node_modules/${name}`] || packages[`${path}/node_modules/${name}`]) continue
      faults.push(`package-lock.json: ${name}, optional for ${path}, is missing`)
    }
  }
  return faults
}

/** An absolute path below a home or work folder, at the start of a word. */
const machinePath = /(?:^|[\s"'`(=:,[])\/(?:home|root|work|Users|tmp\/\w+|var\/folders)\/[\w.-]/

export function pathFaults() {
  const faults = []
  for (const path of repositoryFiles()) {
    // Vectors are other people's bytes.
    if (path.startsWith('test/vectors/')) continue
    const text = readFileSync(at(path), 'utf8')
    if (text.includes('\0')) continue
    for (const [index, line] of text.split('\n').entries()) {
      if (machinePath.test(line))
        faults.push(`${path}:${index + 1}: path of a machine: ${line.trim().slice(0, 100)}`)
    }
  }
  return faults
}

export function versionFaults() {
  const { version, napi } = readJson('package.json')
  const faults = []
  const rust = /\[workspace\.package\]\s+version = "(.*?)"/.exec(readFileSync(at('Cargo.toml'), 'utf8'))?.[1]
  if (rust !== version) faults.push(`Cargo.toml: version ${rust} is not package.json's ${version}`)
  const platforms = readdirSync(at('npm'))
  for (const name of platforms) {
    const manifest = readJson(`npm/${name}/package.json`)
    if (manifest.version !== version)
      faults.push(`npm/${name}: version ${manifest.version} is not ${version}`)
    if (manifest.name !== `ron-kms-${name}`) faults.push(`npm/${name}: is named ${manifest.name}`)
    if (manifest.main !== `ron-kms.${name}.node`) faults.push(`npm/${name}: main is ${manifest.main}`)
  }
  if (platforms.length !== napi.targets.length) {
    faults.push(
      `npm/ has ${platforms.length} platforms, package.json has ${napi.targets.length} napi.targets`,
    )
  }
  return faults
}

export function cryptoFaults() {
  const tree = capture('cargo', [
    'tree',
    '--locked',
    // What is linked: build scripts and tests bring a getrandom of their own.
    ...['kms-node', 'kms-audit'].map(name => `--package=${name}`),
    '--edges=normal',
    // Not `all`, which has what only other tools than the compiler ask for.
    ...readJson('package.json').napi.targets.map(target => `--target=${target}`),
    '--prefix=none',
    '--format={p}',
  ])
  if (tree === undefined) fail('cargo tree failed')
  const versions = new Map()
  for (const [, name, version] of tree.matchAll(/^([\w-]+) v(\S+)/gm)) {
    versions.set(name, (versions.get(name) ?? new Set()).add(version))
  }
  return cryptoCrates
    .filter(name => (versions.get(name)?.size ?? 0) > 1)
    .map(name => `Cargo.lock: ${name} is there as ${[...versions.get(name)].join(' and ')}`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const faults = [...hostFaults(), ...lockFaults(), ...pathFaults(), ...versionFaults(), ...cryptoFaults()]
  for (const fault of faults) console.error(fault)
  process.exitCode = faults.length === 0 ? 0 : 1
}
