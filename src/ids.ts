import { randomBytes, randomFillSync } from 'node:crypto'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i
const VARIANT = '89ab'

// One call into the OS generator serves this many ids; they name requests and guard nothing.
const POOL_BYTES = 4096
const BYTES_PER_UUID = 10
const pool = Buffer.alloc(POOL_BYTES)
let used = POOL_BYTES

/** Whether `text` is a UUID of a version that RFC 9562 defines, in either case. */
export function isUuid(text: string): boolean {
  return text.length === 36 && UUID.test(text)
}

/** A new UUID version 7 (RFC 9562 section 5.7): 48 bits of milliseconds, then random bits. */
export function uuidv7(): string {
  if (used + BYTES_PER_UUID > POOL_BYTES) {
    randomFillSync(pool)
    used = 0
  }
  const random = pool.toString('hex', used, used + BYTES_PER_UUID)
  const variant = VARIANT.charAt((pool[used + BYTES_PER_UUID - 1] ?? 0) & 3)
  used += BYTES_PER_UUID
  const time = Date.now().toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-${variant}${random.slice(3, 6)}-${random.slice(6, 18)}`
}

// A random start for each process and a counter: unique without asking the generator for every request.
const processPart = randomBytes(6).readUIntBE(0, 6).toString(36).padStart(10, '0')
let requests = 0

/** A new request id: `r-`, ten characters for the process and a counter. */
export function requestId(): string {
  requests += 1
  return `r-${processPart}${requests.toString(36)}`
}
