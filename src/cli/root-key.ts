import { randomFillSync } from 'node:crypto'
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { Command } from 'commander'

/** `ronctl root-key`. */
export function rootKeyCommand(): Command {
  const command = new Command('root-key').description('the key at the top of a store')
  command
    .command('new <file>')
    .description('write a fresh key file, readable by its owner only; whoever loses it loses the store')
    .action((file: string) => {
      const key = new Uint8Array(32)
      try {
        // Never over another key.
        const handle = openSync(file, 'wx', 0o600)
        writeSync(handle, randomFillSync(key))
        fsyncSync(handle)
        closeSync(handle)
      } catch (error) {
        process.stderr.write(`ronctl: ${(error as Error).message}\n`)
        process.exitCode = 1
      } finally {
        key.fill(0)
      }
    })
  return command
}
