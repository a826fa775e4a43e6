/** Keeping a verifier's keys as a service publishes them. */
import { KmsError } from '../errors.js'
import { boundedText } from './fetch-json.js'
import { fromJwks, type TrustedKey } from './jwks.js'

/** What follows: told which keys came, and which are no longer published. */
export interface Follower {
  trust(key: TrustedKey): void
  distrust(kid: string): void
}

const TIMEOUT_MS = 5000
const SHORTEST_S = 5
const LONGEST_S = 3600
const DEFAULT_S = 60

/**
 * Fetches a JWK set now, and again after half of the time that its `Cache-Control` allows: so a key that is published
 * for that time before it signs is always known. While the service does not answer, keys stay as they are.
 *
 * @returns What ends it.
 * @throws KmsError (as a rejection) `StoreUnavailable` where the set cannot be had the first time, `BadRequest` for one
 * that is none.
 */
export async function follow(url: string, follower: Follower): Promise<() => void> {
  const known = new Map<string, TrustedKey>()
  let timer: NodeJS.Timeout | undefined
  let ended = false
  const update = async () => {
    const { keys, maxAgeS } = await fetchSet(url)
    if (ended) return
    const current = new Map(keys.map(key => [key.kid, key]))
    // What is no longer published goes first: nothing that is wrong with a new key may keep an old one in use.
    for (const [kid, key] of known) {
      if (isSame(current.get(kid), key)) continue
      follower.distrust(kid)
      known.delete(kid)
    }
    for (const [kid, key] of current) {
      if (known.has(kid)) continue
      follower.trust(key)
      known.set(kid, key)
    }
    again(maxAgeS / 2)
  }
  const again = (seconds: number) => {
    timer = setTimeout(() => update().catch(() => ended || again(SHORTEST_S)), seconds * 1000)
    timer.unref()
  }
  await update()
  return () => {
    ended = true
    clearTimeout(timer)
  }
}

function isSame(a: TrustedKey | undefined, b: TrustedKey): boolean {
  return a !== undefined && Buffer.compare(a.publicKey, b.publicKey) === 0
}

async function fetchSet(url: string): Promise<{ keys: TrustedKey[]; maxAgeS: number }> {
  const unavailable = (cause?: unknown) =>
    new KmsError('StoreUnavailable', 'the keys cannot be fetched', { field: 'url', cause })
  let text: string
  let age: string | undefined
  try {
    const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) })
    if (!response.ok) throw unavailable()
    age = /max-age=(\d{1,9})/.exec(response.headers.get('cache-control') ?? '')?.[1]
    text = await boundedText(response)
  } catch (error) {
    throw error instanceof KmsError ? error : unavailable(error)
  }
  const maxAgeS = Math.min(Math.max(Number(age ?? DEFAULT_S), SHORTEST_S), LONGEST_S)
  return { keys: fromJwks(parse(text)), maxAgeS }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
