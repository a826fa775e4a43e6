#!/usr/bin/env node
import { Command } from 'commander'
import { SERVICE_NAME } from '../passport/service/service.js'
import { VERSION } from '../server/version.js'
import { serveCommand } from './passport/serve.js'

const program = new Command(SERVICE_NAME)
  .description('Issues and verifies passports: short-lived signed tokens.')
  .version(VERSION, '-V, --version')
  .addCommand(serveCommand())

await program.parseAsync()
