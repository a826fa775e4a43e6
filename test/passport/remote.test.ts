// svc-passport whose key is held by a ron-kms over HTTP, and what becomes of it when that is away.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { TOKEN as KMS_TOKEN, type Service as KmsService, start as startKms } from '../server/support.js'
import { AUDIENCE, expectProblem, type Service, start, WISH } from './support.js'

const dir = mkdtempSync(join(tmpdir(), 'ron-kms-passport-'))
const capability = join(dir, 'capability')
let kms: KmsService
let service: Service

beforeAll(async () => {
  kms = await startKms()
  const body = { tenant: 'passport', purpose: 'issuer', alg: 'ed25519', signs: 'message' }
  const { kid } = (await kms.ask('POST', '/v1/kms/keys', { body })).json
  writeFileSync(capability, `${KMS_TOKEN}\n`)
  service = await start({
    'kms.url': kms.apiUrl,
    'kms.capability_file': capability,
    'kms.key': kid.replace('#v1', ''),
    'cache.vk_ttl_s': '1',
  })
})
afterAll(async () => {
  await service.close()
  await kms.close()
  rmSync(dir, { recursive: true })
})

describe('a remote key', () => {
  it('issues, verifies, rotates and attests', async () => {
    const old = { ...(await service.issue()), ...AUDIENCE }
    const { json } = await service.ask('POST', '/admin/rotate', {})
    expect(json.kid).toBe(`${service.key}#v2`)
    const fresh = { ...(await service.issue()), ...AUDIENCE }
    expect(fresh.kid).toBe(json.kid)
    for (const passport of [old, fresh]) expect(await service.verify(passport)).toMatchObject({ ok: true })
    expect((await service.ask('GET', '/admin/attest')).json).toMatchObject({ current: 'v2', versions: 2 })
  })

  it('follows a rotation that was made there', async () => {
    await kms.ask('POST', `/v1/kms/keys/${encodeURIComponent(service.key)}/rotate`, { body: {} })
    const passport = { ...(await service.issue()), ...AUDIENCE }
    expect(passport.kid).toBe(`${service.key}#v3`)
    expect(await service.verify(passport)).toMatchObject({ ok: true })
  })

  it('distrusts there, too', async () => {
    const kid = `${service.key}#v1`
    expect((await service.ask('POST', '/admin/distrust', { kid })).status).toBe(200)
    const { json } = await kms.ask('GET', `/v1/kms/keys/${encodeURIComponent(service.key)}`)
    expect(json.version_states[0]).toMatchObject({ version: '#v1', state: 'disabled' })
  })

  it('with a capability that is refused there answers 503, and takes a new one from the file', async () => {
    writeFileSync(capability, 'wrong')
    expectProblem(await service.ask('POST', '/v1/issue', WISH), { status: 503, code: 'StoreUnavailable' })
    writeFileSync(capability, KMS_TOKEN)
    expect((await service.issue()).alg).toBe('Ed25519')
  })

  it('that is away leaves verification as it was, and issuing answers 503', async () => {
    const passport = { ...(await service.issue()), ...AUDIENCE }
    await kms.close()
    expectProblem(await service.ask('POST', '/v1/issue', WISH), { status: 503, code: 'StoreUnavailable' })
    expect(await service.verify(passport)).toMatchObject({ ok: true })
    expect((await service.ask('POST', '/v1/verify_batch', [passport])).json).toMatchObject([{ ok: true }])
    expect((await service.ask('GET', '/.well-known/jwks.json')).json.keys.length).toBeGreaterThan(0)
    const stranger = { ...passport, kid: `${service.key}#v77` }
    expect(await service.verify(stranger)).toEqual({ ok: false, reason: 'unknown_kid' })
    await expect
      .poll(async () => (await service.ask('GET', '/readyz')).json, { timeout: 5000 })
      .toMatchObject({ ready: true, degraded: ['kms_reachable'] })
    expect(await service.metric('passport_kms_up')).toBe(0)
    expect(service.log).toContainEqual(expect.objectContaining({ event: 'kms_unreachable' }))
  })

  it('that is away at the start, or is no key for passports, stops the start', async () => {
    const settings = { 'kms.url': kms.apiUrl, 'kms.capability_file': capability, 'kms.key': service.key }
    await expect(start(settings)).rejects.toMatchObject({ code: 'StoreUnavailable' })
    const other = await startKms()
    const body = { tenant: 'passport', purpose: 'issuer', alg: 'ed25519', signs: 'digest' }
    const { kid } = (await other.ask('POST', '/v1/kms/keys', { body })).json
    const wrong = { ...settings, 'kms.url': other.apiUrl, 'kms.key': kid.replace('#v1', '') }
    await expect(start(wrong)).rejects.toMatchObject({ code: 'Unsupported', field: 'kms.key' })
    await other.close()
  })
})
