// Keys come and go, passports stay: rotation, publishing ahead, age, the kill switch.
import { setTimeout } from 'node:timers/promises'
import { PassportVerifier } from 'ron-kms/passport'
import { afterEach, describe, expect, it } from 'vitest'
import { AUDIENCE, expectProblem, type Service, type Settings, start } from './support.js'

/** The long form: ROTATION_ROUNDS=12000 rotates for ten minutes. */
const ROUNDS = Number(process.env.ROTATION_ROUNDS ?? 20)
const services: Service[] = []
afterEach(() => Promise.all(services.splice(0).map(service => service.close())))
async function running(settings: Settings = {}): Promise<Service> {
  const service = await start(settings)
  services.push(service)
  return service
}

describe('rotation', () => {
  it(
    'breaks no passport, old or new, while it ticks every 50 ms and many verify',
    async () => {
      const service = await running()
      const rotations = ROUNDS
      let going = true
      const rotator = (async () => {
        for (let i = 0; i < rotations; i += 1) {
          await setTimeout(50)
          expect((await service.ask('POST', '/admin/rotate', {})).status).toBe(200)
        }
        going = false
      })()
      const passports: object[] = []
      const issuer = (async () => {
        while (going) {
          passports.push({ ...(await service.issue()), ...AUDIENCE })
          // Of the first versions some stay until the end.
          if (passports.length > 2000) passports.splice(1000, 1)
          await setTimeout(5)
        }
      })()
      let verified = 0
      const verifiers = [1, 2, 3].map(async () => {
        while (going) {
          const some =
            passports.length > 8 ? passports.toSorted(() => Math.random() - 0.5).slice(0, 64) : passports
          const { json } = await service.ask('POST', '/v1/verify_batch', some)
          for (const verdict of json) expect(verdict).toMatchObject({ ok: true })
          const one = passports.at(-1)
          if (one) expect(await service.verify(one)).toMatchObject({ ok: true })
          verified += json.length
        }
      })
      await Promise.all([rotator, issuer, ...verifiers])
      expect(verified).toBeGreaterThan(100)
      expect(new Set(passports.map(each => (each as { kid: string }).kid)).size).toBeGreaterThan(
        Math.min(rotations, 500) / 2,
      )
      expect(await service.metric('passport_keys_rotations_total')).toBe(rotations)
      if (ROUNDS > 20)
        process.stdout.write(`${rotations} rotations, ${verified} passports verified in batches\n`)
    },
    30_000 + ROUNDS * 200,
  )

  it('publishes a version before it signs', async () => {
    const service = await running({ 'rotation.publish_ahead': '300ms' })
    const offline = async () =>
      new PassportVerifier({ jwks: (await service.ask('GET', '/.well-known/jwks.json')).json })
    const { json } = await service.ask('POST', '/admin/rotate', {})
    expect(json).toMatchObject({
      kid: `${service.key}#v2`,
      previous: `${service.key}#v1`,
      current: `${service.key}#v1`,
    })
    expect(Date.parse(json.active_at)).toBeGreaterThan(Date.now())
    const ahead = await offline()
    expect((await service.issue()).kid).toBe(`${service.key}#v1`)
    expectProblem(await service.ask('POST', '/admin/rotate', {}), { status: 409, code: 'Conflict' })
    const keys = (await service.ask('GET', '/v1/keys')).json
    expect([keys.current, keys.pending.kid]).toEqual([`${service.key}#v1`, `${service.key}#v2`])
    await expect.poll(async () => (await service.issue()).kid).toBe(`${service.key}#v2`)
    // Whoever fetched the keys before it signed knows it.
    expect(ahead.verify(await service.issue(), AUDIENCE).ok).toBe(true)
  })

  it('rotates by itself when the head is old', async () => {
    const service = await running({ 'rotation.max_age': '100ms' })
    await expect.poll(async () => (await service.issue()).kid).not.toBe(`${service.key}#v1`)
    expect(service.log.filter(({ event }) => event === 'passport_head').length).toBeGreaterThan(1)
  })

  it('publishes a retired version only while its passports may live, and pages it for ever', async () => {
    const service = await running({
      'passport.max_ttl_s': '1',
      'passport.default_ttl_s': '1',
      'passport.clock_skew_s': '0',
      'cache.vk_ttl_s': '1',
    })
    const published = async () => (await service.ask('GET', '/.well-known/jwks.json')).json.keys.length
    await service.ask('POST', '/admin/rotate', {})
    expect(await published()).toBe(2)
    await expect.poll(published, { timeout: 5000 }).toBe(1)
    expect((await service.ask('GET', '/v1/keys?after=')).json.keys).toHaveLength(2)
  })
})

describe('the kill switch', () => {
  it('distrusts one version at once, everywhere', async () => {
    const service = await running()
    const old = { ...(await service.issue()), ...AUDIENCE }
    await service.ask('POST', '/admin/rotate', {})
    const fresh = { ...(await service.issue()), ...AUDIENCE }
    const answer = await service.ask('POST', '/admin/distrust', { kid: old.kid })
    expect(answer.json).toEqual({ kid: old.kid, distrusted: true })
    expect(await service.verify(old)).toEqual({ ok: false, reason: 'unknown_kid' })
    expect(await service.verify(fresh)).toMatchObject({ ok: true })
    const kids = (await service.ask('GET', '/.well-known/jwks.json')).json.keys.map(
      (key: { kid: string }) => key.kid,
    )
    expect(kids).toEqual([fresh.kid])
    expect((await service.ask('POST', '/admin/distrust', { kid: old.kid })).status).toBe(200)
    expect(service.log).toContainEqual(expect.objectContaining({ event: 'version_distrusted', version: 1 }))
  })

  it('on the head stops issuing until another version signs', async () => {
    const service = await running()
    const { kid } = await service.issue()
    await service.ask('POST', '/admin/distrust', { kid })
    const refused = await service.ask('POST', '/v1/issue', { sub: 'a', aud: ['x'], scopes: [] })
    expectProblem(refused, { status: 503, code: 'StoreUnavailable' })
    expect((await service.ask('POST', '/admin/rotate', {})).status).toBe(200)
    expect((await service.issue()).kid).toBe(`${service.key}#v2`)
  })

  it('is a setting, too', async () => {
    // The key is made at the start, so its kid is not known before; another kid does no harm.
    const kid = 'passport/issuer/ed25519/0b2e7c1e-0000-4000-8000-000000000001#v1'
    const service = await running({ 'security.distrust': kid })
    expect(await service.verify({ ...(await service.issue()), ...AUDIENCE })).toMatchObject({ ok: true })
  })
})
