import { writeFileSync } from 'node:fs'
import { Command } from 'commander'
import { settingsFile } from '../config/document.js'
import { EXIT_CONFIG, formatFault } from '../config/faults.js'
import { type Loaded, loadConfig } from '../config/load.js'
import { KEYS } from '../config/schema.js'
import { shownAs } from '../config/show.js'

/** The file could not be written. */
const EXIT_FAILED = 1

interface LoadFlags {
  dev?: boolean
  ignoreEnv?: boolean
}

/** `ronctl config`. */
export function configCommand(): Command {
  const command = new Command('config').description('settings of the service')
  withSources(command.command('check <file>'))
    .description('find every fault that a start would find, without starting; exit code 78 if there is one')
    .action((file: string, flags: LoadFlags) => {
      if (load(file, flags)) process.stdout.write(`${file}: no fault\n`)
    })
  withSources(command.command('show'))
    .description('print every setting in force and where it comes from; what may be secret is not shown')
    .option('--config <file>', 'TOML or JSON file of settings (RON_KMS_CONFIG)')
    .option('--json', 'as JSON')
    .action((flags: LoadFlags & { config?: string; json?: boolean }) => {
      const loaded = load(flags.config, flags)
      if (!loaded) return
      const rows = KEYS.map(key => {
        const { raw, from } = loaded.origins.get(key) ?? { raw: undefined, from: '' }
        return { key, value: shownAs(key, raw), from }
      })
      const lines = rows.map(({ key, value, from }) => `${key} = ${value}  (${from})`)
      process.stdout.write(`${flags.json ? JSON.stringify(rows) : lines.join('\n')}\n`)
    })
  command
    .command('init [file]')
    .description('write a TOML file with every setting and its default, or print it; never over another file')
    .action((file: string | undefined) => {
      if (file === undefined) return void process.stdout.write(settingsFile())
      try {
        writeFileSync(file, settingsFile(), { flag: 'wx', mode: 0o600 })
      } catch (error) {
        process.stderr.write(`ronctl: ${(error as Error).message}\n`)
        process.exitCode = EXIT_FAILED
      }
    })
  return command
}

function withSources(command: Command): Command {
  return command
    .option('--dev', 'as `ron-kms serve --dev` would take them')
    .option('--ignore-env', 'leave out the environment')
}

/** The settings; where there are none, every reason is printed. */
function load(configPath: string | undefined, { dev, ignoreEnv }: LoadFlags): Loaded | undefined {
  const env = ignoreEnv ? {} : process.env
  const loaded = loadConfig({ configPath, dev: dev === true, env })
  const warnings = loaded.aliases.map(({ old, name }) => `config: ${old} is an old name: use ${name}`)
  const lines = [...warnings, ...loaded.faults.map(formatFault)]
  process.stderr.write(lines.map(line => `${line}\n`).join(''))
  if (loaded.config) return loaded
  process.exitCode = EXIT_CONFIG
  return undefined
}
