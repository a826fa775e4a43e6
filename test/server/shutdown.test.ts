import { once } from 'node:events'
import { Agent } from 'node:http'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { Kms } from '../../src/kms.js'
import { expectProblem, parseRaw, type Service, send, start, TOKEN } from './support.js'

/** A batch that is worked on by the engine's threads, by its length. */
const BATCH = `[${' '.repeat(40_000)}]`

/** A service whose work on threads waits for `release`. */
async function startHeld(): Promise<{ service: Service; entered: Promise<void>; release: () => void }> {
  let release = () => {}
  let enter = () => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  const entered = new Promise<void>(resolve => {
    enter = resolve
  })
  const service = await start({}, kms => ({
    dispatchAsync: async (...call: Parameters<Kms['dispatchAsync']>) => {
      enter()
      await held
      return kms.dispatchAsync(...call)
    },
  }))
  return { service, entered, release }
}

describe('close', () => {
  it('lets running requests end, refuses new ones and shows it on /readyz', async () => {
    const { service, entered, release } = await startHeld()
    const { hostname, port } = new URL(service.apiUrl)
    const request = (path: string, body: string) =>
      `POST /v1/kms/${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
    const socket = connect(Number(port), hostname)
    const heard: Buffer[] = []
    socket.on('data', chunk => heard.push(chunk))
    socket.write(request('verify_batch', BATCH))
    await entered

    const closed = service.close()
    const ready = await service.ops('GET', '/readyz')
    expect(ready.status).toBe(503)
    expect(ready.json.missing).toEqual(['listener_bound'])
    await expect(service.ask('GET', '/nope')).rejects.toThrow('ECONNREFUSED')
    // A connection that is still busy may bring another request.
    await new Promise(resolve => socket.write(request('verify', '{}'), resolve))
    expect((await service.ops('GET', '/healthz')).status).toBe(200)

    release()
    await once(socket, 'close')
    const text = Buffer.concat(heard).toString()
    expect(text).toMatch(/^HTTP\/1\.1 200 [\s\S]*HTTP\/1\.1 503 /)
    expectProblem(parseRaw(text), 503, 'StoreUnavailable')
    expect(parseRaw(text).headers.connection).toBe('close')
    expect(await closed).toBe(0)
    await expect(service.ops('GET', '/healthz')).rejects.toThrow('ECONNREFUSED')
    const key = { tenant: 'a', purpose: 'b', alg: 'ed25519' } as const
    await expect(service.kms.createKey(key)).rejects.toMatchObject({ code: 'StoreUnavailable' })
  })

  it('does not wait for idle connections, and is the same close twice', async () => {
    const service = await start()
    const agent = new Agent({ keepAlive: true })
    await send(service.apiUrl, 'GET', '/nope', {}, agent)
    expect(await Promise.all([service.close(), service.close()])).toEqual([0, 0])
    agent.destroy()
  })

  it('does not wait for connections on which nothing came', async () => {
    const service = await start()
    const { hostname, port } = new URL(service.apiUrl)
    const silent = connect(Number(port), hostname)
    await once(silent, 'connect')
    const halfway = connect(Number(port), hostname)
    halfway.on('error', () => {})
    await once(halfway, 'connect')
    halfway.write('POST /v1/kms/sign HTTP/1.1\r\n')
    // The server has accepted both once it has answered another.
    await service.ask('GET', '/nope')
    const ends: string[] = []
    const ended = [
      once(silent, 'close').then(() => ends.push('silent')),
      once(halfway, 'close').then(() => ends.push('halfway')),
    ]
    await service.close()
    await Promise.all(ended)
    expect(ends).toEqual(['silent', 'halfway'])
  })

  it('cuts and counts what does not end within the drain', async () => {
    const { service, entered, release } = await startHeld()
    const stuck = service.ask('POST', '/v1/kms/verify_batch', { body: BATCH })
    const cut = stuck.catch((error: Error) => error)
    await entered
    expect(await service.close()).toBe(1)
    expect(await cut).toBeInstanceOf(Error)
    release()
  })
})
