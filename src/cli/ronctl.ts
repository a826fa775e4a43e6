#!/usr/bin/env node
import { Command } from 'commander'
import { VERSION } from '../server/version.js'
import { auditCommand } from './audit.js'
import { capabilityCommand } from './capability/command.js'
import { configCommand } from './config.js'
import { passportCommand } from './passport.js'
import { rootKeyCommand } from './root-key.js'
import { softhsmCommand } from './softhsm.js'
import { storeCommand } from './store.js'

const program = new Command('ronctl')
  .description('Looks after what the key service keeps.')
  .version(VERSION, '-V, --version')
  .addCommand(rootKeyCommand())
  .addCommand(storeCommand())
  .addCommand(auditCommand())
  .addCommand(configCommand())
  .addCommand(capabilityCommand())
  .addCommand(passportCommand())
  .addCommand(softhsmCommand())

await program.parseAsync()
