// kill -9, again and again, while clients change, use and read keys over HTTP.
import { describe, expect, it } from 'vitest'
import { addonStatus } from '../../src/cli/addon.js'
import { asked, random } from './cases.js'
import { Client, judgeDirectory } from './load.js'
import { Place } from './place.js'
import { say } from './report.js'
import { ServiceProcess } from './service.js'

const HOUR_MS = 3_600_000
const CLIENTS = 4
/** A new store from time to time: keys are never deleted, and a start reads them all. */
const ROUNDS_A_STORE = 100
/** A life ends this many milliseconds after the service began to serve, at most. */
const LONGEST_MS = 300

const rounds = asked.rounds || (asked.long ? 1000 : 8)

describe.skipIf(!addonStatus().loaded || process.platform === 'win32')('a service', () => {
  it(
    'loses nothing that it acknowledged, and makes nothing twice, when it is killed again and again',
    async () => {
      const since = performance.now()
      const next = random(asked.seed)
      let acknowledged = 0
      for (let done = 0; done < rounds; done += ROUNDS_A_STORE) {
        const place = Place.make()
        const clients = Array.from(
          { length: CLIENTS },
          (_, n) => new Client(n, random(asked.seed + done + n)),
        )
        for (let round = done; round < Math.min(rounds, done + ROUNDS_A_STORE); round++) {
          await oneRound(place, clients, next)
          const faults = clients.flatMap(client => client.faults)
          expect(faults, `round ${round}, seed ${asked.seed}, ${place.dir}`).toEqual([])
        }
        const service = await ServiceProcess.mustStart(place)
        for (const client of clients) await client.settle(service)
        expect(clients.flatMap(client => client.faults)).toEqual([])
        expect(judgeDirectory(place, clients)).toEqual([])
        expect((await service.stop('SIGTERM')).code).toBe(0)
        acknowledged += clients.reduce((sum, client) => sum + client.acknowledged, 0)
        place.remove()
      }
      expect(acknowledged).toBeGreaterThan(rounds)
      say(`kill -9: ${rounds} rounds, ${acknowledged} answers, none lost`, since)
    },
    HOUR_MS,
  )
})

/** A start, the verdict on the life before, load, and the end of it. */
async function oneRound(place: Place, clients: readonly Client[], next: () => number): Promise<void> {
  const service = await ServiceProcess.mustStart(place)
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
