import { execFileSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Command } from 'commander'

/** Where packages put the module. */
const MODULES = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
]

const LABEL = 'RON-KMS'

/** `ronctl softhsm`. */
export function softhsmCommand(): Command {
  const command = new Command('softhsm').description('a software token, for trying out the backend pkcs11')
  command
    .command('new <dir>')
    .description('make a private token in a fresh directory, with a configuration that uses it')
    .option('--module <file>', 'SoftHSM itself, where it is not in the usual place')
    .action((dir: string, flags: { module?: string }) => {
      try {
        process.stdout.write(makeToken(resolve(dir), flags.module))
      } catch (error) {
        process.stderr.write(`ronctl: ${(error as Error).message}\n`)
        process.exitCode = 1
      }
    })
  return command
}

/** Makes the token and returns what to do next. */
function makeToken(dir: string, given: string | undefined): string {
  const module = given ?? MODULES.find(path => existsSync(path))
  if (module === undefined || !existsSync(module)) {
    throw new Error('SoftHSM is not installed (apt-get install softhsm2), or --module is needed')
  }
  mkdirSync(join(dir, 'tokens'), { recursive: true, mode: 0o700 })
  const conf = join(dir, 'softhsm2.conf')
  // Never over another token.
  write(
    conf,
    `directories.tokendir = ${join(dir, 'tokens')}\nobjectstore.backend = file\nlog.level = ERROR\n`,
  )
  const [pin, securityOfficer] = [randomPin(), randomPin()]
  const command = ['--init-token', '--free', '--label', LABEL, '--pin', pin, '--so-pin', securityOfficer]
  try {
    execFileSync('softhsm2-util', command, {
      env: { ...process.env, SOFTHSM2_CONF: conf },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
  } catch {
    // Its own words may have the PINs in them.
    throw new Error('softhsm2-util could not make the token')
  }
  write(join(dir, 'so-pin'), `${securityOfficer}\n`)
  write(join(dir, 'env'), `SOFTHSM2_CONF='${conf}'\nRON_KMS_TOKEN_PIN=${pin}\n`)
  write(
    join(dir, 'kms.toml'),
    [
      '[service]',
      'backend = "pkcs11"',
      '',
      '[backends.pkcs11]',
      `module_path = ${JSON.stringify(module)}`,
      `slot_label = "${LABEL}"`,
      'pin_env = "RON_KMS_TOKEN_PIN"',
      '',
      '[backends.file]',
      `dir = ${JSON.stringify(join(dir, 'store'))}`,
      '',
    ].join('\n'),
  )
  return [
    `a token is in ${dir}, for development: whoever reads the directory has its keys`,
    'start a service on it:',
    `  set -a; . '${join(dir, 'env')}'; set +a`,
    `  ron-kms serve --dev --backend pkcs11 --config '${join(dir, 'kms.toml')}'`,
    'and look at its keys:',
    `  pkcs11-tool --module '${module}' --token-label ${LABEL} --login --pin env:RON_KMS_TOKEN_PIN --list-objects --type privkey`,
    '',
  ].join('\n')
}

function write(path: string, text: string): void {
  writeFileSync(path, text, { flag: 'wx', mode: 0o600 })
}

/** Twelve digits. */
function randomPin(): string {
  return Array.from({ length: 12 }, () => randomInt(10)).join('')
}
