import { Command, Option } from 'commander'
import { toKmsError } from '../errors.js'
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
  anchor?: string
  acceptOlder?: boolean
}

interface RekeyFlags extends StoreFlags {
  newRootKeyKind: RootKeyOptions['kind']
  newRootKeyFile?: string
  newRootKeyEnv?: string
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
        const { newRootKeyKind: kind, newRootKeyFile: file, newRootKeyEnv: env } = flags
        const fresh = rootKey({ kind, ...(file && { file }), ...(env && { env }) })
        requireNative().storeRekey(nativeStore(dir, flags), fresh)
        process.stdout.write('the new root key opens the store now\n')
      }),
    )
  return command
}

function withRootKey(command: Command, prefix = ''): Command {
  const kinds = new Option(`--${prefix}root-key-kind <kind>`, 'what it is')
    .choices(['key-file', 'passphrase', 'age-identity'])
    .default('key-file')
  command
    .addOption(kinds)
    .option(`--${prefix}root-key-file <file>`, 'the file that holds it')
    .option(`--${prefix}root-key-env <name>`, 'the environment variable that holds it')
  if (prefix === '') {
    command
      .option('--anchor <file>', 'the anchor of the store')
      .option('--accept-older', 'go on with a store that is older than its anchor')
  }
  return command
}

function givenRootKey({ rootKeyKind: kind, rootKeyFile: file, rootKeyEnv: env }: StoreFlags): RootKeyOptions {
  return { kind, ...(file && { file }), ...(env && { env }) }
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
