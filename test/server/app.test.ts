import { Hono } from 'hono'
import { beforeEach, describe, expect, it } from 'vitest'
import { KmsError, type KmsErrorCode } from '../../src/errors.js'
import { createLog } from '../../src/logging/log.js'
import { HttpMetrics } from '../../src/metrics/http.js'
import { createApp } from '../../src/server/app.js'
import { FairQueue, QUEUE_LIMITS } from '../../src/server/fair-queue.js'
import { singleToken } from '../../src/server/middleware/auth.js'
import { STATUS } from '../../src/server/problem.js'
import { TOKEN } from './support.js'

/** The app alone, on web requests, with an engine that does what a test says. */
let lines: Record<string, unknown>[]
let metrics: HttpMetrics
let engine: (body: Uint8Array, context: unknown) => string
let draining: boolean
/** Requests to verify in each batch. */
let batches: number[]
/** Codes of refusals before anybody knew who asked. */
let refused: string[]
let app: Hono

beforeEach(() => {
  lines = []
  metrics = new HttpMetrics()
  engine = () => '{}'
  draining = false
  batches = []
  refused = []
  app = createApp({
    kms: {
      dispatch: (_op, _target, body, context) => engine(body, context),
      dispatchAsync: async (_op, _target, body, context) => engine(body, context),
      verifyCoalesced: requests => {
        batches.push(requests.length)
        return requests.map(({ body, context }) => {
          try {
            return { answer: engine(body, context) }
          } catch (error) {
            return { error }
          }
        })
      },
    },
    audit: {
      refused: code => refused.push(code),
      checkpoint: () => 'a note',
      proofJson: async index => JSON.stringify({ index }),
    },
    authenticate: singleToken(TOKEN, { actor: 'test', tenant: 'acme' }),
    queue: new FairQueue(QUEUE_LIMITS),
    limits: { maxBodyBytes: 1024, decompressRatioCap: 10, readTimeoutMs: 50 },
    metrics,
    log: createLog({ level: 'trace', format: 'json', write: line => lines.push(JSON.parse(line)) }),
    draining: () => draining,
  }) as unknown as Hono
})

async function post(
  path: string,
  body: string | ReadableStream = '{}',
  headers: Record<string, string> = {},
  on = app,
) {
  const response = await on.request(path, {
    method: 'POST',
    body,
    duplex: 'half',
    headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json', ...headers },
  } as RequestInit)
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of many shapes
  const json = (await response.json()) as any
  return { status: response.status, headers: response.headers, json }
}

/** A body of which nothing tells the length. */
function stream(...chunks: string[]): ReadableStream {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(Buffer.from(chunk))
      if (chunks.at(-1) !== '…') controller.close()
    },
  })
}

describe('the app on any server', () => {
  it('hands the bytes of the body and the context to the engine', async () => {
    let seen: unknown
    engine = (body, context) => {
      seen = [Buffer.from(body).toString(), context]
      return '{"ok":true}'
    }
    const { status, headers, json } = await post('/v1/kms/sign', '{"a":1}', { 'idempotency-key': 'k' })
    expect([status, json]).toEqual([200, { ok: true }])
    const requestId = headers.get('x-request-id')
    expect(seen).toEqual([
      '{"a":1}',
      { requestId, actor: 'test', tenant: 'acme', opId: 'k', deadlineMs: 2000 },
    ])
  })

  it('can be mounted under a path', async () => {
    const parent = new Hono().route('/under', app)
    expect((await post('/under/v1/kms/sign', '{}', {}, parent)).status).toBe(200)
    const kid = await parent.request('/under/v1/kms/keys/a%2Fb', {
      headers: { authorization: `Bearer ${TOKEN}` },
    })
    expect(kid.status).toBe(200)
  })

  it('reads a streamed body up to the cap', async () => {
    const chunked = { 'transfer-encoding': 'chunked' }
    expect((await post('/v1/kms/sign', stream('x'.repeat(1000), 'x'.repeat(24)), chunked)).status).toBe(200)
    const over = await post('/v1/kms/sign', stream('x'.repeat(1000), 'x'.repeat(25), '…'), chunked)
    expect([over.status, over.json.error.code]).toEqual([413, 'TooLarge'])
  })

  it('reads a streamed body in many pieces, and answers 400 where they are too many', async () => {
    const chunked = { 'transfer-encoding': 'chunked' }
    let seen = ''
    engine = body => {
      seen = Buffer.from(body).toString()
      return '{}'
    }
    const pieces = (count: number) => stream('{', ...Array.from({ length: count - 2 }, () => ' '), '}')
    expect((await post('/v1/kms/sign', pieces(900), chunked)).status).toBe(200)
    expect(seen).toBe(`{${' '.repeat(898)}}`)
    const empty = await post('/v1/kms/sign', stream(...Array.from({ length: 1100 }, () => '')), chunked)
    expect([empty.status, empty.json.error.code]).toEqual([400, 'BadRequest'])
  })

  it('answers 408 for a streamed body that does not end', async () => {
    const slow = await post('/v1/kms/sign', stream('{', '…'), { 'transfer-encoding': 'chunked' })
    expect([slow.status, slow.json.error.code]).toEqual([408, 'Timeout'])
  })

  it('answers 400 for a streamed body that breaks', async () => {
    const broken = new ReadableStream({ pull: controller => controller.error(new Error('gone')) })
    const { status, json } = await post('/v1/kms/sign', broken, { 'transfer-encoding': 'chunked' })
    expect([status, json.error.code]).toEqual([400, 'BadRequest'])
  })
})

describe('errors of the engine', () => {
  const codes = Object.keys(STATUS) as KmsErrorCode[]

  it.each(codes.filter(code => code !== 'Internal'))('%s has its status and keeps its parts', async code => {
    engine = () => {
      throw new KmsError(code, 'why', { field: 'a.b', retryAfterMs: 1500 })
    }
    const { status, headers, json } = await post('/v1/kms/sign')
    expect(status).toBe(STATUS[code])
    expect(headers.get('retry-after')).toBe('2')
    expect(json.error).toMatchObject({ code, message: 'why', field: 'a.b', retry_after_ms: 1500 })
    const level = status >= 500 ? 'ERROR' : 'DEBUG'
    expect(lines).toEqual([expect.objectContaining({ level, event: 'request_failed', code, tenant: 'acme' })])
  })

  it('always say when to try again if it is Backpressure or StoreUnavailable', async () => {
    for (const code of ['Backpressure', 'StoreUnavailable'] as const) {
      engine = () => {
        throw new KmsError(code, 'full')
      }
      const { headers, json } = await post('/v1/kms/sign')
      expect(headers.get('retry-after')).toBe('1')
      expect(json.error.retry_after_ms).toBe(1000)
    }
    expect(metrics.rejected).toMatchObject({ backpressure: 1, store_unavailable: 1 })
  })

  it('are counted by the engine, not again here', async () => {
    engine = () => {
      throw new KmsError('Conflict', 'no')
    }
    await post('/v1/kms/sign')
    expect(metrics.meter('/v1/kms/sign', 'POST', 'sign').refusals.size).toBe(0)
  })
})

describe('an exception that nobody expected', () => {
  class CanaryError extends Error {}

  it.each([
    ['an exception', () => new CanaryError('canary'), 'CanaryError'],
    ['an Internal error', () => new KmsError('Internal', 'canary'), 'KmsError'],
    [
      'an Internal error with a cause',
      () => new KmsError('Internal', 'canary', { cause: new CanaryError() }),
      'CanaryError',
    ],
    ['a string', () => 'canary', 'string'],
  ])('is 500 without a detail, and a name in the log: %s', async (_name, make, errorName) => {
    engine = () => {
      throw make()
    }
    for (const path of ['/v1/kms/sign', '/v1/kms/sign_batch']) {
      const { status, json } = await post(path)
      expect(status).toBe(500)
      expect(json.error).toMatchObject({ code: 'Internal', message: 'internal error', retryable: false })
    }
    expect(lines.at(-1)).toMatchObject({ level: 'ERROR', code: 'Internal', error_name: errorName })
    expect(JSON.stringify(lines)).not.toContain('canary')
  })

  it('is counted here', async () => {
    engine = () => {
      throw new CanaryError()
    }
    await post('/v1/kms/sign')
    expect(metrics.meter('/v1/kms/sign', 'POST', 'sign').refusals.get('Internal')).toBe(1)
  })
})

describe('while it drains', () => {
  it('answers 503 with Connection: close, before it asks for a token', async () => {
    draining = true
    const { status, headers, json } = await post('/v1/kms/sign', '{}', { authorization: '' })
    expect([status, json.error.code, json.error.retryable]).toEqual([503, 'StoreUnavailable', true])
    expect(headers.get('connection')).toBe('close')
    expect(headers.get('retry-after')).toBe('1')
    expect(metrics.rejected.shutdown).toBe(1)
  })
})

describe('the log of successes', () => {
  it('has a line each, at debug', async () => {
    await post('/v1/kms/sign')
    expect(lines).toMatchObject([{ level: 'DEBUG', event: 'sign_result', op: 'sign', result: 'ok' }])
  })
})

describe('requests to verify', () => {
  it('that come in one turn of the event loop are one batch, and each gets its own answer', async () => {
    engine = body => {
      if (Buffer.from(body).toString() === '{"n":1}') throw new KmsError('NotFound', 'no such key')
      return Buffer.from(body).toString()
    }
    const answers = await Promise.all([0, 1, 2].map(n => post('/v1/kms/verify', JSON.stringify({ n }))))
    expect(answers.map(({ status }) => status)).toEqual([200, 404, 200])
    expect(answers[2]?.json).toEqual({ n: 2 })
    // The first came when nothing said that others would.
    expect(batches).toEqual([2])
    await Promise.all([post('/v1/kms/verify', '{}'), post('/v1/kms/verify', '{}')])
    expect(batches).toEqual([2, 2])
  })
})
