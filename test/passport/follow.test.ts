// A verifier that follows a JWK set, whatever the server of it does.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { follow } from '../../src/passport/follow.js'
import { toJwk } from '../../src/passport/jwks.js'

const key = (i: number) => ({ kid: `k${i}`, publicKey: Buffer.alloc(32, i) })
const setOf = (...keys: number[]) => JSON.stringify({ keys: keys.map(i => toJwk(key(i))) })
let answer: { status?: number; body: string; maxAge?: number }
let asked = 0
const server = createServer((_, response) => {
  asked += 1
  const { status = 200, body, maxAge = 10 } = answer
  response.writeHead(status, { 'cache-control': `public, max-age=${maxAge}` }).end(body)
})
await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
afterAll(() => server.close())
const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
  vi.useRealTimers()
})

async function following() {
  const known = new Set<string>()
  // The timers of the follower, and not those of the sockets.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  ends.push(await follow(url, { trust: ({ kid }) => known.add(kid), distrust: kid => known.delete(kid) }))
  const later = async (seconds: number) => {
    const before = asked
    await vi.advanceTimersByTimeAsync(seconds * 1000)
    vi.useRealTimers()
    await expect.poll(() => asked).toBeGreaterThan(before)
    await new Promise(resolve => setTimeout(resolve, 50))
    return [...known]
  }
  return { known, later }
}

describe('follow', () => {
  it('takes what is published, and asks again in half of the time that it may be kept', async () => {
    answer = { body: setOf(1, 2), maxAge: 10 }
    const { known, later } = await following()
    expect([...known]).toEqual(['k1', 'k2'])
    answer = { body: setOf(2, 3) }
    expect(await later(5)).toEqual(['k2', 'k3'])
  })

  it('keeps its keys while the server fails, and asks again soon', async () => {
    answer = { body: setOf(1), maxAge: 10 }
    const { later } = await following()
    answer = { status: 500, body: '' }
    expect(await later(5)).toEqual(['k1'])
  })

  it('takes another key under a kid in place of the first', async () => {
    answer = { body: setOf(1), maxAge: 10 }
    const told: string[] = []
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const follower = {
      trust: ({ kid, publicKey }: { kid: string; publicKey: Uint8Array }) =>
        told.push(`+${kid} ${publicKey[0]}`),
      distrust: (kid: string) => told.push(`-${kid}`),
    }
    ends.push(await follow(url, follower))
    answer = { body: JSON.stringify({ keys: [toJwk({ ...key(2), kid: 'k1' })] }) }
    await vi.advanceTimersByTimeAsync(5000)
    vi.useRealTimers()
    await expect.poll(() => told).toEqual(['+k1 1', '-k1', '+k1 2'])
  })

  it('lets go of what is published no longer, though something is wrong with a new key', async () => {
    answer = { body: setOf(1, 2), maxAge: 10 }
    const known = new Set<string>()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const follower = {
      trust({ kid }: { kid: string }) {
        if (kid === 'k3') throw new Error('no key')
        known.add(kid)
      },
      distrust: (kid: string) => void known.delete(kid),
    }
    ends.push(await follow(url, follower))
    answer = { body: setOf(3, 2) }
    await vi.advanceTimersByTimeAsync(5000)
    vi.useRealTimers()
    await expect.poll(() => [...known]).toEqual(['k2'])
  })

  it('keeps its keys when the answer is no set', async () => {
    answer = { body: setOf(1), maxAge: 10 }
    const { later } = await following()
    answer = { body: '{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"x","x":"!"}]}' }
    expect(await later(5)).toEqual(['k1'])
  })

  it.each([
    ['an error', { status: 404, body: '{}' }, 'StoreUnavailable'],
    ['no JSON', { body: '<html>' }, 'BadRequest'],
    ['two keys of one kid', { body: setOf(1, 1) }, 'BadRequest'],
    [
      'a private key',
      { body: JSON.stringify({ keys: [{ ...toJwk(key(1)), d: toJwk(key(2)).x }] }) },
      'BadRequest',
    ],
    ['more than a MiB', { body: ' '.repeat(2 ** 20 + 1) }, 'StoreUnavailable'],
  ])('refuses %s the first time', async (_, given, code) => {
    answer = given
    const nobody = { trust: () => {}, distrust: () => {} }
    await expect(follow(url, nobody)).rejects.toMatchObject({ code })
  })

  it.each(['of another place', 'that never ends'])('refuses an answer %s', async which => {
    const hostile = createServer((_, response) => {
      if (which === 'of another place') {
        response.writeHead(302, { location: url }).end()
        return
      }
      const more = () => response.write(' '.repeat(65_536), () => !response.destroyed && setImmediate(more))
      response.writeHead(200)
      more()
    })
    await new Promise<void>(resolve => hostile.listen(0, '127.0.0.1', resolve))
    const there = `http://127.0.0.1:${(hostile.address() as AddressInfo).port}/`
    answer = { body: setOf(1) }
    const before = process.memoryUsage().rss
    await expect(follow(there, { trust: () => {}, distrust: () => {} })).rejects.toMatchObject({
      code: 'StoreUnavailable',
    })
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 2 ** 20)
    hostile.closeAllConnections()
    hostile.close()
  })

  it('says when nobody is there', async () => {
    const nobody = { trust: () => {}, distrust: () => {} }
    await expect(follow('http://127.0.0.1:1/', nobody)).rejects.toMatchObject({
      code: 'StoreUnavailable',
      field: 'url',
    })
  })
})
