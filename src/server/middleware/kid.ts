import { Refusal } from '../problem.js'

/** Which segments of the path, counted from its end, hold the kid. */
export interface KidSegments {
  /** 1 for a percent-encoded kid, 4 for `{tenant}/{purpose}/{alg}/{uuid}`. */
  readonly count: 1 | 4
  /** Segments after it, such as `rotate`. */
  readonly after: 0 | 1
}

/**
 * The kid in the path of a URL. It is read from the raw path, since a router's own decoding lets malformed escapes
 * through; the engine checks what the kid says.
 */
export function kidOf(url: string, { count, after }: KidSegments): string {
  const start = url.indexOf('/', url.indexOf('//') + 2)
  const query = url.indexOf('?', start)
  const path = url.slice(start, query === -1 ? undefined : query)
  // A raw `#` never belongs to a request target (RFC 9112 section 3.2): what follows it would be lost.
  if (path.includes('#')) throw badKid()
  const segments = path.split('/')
  const kid = segments.slice(segments.length - after - count, segments.length - after).map(decode)
  // In the form with four segments an escaped slash would move the borders between them.
  if (count > 1 && kid.some(segment => segment.includes('/'))) throw badKid()
  return kid.join('/')
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw badKid()
  }
}

function badKid(): Refusal {
  return new Refusal('BadRequest', 'the kid in the path is malformed', { field: 'kid' })
}
