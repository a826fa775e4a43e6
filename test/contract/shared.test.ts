// One key service on several threads: handles, what they share, and whose it is. And sockets on their way between threads.

import { once } from 'node:events'
import { closeSync, readFileSync } from 'node:fs'
import { connect, createServer, type Server, Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CapabilityVerifier } from '../../src/capability.js'
import { attempt } from '../../src/errors.js'
import { Kms } from '../../src/kms.js'
import { requireNative } from '../../src/native.js'
import { descriptorOf } from '../../src/server/unix-socket.js'
import { refusal } from '../support/refusal.js'

const dist = new URL('../../dist/', import.meta.url).href
const WISH = { tenant: 'core', purpose: 'x', alg: 'ed25519' } as const
const MESSAGE = Uint8Array.of(1, 2, 3)

/** A thread that attaches itself and runs some code with `kms`, `post` and what it is sent. */
function thread(kms: Kms, code: string): Worker {
  const source = `
    import { parentPort, workerData } from 'node:worker_threads'
    const { Kms } = await import(${JSON.stringify(`${dist}kms.js`)})
    const kms = Kms.attach(workerData)
    const post = it => parentPort.postMessage(it)
    ${code}
  `
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`)
  return new Worker(url, { workerData: kms.share() })
}

const said = async (worker: Worker) => (await once(worker, 'message'))[0]

describe('a key service that is shared', () => {
  it('has the same keys and states on all threads', async () => {
    const kms = await Kms.open({ backend: 'inmem' })
    const { kid } = await kms.createKey(WISH)
    const worker = thread(
      kms,
      `parentPort.on('message', kid => {
        try { post(kms.sign(kid, Uint8Array.of(1, 2, 3))) } catch (error) { post(error.code) }
      })
      post((await kms.createKey(${JSON.stringify(WISH)})).kid)`,
    )
    const other = await said(worker)
    const signs = (which: string) => {
      worker.postMessage(which)
      return said(worker)
    }
    expect(kms.verify(other, MESSAGE, kms.sign(other, MESSAGE))).toBe(true)
    expect(kms.verify(kid, MESSAGE, await signs(kid))).toBe(true)
    // A kid that a thread knows by number is asked for its state anew.
    await kms.disableKey(kid)
    expect(await signs(kid)).toBe('Conflict')
    await kms.enableKey(kid)
    expect(kms.verify(kid, MESSAGE, await signs(kid))).toBe(true)
    await kms.scheduleDestroy(kid)
    expect(await signs(kid)).toBe('Conflict')
    kms.close()
    expect(await signs(other)).toBe('StoreUnavailable')
    await worker.terminate()
  })

  it('is not closed by who attached to it, nor by the end of a thread', async () => {
    const kms = await Kms.open({ backend: 'inmem' })
    const { kid } = await kms.createKey(WISH)
    const worker = thread(kms, 'kms.close(); post((await kms.listKeys({ tenant: "core" })).keys.length)')
    expect(await said(worker)).toBe(1)
    await worker.terminate()
    const crashed = thread(kms, 'throw new RangeError("on demand")')
    await once(crashed, 'error')
    expect(kms.sign(kid, MESSAGE)).toHaveLength(64)
    kms.close()
  })

  it('goes on when a thread is ended with work under way', async () => {
    const kms = await Kms.open({ backend: 'inmem', allowedAlgs: ['ed25519', 'slh-dsa'] })
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'x', alg: 'slh-dsa-sha2-128f' })
    for (let round = 0; round < 10; round++) {
      const worker = thread(
        kms,
        `const again = () => kms.signAsync(${JSON.stringify(kid)}, Uint8Array.of(1)).then(again)
        for (let i = 0; i < 8; i++) again()
        post('busy')`,
      )
      await said(worker)
      await worker.terminate()
    }
    expect(await kms.signAsync(kid, MESSAGE)).toHaveLength(17_088)
    kms.close()
  })

  it('gives handles that are good once, and as long as it is there', async () => {
    const kms = await Kms.open({ backend: 'inmem' })
    const handle = kms.share()
    expect(handle.handle).toMatch(/^[0-9a-f]{32}$/)
    expect(kms.share().handle).not.toBe(handle.handle)
    const attached = Kms.attach(handle)
    expect(await refusal(() => Kms.attach(handle))).toBe('NotFound handle')
    expect(await refusal(() => Kms.attach({ handle: '', waits: false }))).toBe('NotFound handle')
    expect((await attached.createKey(WISH)).kid).toContain('core/x')
    kms.close()
    expect(await refusal(() => attached.createKey(WISH))).toBe('StoreUnavailable undefined')
  })
})

describe('a verifier that is shared', () => {
  const caveats = () => ['scope = kms:sign', 'tenant = core', `exp = ${Math.floor(Date.now() / 1000) + 60}`]

  it('lets in whom the other lets in, by one rate', async () => {
    const verifier = CapabilityVerifier.open({ maxRps: 2 })
    const handle = verifier.share()
    const other = CapabilityVerifier.attach(handle)
    const header = `Bearer ${verifier.mint('ci', caveats()).token}`
    const asked = { scope: 'kms:sign' } as const
    const found = [verifier, other, verifier, other, verifier, other].map(it => it.check(header, asked))
    expect(found[0]).toMatchObject({ tenant: 'core' })
    expect(found[1]).toMatchObject({ tenant: 'core' })
    expect(found.filter(it => it === 'Rate').length).toBeGreaterThan(0)
    expect(await refusal(() => CapabilityVerifier.attach(handle))).toBe('NotFound handle')
    expect(other.verify(`Bearer ${other.mint('own', caveats()).token}`, asked)).toMatchObject({
      tenant: 'core',
    })
  })
})

describe.skipIf(process.platform === 'win32')('a socket on its way', () => {
  const native = requireNative()
  let server: Server
  let accepted: Socket
  let client: Socket
  beforeAll(async () => {
    server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    client = connect((server.address() as import('node:net').AddressInfo).port, '127.0.0.1')
    accepted = (await once(server, 'connection'))[0] as Socket
  })
  afterAll(() => {
    client.destroy()
    server.close()
  })

  it('is taken once, and lives without the one that it was made of', async () => {
    const number = native.offerSocket(descriptorOf(accepted) ?? -1, 5)
    accepted.destroy()
    expect(native.offeredSockets(5)).toEqual([number])
    expect(native.offeredSockets(6)).toEqual([])
    const fd = native.takeSocket(number)
    expect(native.offeredSockets(5)).toEqual([])
    expect(await refusal(() => attempt(() => native.takeSocket(number)))).toBe('NotFound number')
    const mine = new Socket({ fd })
    mine.end('hello')
    expect(String((await once(client, 'data'))[0])).toBe('hello')
  })

  it('is refused where there is none', async () => {
    for (const fd of [-1, -2, 999_999]) {
      expect(await refusal(() => attempt(() => native.offerSocket(fd, 5)))).toBe('BadRequest fd')
    }
    for (const number of [0, -1, 0.5, Number.NaN, 1e300]) {
      expect(await refusal(() => attempt(() => native.takeSocket(number)))).toBe('NotFound number')
    }
  })

  it.skipIf(process.platform !== 'linux')('closes where another program is executed', () => {
    const fd = native.takeSocket(native.offerSocket(0, 5))
    const flags = /flags:\s+0(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? ''
    closeSync(fd)
    expect(Number.parseInt(flags, 8) & 0o2000000).toBe(0o2000000)
  })
})
