/** Two ways to the same API: over HTTP, and in this process. */
import { type ErrorRecord, fromRecord, KmsError } from '../../errors.js'
import { Kms, type Operation } from '../../kms.js'

/** What the demo needs of a key service. */
export interface Client {
  /** For people: where the key service is. */
  readonly where: string
  /** Carries an operation out; throws {@link KmsError}. */
  call<T>(op: Operation, target: string | null, body: object): Promise<T>
  close(): void
}

const PATHS: Partial<Record<Operation, (kid: string) => string>> = {
  create: () => '/keys',
  rotate: kid => `/keys/${encodeURIComponent(kid)}/rotate`,
  sign_batch: () => '/sign_batch',
  verify_batch: () => '/verify_batch',
}

/** Calls a running server. */
export function httpClient(url: string, token: string): Client {
  const base = `${url.replace(/\/+$/, '')}/v1/kms`
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  return {
    where: url,
    async call<T>(op: Operation, target: string | null, body: object): Promise<T> {
      const path = PATHS[op]?.(target ?? '')
      if (path === undefined) throw new KmsError('Unsupported', `the demo does not call ${op}`)
      let response: Response
      try {
        response = await fetch(base + path, { method: 'POST', headers, body: JSON.stringify(body) })
      } catch (cause) {
        throw new KmsError('StoreUnavailable', `no answer from ${url}: is the server running?`, { cause })
      }
      const answer = (await response.json()) as T & { error?: ErrorRecord }
      if (!response.ok) throw answer.error ? fromRecord(answer.error) : unexpected(response.status)
      return answer
    },
    close() {},
  }
}

/** Opens a key service in this process. */
export async function inProcessClient(): Promise<Client> {
  const kms = await Kms.open({ backend: 'inmem' })
  const context = { requestId: '', actor: 'demo' }
  return {
    where: 'this process',
    async call<T>(op: Operation, target: string | null, body: object): Promise<T> {
      const bytes = Buffer.from(JSON.stringify(body))
      return JSON.parse(await kms.dispatchAsync(op, target, bytes, context)) as T
    },
    close: () => kms.close(),
  }
}

function unexpected(status: number): KmsError {
  return new KmsError('Internal', `the server answered ${status} without an error envelope`)
}
