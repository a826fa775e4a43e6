// A disk that runs full under a service, at every page of every change.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Answer } from '../server/support.js'
import { part } from '../support/parts.js'
import { asked } from './cases.js'
import { SmallDisk } from './disk.js'
import { Place } from './place.js'
import { isLeftOut } from './report.js'
import { ServiceProcess } from './service.js'

const disk = part('small-disk')
const MESSAGE = Buffer.from('a message').toString('base64')
const WISH = { tenant: 'core', purpose: 'disk', alg: 'ed25519', signs: 'message' }
/** Bytes: for two segments of an audit log, and as much again. */
const PLENTY = 72 * 1024 * 1024
const NO_AUDIT = ['--audit', 'false']
/** Signatures in one request. */
const BATCH = 512
/** More than two segments of an audit log have records. */
const MOST_BATCHES = 1000
/** More pages than any change takes. */
const ENOUGH = 40

const opId = (n: number) => `0b2e7c1e-5a1c-4a5e-9d58-${n.toString().padStart(12, '0')}`

const cannotRun = !disk.available || isLeftOut('a full disk')

describe.skipIf(cannotRun)('a service on a full disk', { timeout: 120_000 }, () => {
  let small: SmallDisk
  let place: Place
  let service: ServiceProcess

  beforeEach(async () => {
    small = new SmallDisk(PLENTY)
    place = Place.make(small.dir)
  })
  afterEach(async () => {
    await service?.stop('SIGKILL')
    small.remove()
  })

  const post = (path: string, body: unknown) => service.ask('POST', path, { body })
  const make = async () => (await post('/keys', WISH)).json.kid.split('#')[0] as string
  const signature = async (kid: string) =>
    (await post('/sign', { kid_or_set: { kid }, message_b64: MESSAGE })).json

  it.each([[[]], [NO_AUDIT]])(
    'refuses changes, goes on reading, and recovers by itself (%s)',
    async flags => {
      service = await ServiceProcess.mustStart(place, flags)
      const kid = await make()
      const { sigs, kid: version } = await signature(kid)
      small.fillUp()
      const refused = [
        await post('/keys', WISH),
        await post(`/keys/${kid}/rotate`, {}),
        await post(`/keys/${kid}/disable`, {}),
        await post(`/keys/${kid}/destroy`, { delay_ms: 1 }),
        await post('/sign', { kid_or_set: { kid }, message_b64: MESSAGE, op_id: opId(1) }),
      ]
      for (const answer of refused) expectFull(answer)
      expect((await post('/verify', { kid: version, message_b64: MESSAGE, sigs })).json.ok).toBe(true)
      expect((await service.ask('GET', `/keys/${kid}`)).json).toMatchObject({ state: 'enabled', head: '#v1' })
      small.empty()
      expect(
        (await post('/sign', { kid_or_set: { kid }, message_b64: MESSAGE, op_id: opId(1) })).json.sigs,
      ).toEqual(sigs)
      expect((await post(`/keys/${kid}/rotate`, {})).status).toBe(200)
      expect((await service.stop('SIGTERM')).code).toBe(0)
      service = await ServiceProcess.mustStart(place, flags)
      expect((await service.ask('GET', `/keys/${kid}`)).json).toMatchObject({ state: 'enabled', head: '#v2' })
    },
  )

  it('uses no private key that it cannot record, until there is space again', async () => {
    service = await ServiceProcess.mustStart(place)
    const kid = await make()
    const { sigs, kid: version } = await signature(kid)
    small.fillUp()
    const wish = { kid_or_set: { kid }, message_b64: MESSAGE }
    // There is room in what was reserved before.
    const batch = async () =>
      (await post('/sign_batch', Array(BATCH).fill(wish))).json as { error?: unknown }[]
    let refused: unknown
    for (let n = 0; refused === undefined && n < MOST_BATCHES; n++) {
      refused = (await batch()).find(item => item.error !== undefined)?.error
    }
    expect(refused).toMatchObject({ code: 'StoreUnavailable', retryable: true })
    expectFull(await post('/sign', wish))
    expect((await post('/verify', { kid: version, message_b64: MESSAGE, sigs })).json.ok).toBe(true)
    expect((await service.ready()).status).toBe(503)
    small.empty()
    await expect.poll(async () => (await post('/sign', wish)).status, { timeout: 20_000 }).toBe(200)
    expect((await service.ready()).status).toBe(200)
    expect((await service.stop('SIGTERM')).code).toBe(0)
  })

  it('makes each change whole or not at all, whichever page is the one that is missing', async () => {
    service = await ServiceProcess.mustStart(place, NO_AUDIT)
    const kid = await make()
    let versions = 1
    const outcomes: number[] = []
    for (let pages = 0; pages < ENOUGH; pages += asked.long ? 1 : 3) {
      small.fillUp(pages)
      const body = { op_id: opId(pages) }
      const first = await post(`/keys/${kid}/rotate`, body)
      if (first.status !== 200) expectFull(first)
      const found = (await service.ask('GET', `/keys/${kid}`)).json
      if (first.status === 200) versions += 1
      expect(found.versions).toHaveLength(versions)
      outcomes.push(first.status)
      small.empty()
      // Under the same op_id: what was refused is made now, and what was made is answered again.
      const again = await post(`/keys/${kid}/rotate`, body)
      expect(again.status).toBe(200)
      if (first.status === 200) expect(again.json).toEqual(first.json)
      else versions += 1
    }
    expect(outcomes[0]).toBe(503)
    expect(outcomes.at(-1)).toBe(200)
    await service.stop('SIGKILL')
    service = await ServiceProcess.mustStart(place, NO_AUDIT)
    expect((await service.ask('GET', `/keys/${kid}`)).json.versions).toHaveLength(versions)
  })

  it('is opened and closed on a full disk', async () => {
    service = await ServiceProcess.mustStart(place, NO_AUDIT)
    const kid = await make()
    const before = await signature(kid)
    small.fillUp()
    await service.stop('SIGKILL')
    service = await ServiceProcess.mustStart(place, NO_AUDIT)
    expect(await signature(kid)).toEqual(before)
    expectFull(await post(`/keys/${kid}/rotate`, {}))
    expect((await service.stop('SIGTERM')).code).toBe(0)
    small.empty()
    service = await ServiceProcess.mustStart(place, NO_AUDIT)
    expect((await post(`/keys/${kid}/rotate`, {})).status).toBe(200)
  })
})

/** The refusal that says what is wrong, and that it may be right again. */
function expectFull({ status, json, headers }: Answer): void {
  expect({ status, error: json.error }).toMatchObject({
    status: 503,
    error: { code: 'StoreUnavailable', retryable: true, message: expect.stringContaining('no space') },
  })
  expect(Number(headers['retry-after'])).toBeGreaterThan(0)
}
