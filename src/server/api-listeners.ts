import { type Fault, formatFault } from '../config/faults.js'
import { formatAddress } from '../config/kinds.js'
import type { Config } from '../config/schema.js'
import { readTls, type TlsMaterial, wipe } from '../config/tls.js'
import type { Log } from '../logging/log.js'
import { type Listener, type ListenerLimits, type ListenerParts, listen } from './listen.js'
import type { Serving } from './serving.js'
import { watchTls } from './tls.js'

/** The settings of listeners, which every service has. */
export type ListenerSettings = Pick<
  Config,
  'bind_addr' | 'tls' | 'uds' | 'max_conns' | 'read_timeout' | 'write_timeout' | 'idle_timeout'
>

/** What the listeners of the API are made of. */
export type ApiListenerParts = {
  readonly config: ListenerSettings
  readonly log: Pick<Log, 'certificateLoaded' | 'certificateRefused' | 'tlsKeyReadable'>
} & (Pick<Serving, 'listen'> | Pick<ListenerParts, 'fetch' | 'onRefused' | 'envelope'>)

/** New settings that were found sound. One of the two is called, once. */
export interface Prepared {
  /** Puts them in force, whole and at once; resolves when no thread works by the old ones. */
  commit(): void | Promise<void>
  /** Forgets them. */
  abort(): void
}

/** Settings that a running service cannot take. */
export class ReloadError extends Error {
  override readonly name = 'ReloadError'
  readonly faults: readonly Fault[]
  constructor(faults: readonly Fault[]) {
    super(faults.map(formatFault)[0] ?? '')
    this.faults = faults
  }
}

/** Bounds on connections, as settings have them. */
export function limitsOf(config: ListenerSettings): ListenerLimits {
  return {
    maxConns: config.max_conns,
    readTimeoutMs: config.read_timeout,
    writeTimeoutMs: config.write_timeout,
    idleTimeoutMs: config.idle_timeout,
  }
}

/** Where the API is served: on TCP, over TLS if that is on, and on a Unix socket if there is one. */
export class ApiListeners {
  readonly #log: ApiListenerParts['log']
  readonly #tcp: Listener
  readonly #all: readonly Listener[]
  readonly #stopWatch: () => void
  #config: ListenerSettings
  #until: Date | undefined
  /** Of the files whose certificate is in use. */
  #stamp = ''

  /** Binds them all; throws `BindError`, with nothing left bound, where one is not to be had. */
  static async open(parts: ApiListenerParts): Promise<ApiListeners> {
    const { config, log: _, ...how } = parts
    const bind: Serving['listen'] = 'listen' in how ? how.listen : each => listen({ ...how, ...each })
    const limits = limitsOf(config)
    const tls = config.tls.enabled ? material(config) : undefined
    const opened: Listener[] = []
    try {
      opened.push(await bind({ key: 'bind_addr', address: config.bind_addr, limits, tls }))
      const { path, allow_uids: allowUids } = config.uds
      if (path !== '') opened.push(await bind({ key: 'uds.path', address: { path, allowUids }, limits }))
    } catch (error) {
      for (const listener of opened) await listener.close(0)
      throw error
    } finally {
      if (tls) wipe(tls)
    }
    return new ApiListeners(parts, opened, tls)
  }

  private constructor({ config, log }: ApiListenerParts, opened: Listener[], tls: TlsMaterial | undefined) {
    const [tcp] = opened
    if (!tcp) throw new TypeError('a service listens on TCP')
    this.#tcp = tcp
    this.#all = opened
    this.#config = config
    this.#log = log
    if (tls) this.#tell(tls)
    this.#stopWatch = tls
      ? watchTls(
          () => ({ files: this.#config.tls, stamp: this.#stamp }),
          isRetry => this.#takeFiles(isRetry),
        )
      : () => {}
  }

  /** Base of the API without a path. */
  get url(): string {
    return `${this.#config.tls.enabled ? 'https' : 'http'}://${formatAddress(this.#tcp.address)}`
  }

  /** When the certificate in use ends; none without TLS. */
  get certificateUntil(): Date | undefined {
    return this.#until
  }

  /** Reads what new settings name; throws {@link ReloadError} with nothing changed. */
  prepare(next: ListenerSettings): Prepared {
    const tls = this.#config.tls.enabled ? material(next) : undefined
    return {
      commit: () => {
        this.#config = next
        for (const listener of this.#all) listener.setLimits(limitsOf(next))
        if (tls) this.#take(tls)
      },
      abort: () => {
        if (tls) wipe(tls)
      },
    }
  }

  /** Stops intake, drains, then tells `onCut` and cuts what is left. */
  async close(drainMs: number, onCut: () => void): Promise<void> {
    this.#stopWatch()
    let cut = false
    const once = () => {
      if (!cut) onCut()
      cut = true
    }
    await Promise.all(this.#all.map(listener => listener.close(drainMs, once)))
  }

  /** The files of the certificate changed behind the settings. */
  #takeFiles(isRetry: boolean): void {
    const read = readTls(this.#config.tls)
    if (!('faults' in read)) this.#take(read)
    else if (!isRetry) this.#log.certificateRefused({ first: read.faults.map(formatFault)[0] ?? '' })
  }

  #take(tls: TlsMaterial): void {
    try {
      this.#tcp.setTls(tls)
    } finally {
      wipe(tls)
    }
    this.#tell(tls)
  }

  #tell({ validUntil, fingerprint, keyMode, stamp }: TlsMaterial): void {
    this.#until = validUntil
    this.#stamp = stamp
    this.#log.certificateLoaded({ validUntil, fingerprint })
    if ((keyMode & 0o077) !== 0) this.#log.tlsKeyReadable({ mode: keyMode.toString(8) })
  }
}

function material({ tls }: Pick<Config, 'tls'>): TlsMaterial {
  const read = readTls(tls)
  if ('faults' in read) throw new ReloadError(read.faults)
  return read
}
