// An older copy of the data directory while the anchor stays, two services on one directory, and an end that has to be
// forced.
import { rmSync } from 'node:fs'
import { describe, expect, it, onTestFinished } from 'vitest'
import { addonStatus } from '../../src/cli/addon.js'
import { part } from '../support/parts.js'
import { buildDriver, examine, INTACT } from './audit-log.js'
import { Place } from './place.js'
import { isLeftOut } from './report.js'
import { ServiceProcess } from './service.js'

const cargo = part('cargo')
const MESSAGE = Buffer.from('a message').toString('base64')
const WISH = { tenant: 'core', purpose: 'rollback', alg: 'ed25519', signs: 'message' }

function place(): Place {
  const made = Place.make()
  onTestFinished(() => made.remove())
  return made
}

async function start(at: Place, ...flags: string[]): Promise<ServiceProcess> {
  const service = await ServiceProcess.mustStart(at, flags)
  onTestFinished(async () => {
    await service.stop('SIGKILL')
  })
  return service
}

const post = (service: ServiceProcess, path: string, body: unknown) => service.ask('POST', path, { body })
const create = async (service: ServiceProcess) => (await post(service, '/keys', WISH)).json.kid.split('#')[0]
const sign = (service: ServiceProcess, kid: string) =>
  post(service, '/sign', { kid_or_set: { kid }, message_b64: MESSAGE })

const cannotRun = !addonStatus().loaded || process.platform === 'win32'

describe.skipIf(cannotRun || isLeftOut('older copies'))('a service', () => {
  it.each(['true', 'false'])(
    'only verifies with an older copy of its directory, until an operator decides (audit %s)',
    async audit => {
      const at = place()
      const flags = ['--audit', audit]
      const first = await start(at, ...flags)
      const kid = await create(first)
      const { json: signed } = await sign(first, kid)
      expect((await first.stop('SIGTERM')).code).toBe(0)
      const yesterday = at.copy()
      onTestFinished(() => yesterday.remove())

      const second = await start(at, ...flags)
      const lost = await create(second)
      await post(second, `/keys/${kid}/rotate`, {})
      expect((await second.stop('SIGTERM')).code).toBe(0)
      rmSync(at.at('store'), { recursive: true })
      yesterday.copyTo('store', at)

      const refused = await start(at, ...flags)
      const { status, json } = await sign(refused, kid)
      expect({ status, code: json.error.code }).toEqual({ status: 503, code: 'StoreUnavailable' })
      expect(json.error.message).toMatch(/only verifies/)
      expect((await post(refused, '/keys', WISH)).status).toBe(503)
      const verdict = await post(refused, '/verify', { ...verifiable(signed), message_b64: MESSAGE })
      expect(verdict.json.ok).toBe(true)
      expect(await refused.metric('kms_audit_integrity_failed_total')).toBe(1)
      expect((await refused.ready()).status).toBe(503)
      const exit = await refused.stop('SIGTERM')
      expect(exit.code).toBe(0)
      expect(exit.stderr).toMatch(/older than (its )?anchor/)

      const over = await start(at, ...flags, '--accept-older-store')
      expect((await sign(over, kid)).json.sigs).toEqual(signed.sigs)
      expect((await over.ask('GET', `/keys/${lost}`)).status).toBe(404)
      expect((await over.ready()).status).toBe(200)
      expect((await over.stop('SIGTERM')).code).toBe(0)
      if (audit === 'true' && cargo.available) {
        const { overrides, verdicts } = await examine(buildDriver(), at.at('store', 'audit'), [])
        expect(overrides).toContainEqual(expect.stringMatching(/older than (its )?anchor/))
        expect(verdicts.offline?.[0]?.code).toBe(INTACT)
      }
      // It was decided once: from here on the store is what the anchor says.
      const next = await start(at, ...flags)
      expect((await sign(next, kid)).status).toBe(200)
    },
    60_000,
  )

  it('does not start on a directory that another one has', async () => {
    const at = place()
    const first = await start(at)
    const second = await ServiceProcess.start(at)
    expect(second).not.toBeInstanceOf(ServiceProcess)
    expect(second).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^ron-kms: [^\n]* in use by the process \d+\n$/),
    })
    expect((await post(first, '/keys', WISH)).status).toBe(200)
  })

  it('leaves a clean store when it is told to end under load, and is then killed', async () => {
    const at = place()
    const first = await start(at)
    const kid = await create(first)
    const under = Array.from({ length: 32 }, () =>
      post(first, `/keys/${kid}/rotate`, {}).catch(() => undefined),
    )
    const ending = first.stop('SIGTERM')
    const answers = (await Promise.all(under)).flatMap(answer => answer ?? [])
    await first.stop('SIGKILL')
    await ending
    const made = answers.filter(({ status }) => status === 200).map(({ json }) => json.kid)
    expect(answers.filter(({ status }) => ![200, 503].includes(status))).toEqual([])
    const second = await start(at)
    const { json } = await second.ask('GET', `/keys/${kid}`)
    expect(json.versions.length).toBeGreaterThanOrEqual(made.length + 1)
    for (const version of made) expect(json.versions).toContain(`#${version.split('#')[1]}`)
  })
})

/** What `verify` takes of an answer to `sign`. */
const verifiable = ({ kid, sigs }: { kid: string; sigs: unknown }) => ({ kid, sigs })
