import { randomBytes } from 'node:crypto'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i
/** The digit of the variant for each random digit. */
const VARIANTS = new Map(
  [...'0123456789abcdef'].map((digit, i) => [digit.charCodeAt(0), '89ab'.charAt(i & 3)]),
)

// One call into the OS generator serves this many ids; they name requests and guard nothing.
const POOL_BYTES = 4096
const DIGITS_PER_UUID = 20
/** Random digits that were not used yet begin at `used`. */
let pool = ''
let used = 0
let time = { ms: -1, digits: '' }

/** Whether `text` is a UUID of a version that RFC 9562 defines, in either case. */
export function isUuid(text: string): boolean {
  return text.length === 36 && UUID.test(text)
}

/** A new UUID version 7 (RFC 9562 section 5.7): 48 bits of milliseconds, then random bits. */
export function uuidv7(): string {
  if (used + DIGITS_PER_UUID > pool.length) {
    pool = randomBytes(POOL_BYTES).toString('hex')
    used = 0
  }
  const at = used
  used += DIGITS_PER_UUID
  const ms = Date.now()
  if (ms !== time.ms) time = { ms, digits: timeDigits(ms) }
  const variant = VARIANTS.get(pool.charCodeAt(at + 18))
  return `${time.digits}${pool.slice(at, at + 3)}-${variant}${pool.slice(at + 3, at + 6)}-${pool.slice(at + 6, at + 18)}`
}

/** What a UUID begins with: the time, and its version. */
function timeDigits(ms: number): string {
  const digits = ms.toString(16).padStart(12, '0')
  return `${digits.slice(0, 8)}-${digits.slice(8)}-7`
}

// A random start for each process and a counter: unique without asking the generator for every request.
const processPart = randomBytes(6).readUIntBE(0, 6).toString(36).padStart(10, '0')
let requests = 0

/** A new request id: `r-`, ten characters for the process and a counter. */
export function requestId(): string {
  requests += 1
  return `r-${processPart}${requests.toString(36)}`
}
