// SIGHUP: what a running service takes from its file, and what it does not.
import { Agent } from 'node:http'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ServiceProcess } from './process.js'
import { HELLO_B3, send } from './support.js'

// Windows has no such signal.
describe.skipIf(process.platform === 'win32')('settings that are read again', () => {
  let service: ServiceProcess
  beforeEach(() => {
    service = new ServiceProcess()
  })
  afterEach(() => service.end())

  const post = (path: string, body: unknown, agent?: Agent) =>
    send(
      service.api,
      'POST',
      `/v1/kms${path}`,
      { body, headers: { authorization: `Bearer ${service.token}` } },
      agent,
    )

  async function newKid(): Promise<string> {
    const wish = { tenant: 'acme', purpose: 'p', alg: 'ed25519' }
    return (await post('/keys', wish)).json.kid
  }

  it('change limits, timeouts and the level of the log at once, and the log says from what to what', async () => {
    service.configure('read_timeout = "5s"')
    await service.start()
    const big = { kid_or_set: { kid: 'x' }, pad: 'x'.repeat(4096) }
    expect((await post('/sign', big)).status).toBe(400)
    service.configure(
      'read_timeout = "300ms"',
      'max_conns = 500',
      'idle_timeout = "200ms"',
      '[limits]',
      'max_body_bytes = "2KiB"',
      '[log]',
      'level = "debug"',
    )
    expect(await service.reload()).toMatchObject({
      level: 'INFO',
      event: 'config_reloaded',
      version: 2,
      changed: [
        { key: 'max_conns', from: '1024', to: '500' },
        { key: 'read_timeout', from: '5s', to: '300ms' },
        { key: 'idle_timeout', from: '60s', to: '200ms' },
        { key: 'limits.max_body_bytes', from: '1MiB', to: '2KiB' },
        { key: 'log.level', from: 'info', to: 'debug' },
      ],
      restart_needed: [],
    })
    expect((await post('/sign', big)).status).toBe(413)
    const before = service.log.length
    expect((await post('/sign', {})).status).toBe(400)
    await service.event('request_failed', before)
    // A connection that says nothing: its headers are late after 300 ms, not after 5 s.
    const silent = connect(Number(new URL(service.api).port), '127.0.0.1')
    const heard: Buffer[] = []
    silent.on('data', chunk => heard.push(chunk))
    await expect.poll(() => Buffer.concat(heard).toString(), { timeout: 3000 }).toMatch(/^HTTP\/1.1 408 /)
    service.configure()
    expect(await service.reload()).toMatchObject({ version: 3, restart_needed: [] })
    expect((await post('/sign', big)).status).toBe(400)
  })

  it('name what needs a restart, and hide what may be secret', async () => {
    service.configure()
    await service.start()
    service.configure(
      'read_timeout = "2s"',
      '[audit]',
      'export = "http://127.0.0.1:1/?key=hunter2"',
      '[uds]',
      `path = "${service.at('run/kms.sock')}"`,
    )
    expect(await service.reload()).toMatchObject({
      changed: [{ key: 'read_timeout', from: '5s', to: '2s' }],
      restart_needed: ['uds.path', 'audit.export'],
    })
    expect(await service.reload()).toMatchObject({
      changed: [],
      restart_needed: ['uds.path', 'audit.export'],
    })
    expect(JSON.stringify(service.log)).not.toContain('hunter2')
  })

  it('stay as they are, all of them, where one is at fault', async () => {
    service.configure()
    await service.start()
    service.configure('max_conns = 500', '[limits]', 'max_body_bytes = "2KiB"', 'decompress_ratio_cap = 0')
    expect(await service.reload()).toMatchObject({
      level: 'ERROR',
      event: 'config_refused',
      faults: 1,
      first: expect.stringMatching(/^config: limits\.decompress_ratio_cap = 0: must be a whole number/),
    })
    service.configure('max_conns = 500')
    // Had the refused file left anything behind, this would not be a change.
    expect(await service.reload()).toMatchObject({
      version: 2,
      changed: [{ key: 'max_conns', from: '1024', to: '500' }],
    })
  })

  it('cost no request, under load', async () => {
    service.configure()
    await service.start()
    const body = { kid_or_set: { kid: await newKid() }, payload_b3: HELLO_B3 }
    const agent = new Agent({ keepAlive: true, maxSockets: 8 })
    let running = true
    const statuses = new Map<number, number>()
    const client = async () => {
      while (running) {
        const { status } = await post('/sign', body, agent)
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
    }
    const clients = Array.from({ length: 8 }, client)
    for (let round = 0; round < 20; round += 1) {
      service.configure(
        `max_conns = ${100 + round}`,
        `read_timeout = "${1 + (round % 3)}s"`,
        ...[
          '[limits]',
          `max_body_bytes = "${64 + round}KiB"`,
          '[log]',
          `level = "${round % 2 ? 'info' : 'warn'}"`,
        ],
      )
      if (round % 2) await service.reload()
      else service.child?.kill('SIGHUP')
    }
    service.configure('max_conns = 99')
    await service.reload()
    running = false
    await Promise.all(clients)
    agent.destroy()
    expect([...statuses.keys()]).toEqual([200])
    expect(statuses.get(200)).toBeGreaterThan(20)
  })
})
