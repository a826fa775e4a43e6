import type { Log } from '../logging/log.js'

const SIGNAL_NUMBERS = { SIGINT: 2, SIGTERM: 15 } as const

/** The first SIGINT or SIGTERM drains a service and ends the process, the second one exits at once. */
export function stopOnSignals(
  service: { close(): Promise<number> },
  log: Pick<Log, 'shutdownStarted' | 'shutdownFinished'>,
): void {
  let stopping = false
  const onSignal = async (signal: keyof typeof SIGNAL_NUMBERS) => {
    if (stopping) process.exit(128 + SIGNAL_NUMBERS[signal])
    stopping = true
    log.shutdownStarted({ signal })
    const aborted = await service.close()
    log.shutdownFinished({ aborted })
    process.exit(aborted === 0 ? 0 : 1)
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
}

/** Ends with these lines on standard error, once nothing is left to do. */
export function stop(code: number, ...lines: string[]): void {
  process.stderr.write(lines.map(line => `${line}\n`).join(''))
  process.exitCode = code
}
