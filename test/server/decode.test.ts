// Bodies with a Content-Encoding.
import { randomBytes } from 'node:crypto'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeBody } from '../../src/server/middleware/decode.js'
import { expectProblem, HELLO_B3, parseRaw, type Service, start, TOKEN } from './support.js'

const CAP = 65_536
const ENCODERS = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync }
const CODINGS = Object.keys(ENCODERS) as (keyof typeof ENCODERS)[]

let service: Service
let wish: string
beforeAll(async () => {
  service = await start({ 'limits.max_body_bytes': '64KiB', read_timeout: '2s' })
  const { kid } = await service.kms.createKey({
    tenant: 'acme',
    purpose: 'p',
    alg: 'ed25519',
    signs: 'digest',
  })
  wish = JSON.stringify({ kid_or_set: { kid }, payload_b3: HELLO_B3 })
})
afterAll(() => service.close())

const sign = (coding: string, body: Buffer) =>
  service.ask('POST', '/v1/kms/sign', { body, headers: { 'content-encoding': coding } })
const rejected = (reason: string) => service.metric('rejected_total', { reason })

describe('an encoded body', () => {
  it.each([...CODINGS, 'x-gzip', 'GZip'])('is decoded: %s', async coding => {
    const encode = ENCODERS[coding.toLowerCase().replace('x-', '') as keyof typeof ENCODERS]
    expect((await sign(coding, encode(wish))).status).toBe(200)
  })

  it('may come in chunks', async () => {
    const body = gzipSync(wish)
    const chunks = [body.subarray(0, 1), body.subarray(1)].flatMap(part => [
      `${part.length.toString(16)}\r\n`,
      part,
      '\r\n',
    ])
    const head = [
      'POST /v1/kms/sign HTTP/1.1',
      ...['Host: x', `Authorization: Bearer ${TOKEN}`, 'Content-Type: application/json'],
      ...['Content-Encoding: gzip', 'Transfer-Encoding: chunked', 'Connection: close'],
    ]
    const answer = await service.raw(`${head.join('\r\n')}\r\n\r\n`, ...chunks, '0\r\n\r\n')
    expect(parseRaw(answer).status).toBe(200)
  })

  it.each(CODINGS)(
    'is 400 where it is cut short, damaged, empty or goes on after its end: %s',
    async coding => {
      const whole = ENCODERS[coding](wish)
      const bad = [
        whole.subarray(0, -1),
        whole.subarray(1),
        Buffer.concat([whole, Buffer.alloc(1)]),
        Buffer.concat([whole, Buffer.from('x')]),
        Buffer.from(wish),
      ]
      const before = await rejected('content_encoding')
      for (const body of bad) expectProblem(await sign(coding, body), 400, 'BadRequest')
      expect(await rejected('content_encoding')).toBe(before + bad.length)
      // No body at all, and so nothing that decodes; JSON is missed first.
      expectProblem(await sign(coding, Buffer.alloc(0)), 400, 'BadRequest', '(body)')
    },
  )

  it('is 400 as raw deflate, which is not what the name stands for', async () => {
    expectProblem(await sign('deflate', deflateRawSync(wish)), 400, 'BadRequest')
  })
})

describe('what a body decodes to', () => {
  it('is 400 with its own metric over the ratio, and the connection goes on', async () => {
    const before = await rejected('ratio_cap')
    for (const coding of CODINGS) {
      const bomb = ENCODERS[coding](Buffer.alloc(20_000_000, ' '))
      expect(bomb.length).toBeLessThan(CAP / 2)
      expectProblem(
        await sign(coding, bomb),
        bomb.length * 10 < CAP ? 400 : 413,
        bomb.length * 10 < CAP ? 'BadRequest' : 'TooLarge',
      )
      const mild = ENCODERS[coding](`${wish}${' '.repeat(30_000)}`)
      expectProblem(await sign(coding, mild), 400, 'BadRequest')
    }
    expect(await rejected('ratio_cap')).toBeGreaterThanOrEqual(before + CODINGS.length)
    expect((await sign('gzip', gzipSync(wish))).status).toBe(200)
  })

  it('is 413 over the cap on bodies, though what was sent is under it', async () => {
    const text = randomBytes(55_000).toString('base64')
    const body = gzipSync(text)
    expect(text.length).toBeGreaterThan(CAP)
    expect(body.length).toBeLessThan(CAP)
    const before = await rejected('decompress_cap')
    expectProblem(await sign('gzip', body), 413, 'TooLarge')
    expect(await rejected('decompress_cap')).toBe(before + 1)
  })

  it('is 413 where what was sent is over the cap', async () => {
    expectProblem(await sign('gzip', Buffer.alloc(CAP + 1)), 413, 'TooLarge')
  })

  it('is let through up to the ratio, byte for byte, and not beyond', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...CODINGS),
        fc.string({ minLength: 1, maxLength: 300 }),
        fc.integer({ min: 1, max: 200 }),
        async (coding, text, times) => {
          const plain = Buffer.from(text.repeat(times))
          const encoded = ENCODERS[coding](plain)
          const least = Math.ceil(plain.length / encoded.length)
          const limits = { maxBodyBytes: 1_000_000, decompressRatioCap: least }
          expect(plain.equals(await decodeBody(coding, encoded, limits))).toBe(true)
          if (least === 1) return
          const over = decodeBody(coding, encoded, { ...limits, decompressRatioCap: least - 1 })
          await expect(over).rejects.toMatchObject({ status: 400, reason: 'ratio_cap' })
        },
      ),
    )
  })
})
