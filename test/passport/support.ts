// A real svc-passport on a free port, and a client for it.
import { expect } from 'vitest'
import { createLog } from '../../src/logging/log.js'
import type { ScopedAuthenticator } from '../../src/passport/service/auth.js'
import { loadConfig } from '../../src/passport/service/load.js'
import { type Opened, openCustody } from '../../src/passport/service/open-custody.js'
import { SERVICE_NAME, type Service as Started, startService } from '../../src/passport/service/service.js'
import type { Key } from '../../src/passport/service/settings.js'
import type { Envelope, IssueRequest, Verdict } from '../../src/passport/types.js'
import { singleToken } from '../../src/server/middleware/auth.js'

export const TOKEN = 'a-token-for-tests'
export const WISH = { sub: 'alice', aud: ['service-a'], scopes: ['read:x'] } as const
export const AUDIENCE = { audience: 'service-a' } as const

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of many shapes
  readonly json: any
}

export interface Service extends Started {
  readonly opened: Opened
  readonly log: Record<string, unknown>[]
  ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  issue(wish?: Partial<IssueRequest>): Promise<Envelope>
  token(wish?: Partial<IssueRequest>): Promise<string>
  verify(body: unknown): Promise<Verdict>
  /** The value of one series, 0 where it is absent; labels in the order of the exposition. */
  metric(series: string): Promise<number>
}

export type Settings = Partial<Record<Key, string>>

const oneToken = singleToken(TOKEN, { actor: 'test' })

/** `wrap` replaces custody, `authenticate` the one token that grants everything; it is told the key of the service. */
export async function start(
  settings: Settings = {},
  wrap = (opened: Opened) => opened,
  authenticate: (key: string) => ScopedAuthenticator = () => asking => oneToken({ ...asking, scopes: [] }),
): Promise<Service> {
  const dev = settings['store.backend'] !== 'file'
  const flags = {
    bind_addr: '127.0.0.1:0',
    'rotation.publish_ahead': '0ms',
    'log.level': 'debug',
    // Only looked for here.
    ...(!dev && { 'capability.root_key_env': 'NOT_READ' }),
    ...settings,
  }
  const { config, faults } = loadConfig({ dev, env: {}, flags })
  if (!config) throw new Error(`the settings of this test are refused: ${JSON.stringify(faults)}`)
  const log: Record<string, unknown>[] = []
  const write = (line: string) => void log.push(JSON.parse(line))
  const opened = wrap(await openCustody(config))
  const service = await startService({
    config,
    opened,
    authenticate: authenticate(opened.custody.key),
    log: createLog({ level: 'debug', format: 'json', service: SERVICE_NAME, write }),
    cpuTier: 'test',
  })
  const ask: Service['ask'] = async (method, path, body, headers = {}) => {
    const bytes = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body)
    const response = await fetch(service.url + path, {
      method,
      headers: {
        authorization: `Bearer ${TOKEN}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: bytes as string }),
    })
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.includes('json') && text !== ''
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: isJson ? JSON.parse(text) : undefined,
    }
  }
  const issued = async (wish: Partial<IssueRequest>) => {
    const { status, json } = await ask('POST', '/v1/passport/issue', { ...WISH, ...wish })
    expect(status).toBe(200)
    return json
  }
  return {
    ...service,
    opened,
    log,
    ask,
    issue: (wish = {}) => issued(wish),
    token: async (wish = {}) => (await issued({ ...wish, format: 'jwt' })).token,
    verify: async body => (await ask('POST', '/v1/passport/verify', body)).json,
    async metric(series) {
      const { text } = await ask('GET', '/metrics')
      const line = text.split('\n').find(each => each.startsWith(`${series} `))
      return Number(line?.slice(series.length + 1) ?? 0)
    },
  }
}

/** An answer of the error envelope. */
export function expectProblem({ status, json }: Answer, expected: { status: number; code: string }): void {
  expect({ status, code: json?.code }).toEqual(expected)
  expect(Object.keys(json)).toEqual(
    json.retry_after_ms === undefined
      ? ['code', 'message', 'retryable']
      : ['code', 'message', 'retryable', 'retry_after_ms'],
  )
}
