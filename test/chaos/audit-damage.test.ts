// An audit log whose files are not as they were written. A record that was torn at the very end is dropped and
// reported; everything else is refused, and named.
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { part } from '../support/parts.js'
import { buildDriver, examine, INTACT, type LogFound, TORN } from './audit-log.js'
import { AuditPlace } from './audit-subject.js'
import { asked, each, random, sample } from './cases.js'
import { Place } from './place.js'
import { isLeftOut, say } from './report.js'

const HOUR_MS = 3_600_000
/** Cases of each kind of damage in the short form. */
const FEW = 24
/** Bytes of a frame around its payload. */
const FRAME = 16
const PAGE = 4096

const cargo = part('cargo')

describe.skipIf(!cargo.available || isLeftOut('a damaged audit log'))('a damaged audit log', () => {
  let log: AuditPlace
  let template: Place
  let before: LogFound
  let segment: string
  let end: number

  beforeAll(async () => {
    const program = buildDriver()
    log = new AuditPlace(program, 'fsync')
    // Killed, for a log that is closed ends with a checkpoint over its last record.
    for (let tries = 0; ; tries++) {
      template = Place.make()
      const { life } = await log.live(template, 'life', { batches: 0, killAfterMs: 60 + 20 * tries })
      if (!life.opened) continue
      before = await examine(program, template.at('audit'), [])
      // The last record is to be one that no checkpoint covers.
      const covered = Number(readFileSync(template.at('beside', 'anchor'), 'utf8').split(':')[0])
      if (before.last && before.requests.length > Math.max(40, covered)) break
      template.remove()
    }
    const { segment: number, offset, len } = before.last as NonNullable<LogFound['last']>
    segment = `log-${number.toString().padStart(8, '0')}`
    end = offset + FRAME + Math.ceil(len / 8) * 8
  }, HOUR_MS)
  afterAll(() => template.remove())

  async function after(damage: (place: Place) => void) {
    const place = template.copy()
    damage(place)
    const [verdict] = (await examine(log.driver, place.at('audit'), [])).verdicts.offline ?? []
    const opened = await log.open(place)
    place.remove()
    return { code: verdict?.code, opened }
  }

  it(
    'drops its last record when that was torn at any byte, and says so',
    async () => {
      const since = performance.now()
      const { offset } = before.last as NonNullable<LogFound['last']>
      const all = Array.from({ length: end - offset - 1 }, (_, n) => offset + 1 + n)
      const cases = asked.long ? all : sample(all, FEW, random(asked.seed))
      const faults = await each(cases, async cut => {
        const { code, opened } = await after(place => truncateSync(place.at('audit', segment), cut))
        const isDropped =
          typeof opened !== 'string' &&
          opened.dropped > 0 &&
          opened.requests.length >= before.requests.length - 1 &&
          !opened.requests.includes(before.requests.at(-1) as string)
        return code === TORN && isDropped
          ? []
          : [`cut at ${cut}: ${code}, ${JSON.stringify(opened).slice(0, 300)}`]
      })
      say(`a torn record: ${cases.length} of ${all.length} cases, ${faults.flat().length} faults`, since)
      expect(faults.flat()).toEqual([])
    },
    HOUR_MS,
  )

  it(
    'is refused after any flipped bit, by the offline check and by the writer',
    async () => {
      const since = performance.now()
      const next = random(asked.seed)
      const all = [...bytesOf('checkpoints'), ...bytesOf('keys'), ...bytesOf(segment, PAGE), ...recordBytes()]
      const cases = sample(all, asked.long ? 3000 : FEW, next)
      const faults = await each(cases, async ({ file, byte }) => {
        const bit = Math.floor(next() * 8)
        const { code, opened } = await after(place => {
          const bytes = readFileSync(place.at('audit', file))
          bytes[byte] = (bytes[byte] as number) ^ (1 << bit)
          writeFileSync(place.at('audit', file), bytes)
        })
        const isNamed = typeof opened === 'string' && /^exit code 1: audit (log|key|record)/.test(opened)
        const isSeen = code !== INTACT && code !== TORN
        return isNamed && isSeen
          ? []
          : [`${file}, byte ${byte}, bit ${bit}: ${code}, ${JSON.stringify(opened).slice(0, 200)}`]
      })
      say(`a flipped bit: ${cases.length} of ${all.length} cases, ${faults.flat().length} faults`, since)
      expect(faults.flat()).toEqual([])
    },
    HOUR_MS,
  )

  /** The first bytes of a file, up to `most`. */
  function bytesOf(file: string, most = Number.POSITIVE_INFINITY) {
    const { size } = statSync(template.at('audit', file))
    return Array.from({ length: Math.min(size, most) }, (_, byte) => ({ file, byte }))
  }

  /** Those of records, in all segments. */
  function recordBytes() {
    const segments = readdirSync(template.at('audit')).filter(
      file => file.startsWith('log-') && file <= segment,
    )
    return segments.flatMap(file => {
      const most = file === segment ? end : PAGE
      return Array.from({ length: most - PAGE }, (_, n) => ({ file, byte: PAGE + n }))
    })
  }
})
