// More than one thread that serves, over one engine: `--workers N`.
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { Agent, request as httpRequest } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { certificate } from '../support/certificates.js'
import { expectLogLine } from '../support/log-schema.js'
import { ServiceProcess } from './process.js'
import { type Answer, HELLO_B3, send } from './support.js'

const hook = fileURLToPath(new URL('fixtures/crash.mjs', import.meta.url))
const ronctl = fileURLToPath(new URL('../../dist/cli/ronctl.js', import.meta.url))
const SLOW = 'slh-dsa'

/** For what takes as long as the machine needs. */
const eventually = <T>(of: () => T) => expect.poll(of, { timeout: 10_000 })

// Windows has no descriptors to hand over.
describe.skipIf(process.platform === 'win32')('threads that serve', () => {
  let service: ServiceProcess
  let agents: Agent[]
  beforeEach(() => {
    service = new ServiceProcess()
    service.configure()
    agents = []
  })
  afterEach(async () => {
    for (const agent of agents) agent.destroy()
    await service.end()
    // Whole lines, each an event of the schema, whichever thread said it.
    expect(service.plain).toEqual([])
    for (const line of service.log) expectLogLine(line)
  })

  const start = (workers = 2, flags: readonly string[] = []) =>
    service.start(['--workers', String(workers), '--allowed-algs', 'ed25519,slh-dsa', ...flags], {
      NODE_OPTIONS: `--import ${hook}`,
      NODE_TEST_CRASH_DIR: service.dir,
    })

  /** Clients with a connection each, which stays open; they are spread evenly over the threads. */
  async function clients(count: number): Promise<Agent[]> {
    const made = Array.from({ length: count }, () => new Agent({ keepAlive: true, maxSockets: 1 }))
    agents.push(...made)
    for (const agent of made) expect((await ask(agent, 'GET', '/keys/x')).status).toBe(400)
    return made
  }

  const headers = () => ({ authorization: `Bearer ${service.token}` })
  const ask = (agent: Agent | undefined, method: string, path: string, body?: unknown, more = {}) =>
    send(
      service.api,
      method,
      `/v1/kms${path}`,
      { ...(body !== undefined && { body }), headers: { ...headers(), ...more } },
      agent,
    )
  const wishOf = (kid: string) => ({
    kid_or_set: { kid },
    ...(kid.includes(SLOW) ? { message_b64: 'aGVsbG8=' } : { payload_b3: HELLO_B3 }),
  })
  const sign = (agent: Agent | undefined, kid: string) => ask(agent, 'POST', '/sign', wishOf(kid))
  async function newKid(agent?: Agent, alg = 'ed25519'): Promise<string> {
    const signs = alg === SLOW ? 'message' : undefined
    const { status, json, text } = await ask(agent, 'POST', '/keys', {
      tenant: 'acme',
      purpose: 'p',
      alg,
      signs,
    })
    expect(status, text).toBe(200)
    return json.kid
  }
  const head = (kid: string) => encodeURIComponent(kid.replace(/#v\d+$/, ''))

  async function metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const { text } = await send(service.ops, 'GET', '/metrics', { anonymous: true })
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
    const lines = text
      .split('\n')
      .filter(line => line.split(/[ {]/, 1)[0] === name && wanted.every(label => line.includes(label)))
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }

  /** Has a thread fail, and waits until another is in its place. */
  async function crash(index: number, how: 'throw' | 'exit' = 'throw') {
    const from = service.log.length
    writeFileSync(service.at(`${how}-${index}`), '')
    const failed = await service.event('thread_failed', from)
    await service.event('thread_started', from)
    return failed
  }

  /** Signs over each of these again and again until stopped; what did not succeed. */
  function load(over: readonly (Agent | undefined)[], kid: string) {
    let running = true
    let done = 0
    const failures: string[] = []
    const loops = over.map(async agent => {
      while (running) {
        const answer = await sign(agent, kid).catch((error: Error) => error)
        if (answer instanceof Error) failures.push(answer.message)
        else if (answer.status !== 200) failures.push(answer.text)
        else done += 1
      }
    })
    return {
      failures,
      done: () => done,
      stop: async () => {
        running = false
        await Promise.all(loops)
      },
    }
  }

  it('answer every connection, and are counted as one', async () => {
    await start(3)
    const all = await clients(9)
    const kid = await newKid(all[0])
    for (const agent of all) expect((await sign(agent, kid)).status).toBe(200)
    expect(await metric('kms_http_threads')).toBe(3)
    expect(await metric('http_requests_total', { route: '/v1/kms/sign', status: '200' })).toBe(9)
    expect(await metric('request_latency_seconds_count', { route: '/v1/kms/sign' })).toBe(9)
    expect(await metric('kms_turn_seconds_count', { queue: 'sign' })).toBe(10)
    // The banner of development mode has one, too.
    expect(await metric('kms_ops_total', { op: 'sign', alg: 'ed25519', result: 'ok' })).toBe(10)
    expect(await metric('inflight_requests')).toBe(0)
    expect((await send(service.ops, 'GET', '/readyz', { anonymous: true })).status).toBe(200)
  })

  it('serve a connection without keep-alive each', async () => {
    await start()
    const kid = await newKid()
    const answers = await Promise.all(Array.from({ length: 50 }, () => sign(undefined, kid)))
    expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(200))
  })

  it('all refuse a key from the moment that its change was acknowledged on one of them', async () => {
    await start()
    const all = await clients(4)
    const kid = await newKid(all[0])
    for (const agent of all) expect((await sign(agent, kid)).status).toBe(200)
    const change = (agent: Agent | undefined, what: string, body = {}) =>
      ask(agent, 'POST', `/keys/${head(kid)}/${what}`, body)
    // What begins after the acknowledgement is refused, on busy connections too.
    let acknowledged = false
    const late: Answer[] = []
    let running = true
    const loops = all.map(async agent => {
      while (running) {
        const after = acknowledged
        const answer = await sign(agent, kid)
        if (after) late.push(answer)
      }
    })
    expect((await change(undefined, 'disable')).status).toBe(200)
    acknowledged = true
    await eventually(() => late.length).toBeGreaterThan(20)
    running = false
    await Promise.all(loops)
    expect(new Set(late.map(({ status }) => status))).toEqual(new Set([409]))

    expect((await change(all[1], 'enable')).status).toBe(200)
    for (const agent of all) expect((await sign(agent, kid)).status).toBe(200)
    expect((await change(all[2], 'rotate')).status).toBe(200)
    for (const agent of all) expect((await sign(agent, kid)).status).toBe(409)
    for (const agent of all) expect((await sign(agent, kid.replace('#v1', ''))).json.kid).toMatch(/#v2$/)
    expect((await change(all[3], 'destroy')).status).toBe(200)
    for (const agent of all) expect((await sign(agent, kid.replace('#v1', ''))).status).toBe(409)
  })

  it('replay an op_id that another one carried out', async () => {
    await start()
    const all = await clients(4)
    const wish = { tenant: 'acme', purpose: 'p', alg: 'ed25519' }
    const opId = { 'idempotency-key': randomUUID() }
    const make = (agent: Agent) => ask(agent, 'POST', '/keys', wish, opId)
    // At the same time one of them has its way, and the others have its answer or are told to ask again.
    const made = await Promise.all(all.map(make))
    const failed = made.filter(({ status }) => status !== 200)
    for (const { json } of failed) expect(json.error).toMatchObject({ code: 'Conflict', retryable: true })
    const again = await Promise.all(all.map(make))
    const kids = [...made, ...again].flatMap(({ json }) => json.kid ?? [])
    expect(kids.length).toBe(8 - failed.length)
    expect(new Set(kids).size).toBe(1)
    const other = await ask(all[1], 'POST', '/keys', { ...wish, purpose: 'q' }, opId)
    expect(other.json.error).toMatchObject({ code: 'Conflict', retryable: false })
  })

  it('know the capabilities that one of them minted, and its rate', async () => {
    await start()
    const all = await clients(4)
    const kid = await newKid(all[0])
    const caveats = [
      'scope = kms:sign',
      'tenant = acme',
      `exp = ${Math.floor(Date.now() / 1000) + 600}`,
      'rps = 5',
    ]
    const minted = await ask(all[0], 'POST', '/capabilities', { name: 'ci', caveats })
    expect(minted.status, minted.text).toBe(200)
    const by = { authorization: `Bearer ${minted.json.token}` }
    const body = { kid_or_set: { kid }, payload_b3: HELLO_B3 }
    const asked = Array.from({ length: 40 }, (_, i) => ask(all[i % 4], 'POST', '/sign', body, by))
    const statuses = (await Promise.all(asked)).map(({ status }) => status)
    const signed = statuses.filter(status => status === 200).length
    expect(signed).toBeGreaterThanOrEqual(5)
    expect(signed).toBeLessThanOrEqual(15)
    expect(statuses.filter(status => status === 429).length).toBe(40 - signed)
  })

  it('refuse a capability that was revoked', async () => {
    writeFileSync(service.at('revoked'), '')
    service.configure('[capability]', `revocation_file = "${service.at('revoked')}"`)
    await start()
    const all = await clients(4)
    const caveats = ['scope = kms:read', 'tenant = acme', `exp = ${Math.floor(Date.now() / 1000) + 600}`]
    const { json } = await ask(all[0], 'POST', '/capabilities', { name: 'ci', caveats })
    const asOne = (agent: Agent) =>
      ask(agent, 'GET', '/keys?tenant=acme', undefined, { authorization: `Bearer ${json.token}` })
    for (const agent of all) expect((await asOne(agent)).status).toBe(200)
    writeFileSync(service.at('revoked'), `${json.id}\n`)
    for (const agent of all) await eventually(async () => (await asOne(agent)).status).toBe(401)
  })

  it('together keep the bound of a queue', async () => {
    await start(2, ['--max-inflight-sign', '2'])
    const all = await clients(6)
    const kid = await newKid(all[0], SLOW)
    const answers = await Promise.all(all.map(agent => sign(agent, kid)))
    const statuses = answers.map(({ status }) => status).sort()
    expect(statuses).toEqual([200, 200, 429, 429, 429, 429])
    expect(await metric('queue_depth', { queue: 'sign' })).toBe(0)
  })

  it('together hold as many connections as they may', async () => {
    await start(2, ['--max-conns', '3'])
    const all = await clients(3)
    await expect(ask(undefined, 'GET', '/keys/x')).rejects.toThrow(/ECONNRESET|socket hang up/)
    expect(await metric('rejected_total', { reason: 'max_conns' })).toBe(1)
    all[1]?.destroy()
    await eventually(
      async () => (await ask(undefined, 'GET', '/keys/x').catch(() => undefined))?.status,
    ).toBe(400)
  })

  it('close a connection whose headers are late', async () => {
    await start(2, ['--read-timeout', '300ms'])
    const socket = connect(Number(new URL(service.api).port), '127.0.0.1')
    const heard: Buffer[] = []
    socket.on('data', chunk => heard.push(chunk))
    socket.write('GET / HTTP/1.1\r\nHos')
    await once(socket, 'close')
    expect(Buffer.concat(heard).toString()).toMatch(/^HTTP\/1.1 408 /)
    expect(await metric('rejected_total', { reason: 'read_timeout' })).toBe(1)
  })

  it('take other settings all together, under load, and none that are at fault', async () => {
    await start()
    const all = await clients(6)
    const kid = await newKid(all[0])
    const running = load([...all.slice(0, 4), undefined], kid)
    const big = { kid_or_set: { kid }, payload_b3: HELLO_B3, pad: 'x'.repeat(4096) }
    const statuses = async () => {
      const answers = await Promise.all(all.slice(4).map(agent => ask(agent, 'POST', '/sign', big)))
      return new Set(answers.map(({ status }) => status))
    }
    for (let round = 0; round < 5; round += 1) {
      service.configure('[limits]', 'max_body_bytes = "2KiB"')
      expect(await service.reload()).toMatchObject({ event: 'config_reloaded' })
      expect(await statuses()).toEqual(new Set([413]))
      service.configure('[limits]', 'max_body_bytes = "1MiB"', '[queue]', 'max_inflight_sign = 0')
      expect(await service.reload()).toMatchObject({ event: 'config_refused' })
      expect(await statuses()).toEqual(new Set([413]))
      service.configure()
      await service.reload()
      expect(await statuses()).toEqual(new Set([400]))
    }
    await running.stop()
    expect(running.failures).toEqual([])
    expect(running.done()).toBeGreaterThan(50)
  })

  it('refuse to share a queue that is too small for them, and change their number with a restart only', async () => {
    await start(4)
    service.configure('workers = 1', '[queue]', 'max_inflight_verify = 3')
    expect(await service.reload()).toMatchObject({ event: 'config_refused' })
  })

  it('end with all that was under way answered, and one last checkpoint', async () => {
    writeFileSync(service.at('root.key'), Buffer.alloc(32, 7), { mode: 0o600 })
    const store = [
      '--backend',
      'file',
      '--file-dir',
      service.at('store'),
      '--root-key-file',
      service.at('root.key'),
    ]
    await start(2, store)
    const all = await clients(6)
    const slow = await newKid(all[0], SLOW)
    const quick = await newKid(all[0])
    const { child } = service
    const under = all.slice(0, 2).map(agent => sign(agent, slow))
    await eventually(() => metric('inflight_requests')).toBe(2)
    const running = load(all.slice(2), quick)
    child?.kill('SIGTERM')
    const answers = await Promise.all(under)
    expect(answers.map(({ status }) => status)).toEqual([200, 200])
    await running.stop()
    // What comes later is refused in words, or finds no connection.
    for (const failure of running.failures) {
      expect(failure).toMatch(/shutting down|ECONNRESET|ECONNREFUSED|socket hang up/)
    }
    if (child?.exitCode === null) await once(child, 'exit')
    expect(child?.exitCode).toBe(0)
    const ended = service.log.filter(({ event }) => event === 'shutdown_finished')
    expect(ended).toMatchObject([{ aborted: 0 }])
    const checked = execFileSync(process.execPath, [
      ronctl,
      'audit',
      'verify',
      join(service.at('store'), 'audit'),
      '--json',
    ])
    const { outcome, size, covered } = JSON.parse(String(checked))
    expect([outcome, covered]).toEqual(['intact', size])
  })

  it('are replaced where one fails; the others notice nothing, and nothing is lost', async () => {
    await start()
    const all = await clients(8)
    const kid = await newKid(all[0])
    for (const agent of all) expect((await sign(agent, kid)).status).toBe(200)
    const before = await metric('http_requests_total', { route: '/v1/kms/sign' })
    expect(before).toBe(8)
    const open = await sockets(8)
    const closed = new Set<Socket>()
    for (const socket of open) socket.on('close', () => closed.add(socket))
    const from = service.log.length
    expect(await crash(1)).toMatchObject({
      level: 'ERROR',
      thread: 1,
      error_name: 'RangeError',
      retry_ms: 100,
    })
    // Half of the connections were its own.
    await eventually(() => closed.size).toBe(4)
    expect(service.log.slice(from).map(({ event }) => event)).toEqual(['thread_failed', 'thread_started'])
    expect(await metric('kms_http_thread_failures_total')).toBe(1)
    expect(await metric('kms_http_threads')).toBe(2)
    expect(await metric('http_requests_total', { route: '/v1/kms/sign' })).toBe(before)
    expect(await metric('inflight_requests')).toBe(0)
    for (const agent of await clients(4)) expect((await sign(agent, kid)).status).toBe(200)
    expect(await metric('http_requests_total', { route: '/v1/kms/sign' })).toBe(before + 4)
    for (const socket of open) socket.destroy()
  })

  it('fail with signatures under way without harm to the service', async () => {
    await start(2, ['--max-conns', '100'])
    const [agent] = await clients(1)
    const slow = await newKid(agent, SLOW)
    const cut = Array.from({ length: 4 }, () => sign(undefined, slow).catch((error: Error) => error.message))
    await eventually(() => metric('inflight_requests')).toBe(4)
    await crash(0, 'exit')
    expect((await Promise.all(cut)).filter(answer => typeof answer === 'string').length).toBeGreaterThan(0)
    expect(await metric('inflight_requests')).toBe(0)
    expect(await metric('queue_depth', { queue: 'sign' })).toBe(0)
    expect((await sign(undefined, slow)).status).toBe(200)
  })

  it('are not ready while none is there, and connections wait for one', async () => {
    await start()
    const kid = await newKid()
    const from = service.log.length
    for (const index of [0, 1]) writeFileSync(service.at(`throw-${index}`), '')
    expect(await service.event('readyz_false', from)).toMatchObject({ missing: ['listener_bound'] })
    expect((await sign(undefined, kid)).status).toBe(200)
    await service.event('readyz_true', from)
  })

  it('begin again with the settings of the last reload', async () => {
    await start()
    const [agent] = await clients(1)
    const kid = await newKid(agent)
    service.configure('[limits]', 'max_body_bytes = "2KiB"')
    await service.reload()
    for (const index of [0, 1]) await crash(index)
    const big = { kid_or_set: { kid }, pad: 'x'.repeat(4096) }
    for (const fresh of await clients(2)) expect((await ask(fresh, 'POST', '/sign', big)).status).toBe(413)
  })

  it('end also where one is stuck', async () => {
    await start()
    await clients(2)
    writeFileSync(service.at('stuck-1'), '')
    await eventually(() => existsSync(service.at('stuck-1'))).toBe(false)
    expect(await metric('kms_http_threads')).toBe(2)
    service.child?.kill('SIGTERM')
    await once(service.child as NonNullable<typeof service.child>, 'exit')
    expect(service.log.at(-1)).toMatchObject({ event: 'shutdown_finished' })
  })

  it('serve a Unix socket too', async () => {
    const socketPath = service.at('run/kms.sock')
    service.configure('[uds]', `path = "${socketPath}"`)
    await start()
    const overUnix = () =>
      new Promise<number | undefined>((resolve, reject) => {
        httpRequest({ socketPath, path: '/v1/kms/keys/x', headers: headers(), agent: false }, answer => {
          answer.resume().on('end', () => resolve(answer.statusCode))
        })
          .on('error', reject)
          .end()
      })
    expect(await Promise.all(Array.from({ length: 6 }, overUnix))).toEqual(Array(6).fill(400))
  })

  it('all have another certificate when the files have one', async () => {
    const root = certificate('root')
    const install = ({ cert, key }: { cert: string; key: string }) => {
      writeFileSync(service.at('key.pem'), key, { mode: 0o600 })
      writeFileSync(service.at('cert.pem'), cert)
    }
    install(certificate('first', { issuer: root }))
    const tls = [
      '[tls]',
      'enabled = true',
      `cert_path = "${service.at('cert.pem')}"`,
      `key_path = "${service.at('key.pem')}"`,
    ]
    service.configure(...tls)
    // Fewer than there will have been: one that ended is not counted any more.
    await start(2, ['--max-conns', '20'])
    const port = Number(new URL(service.api).port)
    const name = async () => {
      const socket = tlsConnect({
        host: '127.0.0.1',
        port,
        ca: root.cert,
        checkServerIdentity: () => undefined,
      })
      await once(socket, 'secureConnect')
      const { CN } = socket.getPeerCertificate().subject
      const answered = once(socket, 'data')
      socket.write(
        `GET /v1/kms/keys/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${service.token}\r\nConnection: close\r\n\r\n`,
      )
      expect(String((await answered)[0])).toMatch(/^HTTP\/1.1 400 /)
      socket.destroy()
      return CN
    }
    const names = async () => new Set(await Promise.all(Array.from({ length: 6 }, name)))
    expect(await names()).toEqual(new Set(['first']))
    const from = service.log.length
    install(certificate('second', { issuer: root }))
    expect(await service.reload()).toMatchObject({ event: 'config_reloaded' })
    await service.event('certificate_loaded', from)
    expect(await names()).toEqual(new Set(['second']))
    await crash(0)
    expect(await names()).toEqual(new Set(['second']))
    // Watched files are enough.
    install(certificate('third', { issuer: root }))
    await eventually(names).toEqual(new Set(['third']))
  })

  it('write whole lines of a log that says everything', async () => {
    service.configure('[log]', 'level = "debug"')
    await start()
    const all = await clients(6)
    const kid = await newKid(all[0])
    const running = load(all, kid)
    await eventually(() => running.done()).toBeGreaterThan(200)
    await running.stop()
    const lines = () => service.log.filter(({ event }) => event === 'sign_result').length
    await eventually(lines).toBe(running.done())
  })

  /** Bare connections that have had an answer. */
  async function sockets(count: number): Promise<Socket[]> {
    const made = Array.from({ length: count }, () => connect(Number(new URL(service.api).port), '127.0.0.1'))
    for (const socket of made) {
      socket.on('error', () => {}).write('GET /nope HTTP/1.1\r\nHost: x\r\n\r\n')
      await once(socket, 'data')
    }
    return made
  }
})
