import { Command, Option } from 'commander'
import { CapabilityVerifier } from '../../capability.js'
import { EXIT_CONFIG, formatFault } from '../../config/faults.js'
import { DEFAULT } from '../../config/merge.js'
import { type KmsError, toKmsError } from '../../errors.js'
import { createLog } from '../../logging/log.js'
import { passportCapabilities } from '../../passport/service/auth.js'
import { type Loaded, loadConfig } from '../../passport/service/load.js'
import { type Opened, openCustody } from '../../passport/service/open-custody.js'
import { SERVICE_NAME, type Service, startService } from '../../passport/service/service.js'
import { KEYS, type Key, type PassportConfig, SCHEMA } from '../../passport/service/settings.js'
import { ReloadError } from '../../server/api-listeners.js'
import { BindError } from '../../server/bind-error.js'
import { VERSION } from '../../server/version.js'
import { ADDON_HELP, addonStatus } from '../addon.js'
import { devToken } from '../capability/dev-token.js'
import { Reloader } from '../reload.js'
import { stop, stopOnSignals } from '../stop.js'
import { passportBanner } from './banner.js'

/** `svc-passport serve`. */
export function serveCommand(): Command {
  const command = new Command('serve')
    .description('serve the API until SIGINT or SIGTERM')
    .option('--dev', 'development mode: the key in memory only, and a token that grants everything')
    .option('--config <file>', 'TOML or JSON file of settings (PASSPORT_CONFIG_FILE)')
  const keyByOption = new Map<string, Key>()
  for (const key of KEYS) {
    const { flag, description, default: fallback, env } = SCHEMA[key]
    const option = new Option(flag, `${description} (${key}, ${env}, default ${fallback || 'none'})`)
    keyByOption.set(option.attributeName(), key)
    command.addOption(option)
  }
  return command.action(async (options: Record<string, string | boolean>) => {
    const flags: Partial<Record<Key, string>> = {}
    for (const [name, value] of Object.entries(options)) {
      const key = keyByOption.get(name)
      if (key) flags[key] = String(value)
    }
    const configPath = typeof options.config === 'string' ? options.config : undefined
    const dev = options.dev === true
    await serve(() => loadConfig({ flags, dev, configPath, env: process.env }), dev)
  })
}

async function serve(load: () => Loaded, dev: boolean): Promise<void> {
  // A SIGHUP that comes while the service starts would end the process. There is nothing to reload then.
  const early = () => {}
  process.on('SIGHUP', early)
  const loaded = load()
  if (!loaded.config) return stop(EXIT_CONFIG, ...loaded.faults.map(formatFault))
  const { config, origins, file } = loaded
  const addon = addonStatus()
  if (!addon.loaded) {
    return stop(
      1,
      `${SERVICE_NAME}: the native core is missing: ${addon.reason}`,
      `${SERVICE_NAME}: ${ADDON_HELP}`,
    )
  }
  const { cpuTier } = addon
  const log = createLog({ ...config.log, service: SERVICE_NAME })
  for (const alias of loaded.aliases) log.configAlias(alias)
  log.configLoaded({ file, given: KEYS.filter(key => origins.get(key)?.from !== DEFAULT) })
  let verifier: CapabilityVerifier
  let opened: Opened
  try {
    verifier = openCapabilities(config)
    opened = await openCustody(config)
  } catch (thrown) {
    return refuse(toKmsError(thrown))
  }
  let service: Service
  try {
    const authenticate = passportCapabilities(verifier, opened.custody.key)
    service = await startService({ config, opened, authenticate, log, cpuTier })
  } catch (error) {
    opened.custody.close()
    if (error instanceof BindError) return stop(1, `${SERVICE_NAME}: ${error.message}`)
    if (error instanceof ReloadError) return stop(EXIT_CONFIG, ...error.faults.map(formatFault))
    return refuse(toKmsError(error))
  }
  log.serverStarted({
    apiAddr: new URL(service.url).host,
    metricsAddr: new URL(service.adminUrl).host,
    version: VERSION,
    backend: opened.custody.backend,
    cpuTier,
    dev,
  })
  stopOnSignals(service, log)
  const parts = { rows: SCHEMA, service, capabilities: verifier, log, load }
  const reloader = new Reloader<Key, PassportConfig>(parts, { config, origins })
  process.on('SIGHUP', () => void reloader.reload())
  process.off('SIGHUP', early)
  if (!dev) return
  const token = devToken(verifier)
  process.stdout.write(passportBanner({ service, token, cpuTier, backend: opened.custody.backend }))
}

/** In development mode without a root key there is a fresh one. */
function openCapabilities({ capability, passport }: PassportConfig): CapabilityVerifier {
  const { root_key_file, root_key_env, revocation_file } = capability
  return CapabilityVerifier.open({
    ...(root_key_file !== '' && { rootKeyFile: root_key_file }),
    ...(root_key_env !== '' && { rootKeyEnv: root_key_env }),
    ...(revocation_file !== '' && { revocationFile: revocation_file }),
    skewMs: passport.clock_skew_s * 1000,
  })
}

/** A key that is not there, or not the right one, is a fault of the settings; a key service that is away is not. */
function refuse({ code, field, message }: KmsError): void {
  const where = field === undefined ? '' : `${field}: `
  const isConfig = code === 'BadRequest' || code === 'NotFound' || code === 'Unsupported'
  stop(isConfig ? EXIT_CONFIG : 1, `${SERVICE_NAME}: ${where}${message}`)
}
