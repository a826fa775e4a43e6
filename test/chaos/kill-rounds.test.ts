// kill -9, again and again, while clients change, use and read keys over HTTP.
import { describe, expect, it } from 'vitest'
import { addonStatus } from '../../src/cli/addon.js'
import { part } from '../support/parts.js'
import { buildDriver, examine } from './audit-log.js'
import { asked, random } from './cases.js'
import { Client, judgeDirectory, Ledger } from './load.js'
import { Place } from './place.js'
import { isLeftOut, say } from './report.js'
import { ServiceProcess } from './service.js'

const HOUR_MS = 3_600_000
const CLIENTS = 4
/** A new store from time to time: keys are never deleted, and a start reads them all. */
const ROUNDS_A_STORE = 100
/** A life ends this many milliseconds after the service began to serve, at most. */
const LONGEST_MS = 300

/** Rounds after which the audit log is checked whole. */
const CHECK_EVERY = 10
const DURABILITIES = ['queued', 'fsync'] as const

const rounds = asked.rounds || (asked.long ? 1000 : 4)
const cargo = part('cargo')

const cannotRun = !addonStatus().loaded || process.platform === 'win32'

describe.skipIf(cannotRun || isLeftOut('kill -9 under load')).each(DURABILITIES)(
  'a service with an audit log, %s,',
  durability => {
    it(
      'loses nothing that it acknowledged, and makes nothing twice, when it is killed again and again',
      async () => {
        const since = performance.now()
        const next = random(asked.seed)
        const program = cargo.available ? buildDriver() : undefined
        let [acknowledged, records] = [0, 0]
        for (let done = 0; done < rounds; done += ROUNDS_A_STORE) {
          const place = Place.make()
          const ledger = new Ledger()
          const numbers = Array.from({ length: CLIENTS }, (_, n) => n)
          const clients = numbers.map(n => new Client(n, ledger, random(asked.seed + done + n)))
          const flags = ['--audit-durability', durability, '--audit-checkpoint-ops', '50']
          const check = async (name: string) => {
            const log =
              program && (await examine(program, place.at('store', 'audit'), ledger.checkpoints.slice(-3)))
            const faults = [
              ...clients.flatMap(client => client.faults),
              ...(log ? ledger.judge(log) : ledger.faults),
            ]
            expect(faults, `${name}, seed ${asked.seed}, ${place.dir}`).toEqual([])
          }
          for (let round = done; round < Math.min(rounds, done + ROUNDS_A_STORE); round++) {
            await oneRound(place, flags, clients, next)
            expect([...clients.flatMap(client => client.faults), ...ledger.faults]).toEqual([])
            if (round % CHECK_EVERY === CHECK_EVERY - 1) await check(`round ${round}`)
          }
          const service = await ServiceProcess.mustStart(place, flags)
          for (const client of clients) await client.settle(service)
          expect((await service.stop('SIGTERM')).code).toBe(0)
          await check('at the end')
          expect(judgeDirectory(place, clients)).toEqual([])
          acknowledged += clients.reduce((sum, client) => sum + client.acknowledged, 0)
          records += ledger.requests.size
          place.remove()
        }
        expect(acknowledged).toBeGreaterThan(rounds)
        say(
          `kill -9, ${durability}: ${rounds} rounds, ${acknowledged} answers, ${records} indexes, none lost`,
          since,
        )
      },
      HOUR_MS,
    )
  },
)

/** A start, the verdict on the life before, load, and the end of it. */
async function oneRound(
  place: Place,
  flags: readonly string[],
  clients: readonly Client[],
  next: () => number,
): Promise<void> {
  const service = await ServiceProcess.mustStart(place, flags)
  await Promise.all(clients.map(client => client.settle(service)))
  let isOver = false
  const running = clients.map(client => client.run(service, () => isOver))
  await new Promise(resolve => setTimeout(resolve, next() * LONGEST_MS))
  // One in eight ends as an operator ends it, with requests under way.
  const isKilled = next() > 0.125
  const exit = await service.stop(isKilled ? 'SIGKILL' : 'SIGTERM')
  isOver = true
  await Promise.all(running)
  if (!isKilled) expect(exit.code, exit.stderr).toBe(0)
}
