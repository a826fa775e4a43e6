import { Command, Option } from 'commander'
import { KmsError, toKmsError } from '../errors.js'
import { fileStore, rootKey } from '../file-store.js'
import type { RootKeyOptions } from '../kms-types.js'
import { requireNative } from '../native.js'

/** What is not sound was found. */
const EXIT_UNSOUND = 1
/** The work could not be done. */
const EXIT_FAILED = 2

interface StoreFlags {
  rootKeyKind: RootKeyOptions['kind']
  rootKeyFile?: string
  rootKeyEnv?: string
  pkcs11Module?: string
  pkcs11Label?: string
  pkcs11PinEnv?: string
  anchor?: string
  acceptOlder?: boolean
}

interface RekeyFlags extends StoreFlags {
  newRootKeyKind: RootKeyOptions['kind']
  newRootKeyFile?: string
  newRootKeyEnv?: string
  newPkcs11Module?: string
  newPkcs11Label?: string
  newPkcs11PinEnv?: string
}

interface CheckReport {
  keys: number
  versions: number
  problems: string[]
}

/** `ronctl store`. */
export function storeCommand(): Command {
  const command = new Command('store').description('a store of keys that no service has open')
  withRootKey(command.command('check <dir>'))
    .description('read, authenticate and unseal everything; exit code 1 names what is not sound')
    .option('--json', 'as JSON')
    .action((dir: string, flags: StoreFlags & { json?: boolean }) =>
      attempt(() => {
        const report = JSON.parse(requireNative().storeCheck(nativeStore(dir, flags))) as CheckReport
        const { keys, versions, problems } = report
        const lines = [`${keys} keys with ${versions} versions are sound`, ...problems]
        process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : `${lines.join('\n')}\n`)
        if (problems.length > 0) process.exitCode = EXIT_UNSOUND
      }),
    )
  withRootKey(command.command('backup <dir> <to>'))
    .description('copy a store to an empty or missing directory')
    .action((dir: string, to: string, flags: StoreFlags) =>
      attempt(() => {
        const keys = requireNative().storeBackup(nativeStore(dir, flags), to)
        process.stdout.write(`${keys} keys are backed up\n`)
      }),
    )
  withRootKey(command.command('restore <from> <dir>'))
    .description('check a backup whole and copy it to an empty or missing directory')
    .action((from: string, dir: string, flags: StoreFlags) =>
      attempt(() => {
        const keys = requireNative().storeRestore(from, rootKey(givenRootKey(flags)), dir)
        process.stdout.write(`${keys} keys are restored\n`)
      }),
    )
  withRootKey(withRootKey(command.command('rekey <dir>')), 'new-')
    .description('have another root key open a store from now on, and no longer the one before')
    .action((dir: string, flags: RekeyFlags) =>
      attempt(() => {
        const fresh = rootKey(
          givenRootKey({
            rootKeyKind: flags.newRootKeyKind,
            ...(flags.newRootKeyFile && { rootKeyFile: flags.newRootKeyFile }),
            ...(flags.newRootKeyEnv && { rootKeyEnv: flags.newRootKeyEnv }),
            ...(flags.newPkcs11Module && { pkcs11Module: flags.newPkcs11Module }),
            ...(flags.newPkcs11Label && { pkcs11Label: flags.newPkcs11Label }),
            ...(flags.newPkcs11PinEnv && { pkcs11PinEnv: flags.newPkcs11PinEnv }),
          }),
          'newRootKey',
        )
        requireNative().storeRekey(nativeStore(dir, flags), fresh)
        process.stdout.write('the new root key opens the store now\n')
      }),
    )
  return command
}

function withRootKey(command: Command, prefix = ''): Command {
  const kinds = new Option(`--${prefix}root-key-kind <kind>`, 'what it is')
    .choices(['key-file', 'passphrase', 'age-identity', 'hsm'])
    .default('key-file')
  command
    .addOption(kinds)
    .option(`--${prefix}root-key-file <file>`, 'the file that holds it')
    .option(`--${prefix}root-key-env <name>`, 'the environment variable that holds it')
    .option(`--${prefix}pkcs11-module <file>`, 'for hsm: the library of the token, an absolute path')
    .option(`--${prefix}pkcs11-label <label>`, 'for hsm: the label of the token; RON-KMS')
    .option(`--${prefix}pkcs11-pin-env <name>`, 'for hsm: the environment variable that holds the PIN')
  if (prefix === '') {
    command
      .option('--anchor <file>', 'the anchor of the store')
      .option('--accept-older', 'go on with a store that is older than its anchor')
  }
  return command
}

function givenRootKey(flags: StoreFlags): RootKeyOptions {
  const { rootKeyKind: kind, rootKeyFile: file, rootKeyEnv: env, pkcs11Module: modulePath } = flags
  if (kind !== 'hsm') return { kind, ...(file && { file }), ...(env && { env }) }
  const { pkcs11Label: slotLabel = 'RON-KMS', pkcs11PinEnv: pinEnv } = flags
  if (modulePath === undefined || pinEnv === undefined) {
    const why =
      'needs the library of the token and the variable of its PIN (--pkcs11-module, --pkcs11-pin-env)'
    throw new KmsError('BadRequest', why, { field: 'root_key.kind' })
  }
  return { kind, pkcs11: { modulePath, slotLabel, pinEnv } }
}

function nativeStore(dir: string, flags: StoreFlags) {
  const { anchor, acceptOlder = false } = flags
  return fileStore({ dir, rootKey: givenRootKey(flags), ...(anchor && { anchor }), acceptOlder })
}

function attempt(work: () => void): void {
  try {
    work()
  } catch (error) {
    process.stderr.write(`ronctl: ${toKmsError(error).message}\n`)
    process.exitCode = EXIT_FAILED
  }
}
