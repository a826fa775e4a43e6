import { Command } from 'commander'
import { EXIT_MISUSE } from './audit/command.js'
import { proofCommand } from './audit/proof.js'
import { exportCommand, tailCommand } from './audit/records.js'
import { verifyCommand } from './audit/verify.js'

/** `ronctl audit`. */
export function auditCommand(): Command {
  const command = new Command('audit')
    .description('an audit log by its files alone; a service may have it open')
    .addCommand(verifyCommand())
    .addCommand(proofCommand())
    .addCommand(tailCommand())
    .addCommand(exportCommand())
  for (const each of [command, ...command.commands]) {
    // Of commander itself it would be 1, which says here that nothing could be read.
    each.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT_MISUSE))
  }
  return command
}
