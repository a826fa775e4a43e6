// A real service on free ports over the real addon, and a client for it.
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'
import { expect } from 'vitest'
import { CapabilityVerifier } from '../../src/capability.js'
import { devToken } from '../../src/cli/capability/dev-token.js'
import { loadConfig } from '../../src/config/load.js'
import type { Key } from '../../src/config/schema.js'
import { Kms } from '../../src/kms.js'
import { createLog } from '../../src/logging/log.js'
import { type Authenticator, singleToken } from '../../src/server/middleware/auth.js'
import { type ServiceParts, type Service as Started, startService } from '../../src/server/service.js'
import { expectDocumented } from '../support/contract.js'
import { expectLogLine } from '../support/log-schema.js'

export const TOKEN = 'a-token-for-tests'
export const HELLO_B3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of many shapes
  readonly json: any
}

export interface Ask {
  /** Sent as it is when a string or bytes, else as JSON. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Without the bearer token. */
  readonly anonymous?: boolean
}

export interface Service extends Started {
  readonly kms: Kms
  /** Log lines so far. */
  readonly log: Record<string, unknown>[]
  /** To the API. */
  ask(method: string, path: string, ask?: Ask): Promise<Answer>
  /** To the metrics address. */
  ops(method: string, path: string): Promise<Answer>
  /** The value of one series, 0 where it is absent; labels in any order. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>
  /** Sends bytes as they are and collects what comes until the server closes the connection. */
  raw(...parts: (string | Buffer)[]): Promise<string>
}

type Settings = Partial<Record<Key, string>>

/**
 * `wrap` replaces what it names of the key service's calls, on this thread; `own` is served instead of one in memory, and `authenticate`
 * asked instead of one token for everything.
 */
export async function start(
  settings: Settings = {},
  wrap: (kms: Kms) => Partial<ServiceParts['kms']> = () => ({}),
  own?: Kms,
  authenticate: Authenticator = singleToken(TOKEN, { actor: 'test' }),
): Promise<Service> {
  const flags = { bind_addr: '127.0.0.1:0', metrics_addr: '127.0.0.1:0', 'log.level': 'debug', ...settings }
  const pin = settings['backends.pkcs11.pin_env']
  const env = pin === undefined ? {} : { [pin]: process.env[pin] }
  const { config } = loadConfig({ dev: true, env, flags })
  if (!config) throw new Error('the settings of this test are refused')
  const kms = own ?? (await Kms.open({ backend: 'inmem', minDestroyDelayMs: config.destroy.min_delay }))
  const log: Record<string, unknown>[] = []
  const write = (line: string) => {
    const event = JSON.parse(line)
    log.push(event)
    expectLogLine(event)
  }
  // Other threads ask for capabilities: what is beyond this one they cannot be given.
  const verifier = CapabilityVerifier.open()
  const headers = config.workers > 1 ? { authorization: `Bearer ${devToken(verifier)}` } : {}
  const service = await startService({
    config,
    kms: {
      dispatch: (...call) => kms.dispatch(...call),
      dispatchAsync: (...call) => kms.dispatchAsync(...call),
      verifyCoalesced: requests => kms.verifyCoalesced(requests),
      engineMetrics: () => kms.engineMetrics(),
      setPqPolicy: policy => kms.setPqPolicy(policy),
      setSignRate: perSecond => kms.setSignRate(perSecond),
      audit: kms.audit,
      tokenStatus: () => kms.tokenStatus(),
      close: () => kms.close(),
      ...wrap(kms),
    },
    authenticate,
    log: createLog({ ...config.log, write }),
    cpuTier: 'test',
    threads: {
      share: () => ({ kms: kms.share(), capabilities: verifier.share() }),
      writeLine: write,
      program: new URL('fixtures/thread.mjs', import.meta.url),
    },
  })
  return {
    ...service,
    kms,
    log,
    ask: async (method, path, ask = {}) => {
      const answer = await send(service.apiUrl, method, path, {
        ...ask,
        headers: { ...headers, ...ask.headers },
      })
      expectDocumented(method, path, answer)
      return answer
    },
    ops: (method, path) => send(service.metricsUrl, method, path, { anonymous: true }),
    metric: async (name, labels = {}) => {
      const { text } = await send(service.metricsUrl, 'GET', '/metrics', { anonymous: true })
      const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`)
      const line = text
        .split('\n')
        .find(each => each.split(/[ {]/, 1)[0] === name && wanted.every(label => each.includes(label)))
      return Number(line?.split(' ').at(-1) ?? 0)
    },
    raw: (...parts) => raw(service.apiUrl, parts),
  }
}

/** With node:http, since fetch hides what a test wants to send: lengths, codings, expectations. */
export function send(
  base: string,
  method: string,
  path: string,
  ask: Ask = {},
  agent?: Agent,
): Promise<Answer> {
  const isPlain = ask.body === undefined || typeof ask.body === 'string' || Buffer.isBuffer(ask.body)
  const body = isPlain ? (ask.body as string | Buffer | undefined) : JSON.stringify(ask.body)
  const headers = {
    ...(!ask.anonymous && { authorization: `Bearer ${TOKEN}` }),
    ...(body !== undefined && {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    }),
    ...ask.headers,
  }
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(base)
    const outgoing = httpRequest(
      { hostname, port, method, path, headers, agent: agent ?? new Agent() },
      incoming => {
        const chunks: Buffer[] = []
        incoming.on('data', chunk => chunks.push(chunk))
        incoming.on('error', reject)
        incoming.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          const isJson = incoming.headers['content-type'] === 'application/json' && text !== ''
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            text,
            json: isJson ? JSON.parse(text) : undefined,
          })
        })
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

function raw(base: string, parts: readonly (string | Buffer)[]): Promise<string> {
  const { hostname, port } = new URL(base)
  return new Promise(resolve => {
    const chunks: Buffer[] = []
    const socket = connect(Number(port), hostname, () => {
      for (const part of parts) socket.write(part)
    })
    socket.on('data', chunk => chunks.push(chunk))
    // The server may cut a connection while this side still writes; what it said before that counts.
    socket.on('error', () => {})
    socket.on('close', () => resolve(Buffer.concat(chunks).toString()))
  })
}

/** Waits until a connection is closed, by an error too: a peer that is cut off while it writes sees one. */
export function closed(socket: Socket): Promise<void> {
  return new Promise(resolve => {
    socket.on('error', () => {}).once('close', () => resolve())
  })
}

/** Reads the last answer on a raw connection. */
export function parseRaw(text: string): Answer {
  const [head = '', body = ''] = text.slice(text.lastIndexOf('HTTP/1.1 ')).split('\r\n\r\n')
  const [statusLine = '', ...lines] = head.split('\r\n')
  const headers = Object.fromEntries(
    lines.map(line => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
  )
  return { status: Number(statusLine.split(' ')[1]), headers, text: body, json: JSON.parse(body) }
}

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** What holds for every answer of both servers that is not 2xx. */
export function expectProblem(answer: Answer, status: number, code: string, field?: string): void {
  expect({ status: answer.status, code: answer.json?.error?.code, field: answer.json?.error?.field }).toEqual(
    {
      status,
      code,
      field,
    },
  )
  const { error } = answer.json
  expect(error.message).toMatch(/^[^\n]{1,200}$/)
  expect(typeof error.retryable).toBe('boolean')
  expect(new Date(error.ts).toISOString()).toBe(error.ts)
  expect(error.request_id).toMatch(/^r-[0-9a-z]{11,}$/)
  const known = ['code', 'message', 'retryable', 'retry_after_ms', 'hint', 'field', 'ts', 'request_id']
  expect(Object.keys(error).filter(name => !known.includes(name))).toEqual([])
  expect(answer.headers['content-type']).toBe('application/json')
  expect(answer.headers['cache-control']).toBe('no-store')
  expect(answer.headers['x-request-id']).toBe(error.request_id)
  expect(answer.headers['x-corr-id']).toMatch(UUID_V7)
  expect(answer.headers['retry-after'] === undefined).toBe(error.retry_after_ms === undefined)
}
