import { Command } from 'commander'
import { inspectCommand } from './passport/inspect.js'
import { mintCommand } from './passport/mint.js'
import { rotateCommand } from './passport/rotate.js'
import { verifyCommand } from './passport/verify.js'

/** `ronctl passport`. */
export function passportCommand(): Command {
  return new Command('passport')
    .description('passports: short-lived signed tokens of svc-passport')
    .addCommand(mintCommand())
    .addCommand(verifyCommand())
    .addCommand(inspectCommand())
    .addCommand(rotateCommand())
}
