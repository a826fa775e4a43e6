#!/usr/bin/env node
import { Command } from 'commander'
import { SERVICE_NAME, VERSION } from '../server/version.js'
import { demoCommand } from './demo.js'
import { doctorCommand } from './doctor.js'
import { serveCommand } from './serve.js'

const program = new Command(SERVICE_NAME)
  .description('Key management service: create, rotate, sign and verify; keys never leave.')
  .version(VERSION, '-V, --version')
  .addCommand(serveCommand())
  .addCommand(demoCommand())
  .addCommand(doctorCommand())

await program.parseAsync()
