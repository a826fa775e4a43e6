import { readFileSync } from 'node:fs'
import { Command, Option } from 'commander'
import { CapabilityVerifier } from '../../capability.js'
import { toKmsError } from '../../errors.js'
import { macaroon } from '../../primitives/macaroon.js'
import { type CaveatFlags, caveatsOf, withCaveats } from './caveats.js'
import { revoke } from './revoke.js'
import { rootKeyCommand } from './root-key.js'

/** The work could not be done. */
const EXIT_FAILED = 2

interface MintFlags extends CaveatFlags {
  readonly rootKeyFile?: string
  readonly rootKeyEnv?: string
  readonly name: string
  readonly json?: boolean
}

/** `ronctl cap`. Tokens are read from standard input, so that no list of processes shows them. */
export function capabilityCommand(): Command {
  const command = new Command('cap').description('capabilities: tokens that say who may do what')
  withCaveats(command.command('mint'))
    .description('mint a capability with the root key; scope, tenant and ttl or exp are needed')
    .addOption(new Option('--root-key-file <file>', 'file of the root keys').conflicts('rootKeyEnv'))
    .addOption(new Option('--root-key-env <name>', 'environment variable that holds them'))
    .option('--name <name>', 'for people: it is shown in audit records', 'cli')
    .option('--json', 'the token with its id, identifier and exp')
    .action((flags: MintFlags) =>
      attempt(() => {
        const { rootKeyFile, rootKeyEnv, name, json } = flags
        if (rootKeyFile === undefined && rootKeyEnv === undefined) {
          throw new Error('--root-key-file or --root-key-env is needed')
        }
        const verifier = CapabilityVerifier.open({
          ...(rootKeyFile !== undefined && { rootKeyFile }),
          ...(rootKeyEnv !== undefined && { rootKeyEnv }),
        })
        const minted = verifier.mint(name, caveatsOf(flags))
        say(json ? JSON.stringify(minted) : minted.token)
      }),
    )
  withCaveats(command.command('attenuate'))
    .description('read a token from standard input and write one that may do less')
    .action((flags: CaveatFlags) =>
      attempt(() => say(macaroon.attenuate(tokenFromInput(), caveatsOf(flags)))),
    )
  command
    .command('inspect')
    .description('read a token from standard input and write what it says; nothing of it is verified')
    .action(() => attempt(() => say(JSON.stringify(macaroon.inspect(tokenFromInput()), null, 2))))
  command
    .command('revoke <list> [id]')
    .description('add a capability to a list of revoked ones, by its id or by a token on standard input')
    .action((list: string, id: string | undefined) =>
      attempt(() => {
        const revoked = id ?? macaroon.inspect(tokenFromInput()).capability?.id
        if (revoked === undefined) throw new Error('not a capability of this service')
        revoke(list, revoked)
        say(`${revoked} is revoked wherever ${list} is the list, within a second`)
      }),
    )
  return command.addCommand(rootKeyCommand())
}

function tokenFromInput(): string {
  return readFileSync(0, 'utf8').trim()
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

function attempt(work: () => void): void {
  try {
    work()
  } catch (thrown) {
    const { message, field, code } = toKmsError(thrown)
    const why = code === 'Internal' && thrown instanceof Error ? thrown.message : message
    process.stderr.write(`ronctl: ${field === undefined ? '' : `${field}: `}${why}\n`)
    process.exitCode = EXIT_FAILED
  }
}
