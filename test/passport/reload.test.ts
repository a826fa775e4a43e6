// SIGHUP: what a running svc-passport takes from its file, all or nothing.
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ServiceProcess } from '../server/process.js'

// Windows has no such signal.
describe.skipIf(process.platform === 'win32')('settings of svc-passport that are read again', () => {
  let service: ServiceProcess
  beforeEach(() => {
    service = new ServiceProcess('svc-passport')
  })
  afterEach(() => service.end())

  const post = async (path: string, body: object) => {
    const headers = { authorization: `Bearer ${service.token}`, 'content-type': 'application/json' }
    const response = await fetch(service.api + path, { method: 'POST', headers, body: JSON.stringify(body) })
    // biome-ignore lint/suspicious/noExplicitAny: answers of many shapes
    return { status: response.status, json: (await response.json()) as any }
  }
  const wish = { sub: 'alice', aud: ['service-a'], scopes: [] }

  it('change at once what is live, and name what needs a restart', async () => {
    service.configure()
    await service.start()
    const { json: envelope } = await post('/v1/issue', wish)
    const held = { ...envelope, audience: 'service-a' }
    expect((await post('/v1/verify', held)).json).toMatchObject({ ok: true })
    service.configure(
      'max_conns = 500',
      '[passport]',
      'issuer = "other"',
      '[limits]',
      'max_body_bytes = "1KiB"',
      '[security]',
      `distrust = ["${envelope.kid}"]`,
    )
    expect(await service.reload()).toMatchObject({
      event: 'config_reloaded',
      version: 2,
      changed: [
        { key: 'max_conns', from: '1024', to: '500' },
        { key: 'limits.max_body_bytes', from: '4MiB', to: '1KiB' },
        {
          key: 'security.distrust',
          from: '(empty)',
          to: envelope.kid.slice(0, 80) + (envelope.kid.length > 80 ? '…' : ''),
        },
      ],
      restart_needed: ['passport.issuer'],
    })
    expect((await post('/v1/verify', held)).json).toEqual({ ok: false, reason: 'unknown_kid' })
    expect((await post('/v1/verify', { ...held, scopes: ['x'.repeat(2000)] })).status).toBe(413)
    service.configure()
    await service.reload()
    await expect.poll(async () => (await post('/v1/verify', held)).json.ok).toBe(true)
  })

  it('stay as they were where anything is at fault', async () => {
    service.configure('max_conns = 500')
    await service.start()
    service.configure('max_conns = 600', '[limits]', 'max_body_bytes = "1KiB"', 'max_batch = 0')
    expect(await service.reload()).toMatchObject({ event: 'config_refused', faults: 1 })
    service.configure('max_conns = 500', '[tls]', 'client_ca = "none.pem"')
    expect(await service.reload()).toMatchObject({ event: 'config_refused' })
    const { status } = await post('/v1/issue', { ...wish, ctx: { pad: 'x'.repeat(2000) } })
    expect(status).toBe(200)
    expect(service.log.some(({ event }) => event === 'config_reloaded')).toBe(false)
  })
})
