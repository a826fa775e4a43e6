import { readFileSync } from 'node:fs'
import { Option } from 'commander'

/** The service that is asked. */
export const urlOption = () =>
  new Option('--url <url>', 'the service (PASSPORT_URL)').env('PASSPORT_URL').default('http://127.0.0.1:5307')

const TIMEOUT_MS = 10_000

/** Asks the service; the capability comes from `PASSPORT_TOKEN`. Throws with the service's own words. */
export async function ask(url: string, path: string, body?: unknown): Promise<unknown> {
  const token = process.env.PASSPORT_TOKEN
  let response: Response
  let text: string
  try {
    response = await fetch(url.replace(/\/+$/, '') + path, {
      method: body === undefined ? 'GET' : 'POST',
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: {
        ...(token && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    text = await response.text()
  } catch (error) {
    throw new Error(`${url} does not answer (${(error as Error).name})`)
  }
  const answer = parse(text)
  if (response.ok) return answer
  const { code, message } = (answer ?? {}) as { code?: string; message?: string }
  throw new Error(`${response.status} ${code ?? ''}: ${message ?? 'the service refused'}`)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A passport from the command line, from a file, or from standard input: a token or an envelope. */
export function readPassport(given: string | undefined): unknown {
  const text = (given ?? readFileSync(0, 'utf8')).trim()
  return text.startsWith('{') ? JSON.parse(text) : text
}

/** Runs a command; what it throws is one line and exit code 1. */
export async function orFail(work: () => Promise<void> | void): Promise<void> {
  try {
    await work()
  } catch (error) {
    process.stderr.write(`ronctl: ${(error as Error).message}\n`)
    process.exitCode = 1
  }
}

/** Prints an answer. */
export function print(value: unknown): void {
  process.stdout.write(`${typeof value === 'string' ? value : JSON.stringify(value, null, 2)}\n`)
}
