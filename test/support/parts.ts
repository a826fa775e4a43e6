// Real parts that some tests need and a machine may lack. A test asks for its part by name and is skipped,
// with a reason that `npm test` prints at the end; with REQUIRE_ALL_PARTS=1 (CI) it fails instead.
//
//   const promtool = part('promtool')
//   it.skipIf(!promtool.available)('is accepted by promtool', () => { execFileSync(promtool.path, …) })
import { spawnSync } from 'node:child_process'
import { accessSync, appendFileSync, constants, mkdirSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { newerNode } from '../../scripts/newer-node.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))

interface Kind {
  /** Where it is, or undefined. */
  find(): string | undefined
  /** Said when it is missing. */
  missing: string
  /** What is not tested without it. */
  skips: string
  /** The Debian package that brings it. */
  debian?: string
}

const kinds = {
  promtool: {
    find: () => onPath('promtool'),
    missing: 'promtool is not on the PATH',
    skips: '`promtool check metrics` over /metrics',
    debian: 'prometheus',
  },
  curl: {
    find: () => onPath('curl'),
    missing: 'curl is not on the PATH',
    skips: 'the curl lines that the README and the server show',
    debian: 'curl',
  },
  go: {
    find: () => onPath('go'),
    missing: 'go is not on the PATH',
    skips: "checkpoints and proofs of the audit log against Go's own checker",
    debian: 'golang-go',
  },
  pymacaroons: {
    find: pythonWithMacaroons,
    missing: 'no python3 has pymacaroons',
    skips: 'capabilities against pymacaroons',
    debian: 'python3-pymacaroons',
  },
  'python-jwt': {
    // Debian's own Python, which its packages are for.
    find: () => {
      const python = file('/usr/bin/python3')
      const works = python && spawnSync(python, ['-c', 'import jwt, cryptography']).status === 0
      return works ? python : undefined
    },
    missing: '/usr/bin/python3 has no PyJWT and cryptography',
    skips: 'passports against a client in Python',
    debian: 'python3-jwt python3-cryptography',
  },
  'fault-addon': {
    find: () => file(join(root, 'test/.addon/ron-kms.fault.node')),
    missing: 'test/.addon/ron-kms.fault.node is not built (npm test builds it)',
    skips: 'panics injected into the exports of the addon',
  },
  'process-memory': {
    find: () => file('/proc/self/smaps'),
    missing: 'no /proc/PID/mem: not Linux',
    skips: 'the search of the memory of a service for its secrets',
  },
  'memlock-limit': {
    // The superuser locks without a limit, unless setpriv takes that right away.
    find: () =>
      process.platform === 'linux' ? (process.getuid?.() === 0 ? onPath('setpriv') : 'sh') : undefined,
    missing: 'no limit of locked memory can be set (Linux, and for the superuser setpriv)',
    skips: 'what happens where memory cannot be locked',
    debian: 'util-linux',
  },
  'core-dumps': {
    find: corePattern,
    missing: 'core dumps go elsewhere (/proc/sys/kernel/core_pattern), or are limited to nothing',
    skips: 'the search of a core dump for secrets',
  },
  strace: {
    find: tracer,
    missing: 'strace is not on the PATH, or may not attach to a process (kernel.yama.ptrace_scope)',
    skips: 'crashes and failing system calls injected into the key store and the audit log',
    debian: 'strace',
  },
  softhsm: {
    find: softhsm,
    missing: 'SoftHSM or pkcs11-tool is not installed',
    skips: 'keys in a token, against a real PKCS#11 module',
    debian: 'softhsm2 opensc',
  },
  'pkcs11-fault': {
    find: () => FAULT_MODULES.map(path => file(join(root, path))).find(path => path !== undefined),
    missing: 'the PKCS#11 module that fails on demand is not built (cargo test builds it)',
    skips: 'tokens that fail, hang and go away under a service',
  },
  cargo: {
    find: () => (process.platform === 'win32' ? undefined : onPath('cargo')),
    missing: 'cargo is not on the PATH',
    skips: 'the audit log under a driver in Rust',
    debian: 'cargo',
  },
  'small-disk': {
    find: mounter,
    missing: 'a small tmpfs cannot be mounted: neither the superuser, nor sudo without a password',
    skips: 'a full disk',
  },
  'openssl-3.5': {
    find: newerNode,
    missing: 'this Node has no OpenSSL 3.5, and a newer one cannot be had from the registry',
    skips: 'ML-DSA, SLH-DSA and ML-KEM against those of node:crypto',
  },
} satisfies Record<string, Kind>

export type PartName = keyof typeof kinds

export interface Part {
  available: boolean
  /** Where the part is; empty when it is missing. */
  path: string
  /** Why the tests are skipped; empty when it is there. */
  reason: string
}

const asked = new Map<PartName, Part>()

/** Looks for a part. A missing one is written to the list of skips, once a file of tests. */
export function part(name: PartName): Part {
  const known = asked.get(name)
  if (known) return known
  const kind: Kind = kinds[name]
  const path = kind.find()
  const found: Part = { available: path !== undefined, path: path ?? '', reason: path ? '' : kind.missing }
  asked.set(name, found)
  if (!found.available) noteSkip(name, kind)
  return found
}

function noteSkip(name: PartName, kind: Kind): void {
  if (process.env.REQUIRE_ALL_PARTS === '1') throw new Error(`REQUIRE_ALL_PARTS=1, but ${kind.missing}`)
  const target = process.env.SKIPPED_PARTS_FILE
  if (!target) return
  mkdirSync(dirname(target), { recursive: true })
  const line = {
    part: name,
    reason: kind.missing,
    skips: kind.skips,
    ...(kind.debian ? { debian: kind.debian } : {}),
  }
  appendFileSync(target, `${JSON.stringify(line)}\n`)
}

/** A Python that has pymacaroons: the first on the PATH, or the system's, for which Debian has the package. */
function pythonWithMacaroons(): string | undefined {
  return [onPath('python3'), file('/usr/bin/python3')].find(
    python => python !== undefined && spawnSync(python, ['-c', 'import pymacaroons']).status === 0,
  )
}

const SOFTHSM = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
]
const FAULT_MODULES = ['target/debug/libkms_pkcs11_fault.so', 'target/debug/deps/libkms_pkcs11_fault.so']
/** The module of SoftHSM, where its tools are there too. */
function softhsm(): string | undefined {
  if (!onPath('softhsm2-util') || !onPath('pkcs11-tool')) return undefined
  return SOFTHSM.map(path => file(path)).find(path => path !== undefined)
}

/** Where core dumps are written to the working directory. */
function corePattern(): string | undefined {
  try {
    const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim()
    const hard = /^Max core file size +\S+ +(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return pattern.startsWith('core') && hard === 'unlimited' ? pattern : undefined
  } catch {
    return undefined
  }
}

/** strace, where it may attach to processes that it did not start. */
function tracer(): string | undefined {
  const scope = file('/proc/sys/kernel/yama/ptrace_scope')
  const isFree = !scope || process.getuid?.() === 0 || readFileSync(scope, 'utf8').trim() === '0'
  return process.platform === 'linux' && isFree ? onPath('strace') : undefined
}

/** What mounts: `mount` for the superuser, otherwise `sudo`. */
function mounter(): string | undefined {
  if (process.platform !== 'linux') return undefined
  if (process.getuid?.() === 0) return onPath('mount')
  const sudo = onPath('sudo')
  return sudo && spawnSync(sudo, ['-n', 'true']).status === 0 ? sudo : undefined
}

function onPath(program: string): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const found = file(join(folder, program), constants.X_OK)
    if (found) return found
  }
  return undefined
}

function file(path: string, mode: number = constants.R_OK): string | undefined {
  try {
    accessSync(path, mode)
    return path
  } catch {
    return undefined
  }
}
