// Who may issue: capabilities for the service's own key, over HTTP.
import { CapabilityVerifier } from 'ron-kms'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { addonStatus } from '../../src/cli/addon.js'
import { passportCapabilities } from '../../src/passport/service/auth.js'
import { type Service, start } from './support.js'

const wish = { sub: 'alice', aud: ['service-a'], scopes: ['read:x'] }

describe.skipIf(!addonStatus().loaded)('a capability', () => {
  let verifier: CapabilityVerifier
  let service: Service
  let tenant: string
  let purpose: string

  beforeAll(async () => {
    verifier = CapabilityVerifier.open()
    service = await start({}, undefined, key => passportCapabilities(verifier, key))
    ;[tenant = '', purpose = ''] = service.key.split('/')
  })
  afterAll(() => service.close())

  const mint = (...caveats: string[]) => {
    const exp = Math.floor(Date.now() / 1000) + 600
    return verifier.mint('test', [...caveats, `exp = ${exp}`]).token
  }
  const issue = (token?: string) =>
    service.ask('POST', '/v1/passport/issue', wish, {
      authorization: token === undefined ? '' : `Bearer ${token}`,
    })

  it('lets in who may issue for the tenant, the purpose or the key', async () => {
    for (const also of [`kid = ${service.key}`, `purpose = ${purpose}`, `kid = ${tenant}/${purpose}`]) {
      const answer = await issue(mint('scope = passport:issue', `tenant = ${tenant}`, also))
      expect(answer.status).toBe(200)
      expect(answer.json.alg).toBe('Ed25519')
    }
    expect((await issue(mint('scope = passport:issue', 'tenant = *'))).status).toBe(200)
  })

  it('is 401 where it is missing, forged or over, and 403 where it does not cover that', async () => {
    const good = mint('scope = passport:issue', `tenant = ${tenant}`)
    const other = CapabilityVerifier.open()
    const exp = Math.floor(Date.now() / 1000) + 600
    const forged = other.mint('test', ['scope = passport:issue', 'tenant = *', `exp = ${exp}`]).token
    for (const token of [undefined, '', `${good.slice(0, -2)}AA`, forged]) {
      const answer = await issue(token)
      expect([answer.status, answer.json.code]).toEqual([401, 'NoCapability'])
    }
    for (const caveats of [
      ['scope = kms:sign', `tenant = ${tenant}`],
      ['scope = passport:admin', `tenant = ${tenant}`],
      ['scope = passport:issue', 'tenant = another'],
      ['scope = passport:issue', `tenant = ${tenant}`, 'purpose = another'],
      ['scope = passport:issue', `tenant = ${tenant}`, `kid = ${service.key}#v1`],
      ['scope = passport:issue', `tenant = ${tenant}`, `payload_b3 = ${'0'.repeat(64)}`],
    ]) {
      const answer = await issue(mint(...caveats))
      expect([answer.status, answer.json.code], caveats.join('; ')).toEqual([403, 'NoCapability'])
    }
  })

  it('must be one for administration where the key is rotated', async () => {
    const rotate = (scope: string) =>
      service.ask(
        'POST',
        '/admin/rotate',
        {},
        { authorization: `Bearer ${mint(`scope = ${scope}`, `tenant = ${tenant}`)}` },
      )
    expect((await rotate('passport:issue')).status).toBe(403)
    expect((await rotate('passport:admin')).status).toBe(200)
  })
})
