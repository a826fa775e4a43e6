/** Keeping a verifier's keys as a service publishes them. */
import { KmsError } from '../errors.js'
import { fromJwks, type TrustedKey } from './jwks.js'

/** What follows: told which keys came, and which are no longer published. */
export interface Follower {
  trust(key: TrustedKey): void
  distrust(kid: string): void
}

const TIMEOUT_MS = 5000
const LARGEST_BYTES = 2 ** 20
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
  let known = new Map<string, TrustedKey>()
  let timer: NodeJS.Timeout | undefined
  let ended = false
  const update = async () => {
    const { keys, maxAgeS } = await fetchSet(url)
    if (ended) return
    const current = new Map(keys.map(key => [key.kid, key]))
    for (const [kid, key] of current) if (!known.has(kid)) follower.trust(key)
    for (const kid of known.keys()) if (!current.has(kid)) follower.distrust(kid)
    known = current
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

async function fetchSet(url: string): Promise<{ keys: TrustedKey[]; maxAgeS: number }> {
  const unavailable = (cause?: unknown) =>
    new KmsError('StoreUnavailable', 'the keys cannot be fetched', { field: 'url', cause })
  let text: string
  let age: string | undefined
  try {
    const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) })
    if (!response.ok) throw unavailable()
    age = /max-age=(\d{1,9})/.exec(response.headers.get('cache-control') ?? '')?.[1]
    text = await response.text()
  } catch (error) {
    throw error instanceof KmsError ? error : unavailable(error)
  }
  if (text.length > LARGEST_BYTES) throw unavailable()
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
