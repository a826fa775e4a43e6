import { statSync } from 'node:fs'
import { Command, Option } from 'commander'
import type { CapabilityVerifier } from '../capability.js'
import { EXIT_CONFIG, type Fault, formatFault, show } from '../config/faults.js'
import { type Loaded, loadConfig } from '../config/load.js'
import { DEFAULT } from '../config/merge.js'
import { type Config, KEYS, type Key, SCHEMA } from '../config/schema.js'
import { toKmsError } from '../errors.js'
import type { Kms } from '../kms.js'
import { createLog, type Log, stderrWriter } from '../logging/log.js'
import { requireNative } from '../native.js'
import { ReloadError } from '../server/api-listeners.js'
import { BindError } from '../server/bind-error.js'
import { capabilities } from '../server/middleware/auth.js'
import { peerThrough } from '../server/middleware/peer.js'
import { type Service, startService } from '../server/service.js'
import { VERSION } from '../server/version.js'
import { ADDON_HELP, addonStatus } from './addon.js'
import { devBanner } from './banner.js'
import { devToken } from './capability/dev-token.js'
import { openCapabilities } from './open-capabilities.js'
import { openKms } from './open-kms.js'
import { liveRootKey, Reloader } from './reload.js'
import { stop, stopOnSignals } from './stop.js'

/** `ron-kms serve`. */
export function serveCommand(): Command {
  const command = new Command('serve')
    .description('serve the API until SIGINT or SIGTERM')
    .option('--dev', 'development mode: keys in memory only, and a token that grants everything')
    .option('--config <file>', 'TOML or JSON file of settings (RON_KMS_CONFIG)')
  const keyByOption = new Map<string, Key>()
  for (const key of KEYS) {
    const { flag, description, default: fallback, env } = SCHEMA[key]
    const option = new Option(flag, `${description} (${key}, ${env}, default ${fallback})`)
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
  if (!addon.loaded)
    return stop(1, `ron-kms: the native core is missing: ${addon.reason}`, `ron-kms: ${ADDON_HELP}`)

  const write = stderrWriter()
  const log = createLog({ ...config.log, write })
  for (const alias of loaded.aliases) log.configAlias(alias)
  log.configLoaded({ file, given: KEYS.filter(key => origins.get(key)?.from !== DEFAULT) })
  const { cpuTier } = addon
  let kms: Kms
  let verifier: CapabilityVerifier
  try {
    verifier = openCapabilities(config)
    kms = await openKms(config)
  } catch (thrown) {
    const { code, field, message } = toKmsError(thrown)
    if (field?.startsWith('capability.'))
      return stop(EXIT_CONFIG, formatFault(unusable(field, config, message)))
    if (field === 'audit.sealing')
      return stop(EXIT_CONFIG, formatFault({ key: field, value: 'attested', rule: message }))
    if (field === 'requireMlock') return stop(EXIT_CONFIG, formatFault(notLockable()))
    // Where evidence is required, a token that has none is not fit for this configuration.
    const refused = code === 'BadRequest' || code === 'AttestationMissing'
    return stop(refused ? EXIT_CONFIG : 1, `ron-kms: ${message}`)
  }
  let service: Service
  try {
    kms.mintWith(verifier)
    const authenticate = capabilities(verifier, peerThrough(config.capability.trusted_proxies))
    const share = () => ({ kms: kms.share(), capabilities: verifier.share() })
    const threads = { share, writeLine: write }
    service = await startService({ config, kms, authenticate, log, cpuTier, threads })
  } catch (error) {
    kms.close()
    if (error instanceof BindError) return stop(1, `ron-kms: ${error.message}`)
    if (error instanceof ReloadError) return stop(EXIT_CONFIG, ...error.faults.map(formatFault))
    throw error
  }
  log.serverStarted(startedEvent(service, config, cpuTier, dev))
  reportAudit(kms, log)
  reportToken(kms, log)
  warnOfReadableKey(config, log)
  stopOnSignals(service, log)
  const also = liveRootKey(kms.store, log)
  const parts = { rows: SCHEMA, service, capabilities: verifier, log, load, also }
  const reloader = new Reloader<Key, Config>(parts, { config, origins })
  process.on('SIGHUP', () => void reloader.reload())
  process.off('SIGHUP', early)
  if (!dev) return
  const token = devToken(verifier)
  process.stdout.write(
    await devBanner({ kms, service, token, cpuTier, durable: config.service.backend !== 'inmem' }),
  )
}

/** Why `security.require_mlock` does not hold, and what to do about it. */
function notLockable(): Fault {
  const refused = requireNative().secretMemory().lastErrors.join('; ')
  return {
    key: 'security.require_mlock',
    value: 'true',
    rule: `secret memory cannot be locked (${refused}): raise the limit with \`ulimit -l unlimited\`, LimitMEMLOCK=infinity in the systemd unit, or --ulimit memlock=-1 of the container`,
  }
}

/** A file or a variable of capabilities that cannot be used. */
function unusable(field: string, config: Config, message: string): Fault {
  const key = KEYS.find(key => key === field) ?? 'capability.root_key_file'
  const rule =
    field === 'capability.revocation_file'
      ? message
      : `${message}: \`ronctl cap root-key new FILE\` makes one`
  return { key: field, value: show(settingOf(config, key)), rule }
}

function startedEvent(service: Service, config: Config, cpuTier: string, dev: boolean) {
  return {
    apiAddr: new URL(service.apiUrl).host,
    metricsAddr: new URL(service.metricsUrl).host,
    version: VERSION,
    backend: config.service.backend,
    cpuTier,
    dev,
  }
}

/** A root key that others on this machine can read opens the store for them, too. Containers mount such files, so it is said. */
function warnOfReadableKey({ root_key, capability }: Config, log: Log): void {
  if (process.platform === 'win32') return
  for (const file of [root_key.file, capability.root_key_file]) {
    if (file === '') continue
    const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0
    if ((mode & 0o077) !== 0) log.rootKeyReadable({ mode: (mode & 0o777).toString(8) })
  }
}

/** What was found when store and audit log were opened, each a line. */
function reportAudit(kms: Kms, log: Log): void {
  const { refused, overridden, droppedBytes } = kms.audit.status()
  if (refused !== undefined) log.integrityFailed({ reason: refused })
  if (droppedBytes > 0) log.auditTorn({ droppedBytes })
  for (const reason of overridden) log.auditOverridden({ reason })
}

/** What the token can and cannot do, and whether the store's keys are on it. */
function reportToken(kms: Kms, log: Log): void {
  const status = kms.tokenStatus()
  if (status === undefined) return
  const { class: attestationClass, label, serial, slot, firmware, offers, pinNearLock, found } = status
  log.tokenOpened({ attestationClass, label, serial, slot, firmware, offers, pinNearLock })
  if (found === null) return
  if ('error' in found) log.tokenUnsearched({ reason: found.error })
  else {
    const { present, missing, cleaned, strangers } = found
    log.tokenSearched({ present, missing: missing.length, cleaned, strangers })
  }
}

function settingOf(config: Config, key: Key): unknown {
  return key.split('.').reduce<unknown>((branch, name) => (branch as Record<string, unknown>)[name], config)
}
