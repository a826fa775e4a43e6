/** The demonstration itself. */
import { KmsError } from '../../errors.js'
import type { Client } from './client.js'
import { type HashedFile, hashFile, listFiles } from './files.js'
import { Progress } from './progress.js'

/** Items a request. */
const BATCH = 64
/** Requests in flight: one is prepared while another is worked on. */
const LANES = 2
/** Files tampered with at the end, and signatures. */
const TAMPERED = 4

interface SignedFile extends HashedFile {
  readonly kid: string
  readonly signature: string
}

type SignAnswer = { kid: string; sigs: { signature_b64: string }[] } | { error: { code: string } }
type VerifyAnswer = { ok: boolean } | { error: { code: string } }

/** Durations of requests, and of the phase they were made in, in milliseconds. */
class Timer {
  readonly requests: number[] = []
  elapsed = 0

  async phase<T>(work: () => Promise<T>): Promise<T> {
    const started = performance.now()
    const result = await work()
    this.elapsed += performance.now() - started
    return result
  }

  async request<T>(work: () => Promise<T>): Promise<T> {
    const started = performance.now()
    const result = await work()
    this.requests.push(performance.now() - started)
    return result
  }

  rate(count: number): string {
    return `${Math.round((count / this.elapsed) * 1000).toLocaleString('en')}/s`
  }

  /** How long the requests of the phase took. */
  quantiles(): string {
    const sorted = this.requests.toSorted((a, b) => a - b)
    const at = (q: number) =>
      (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0).toFixed(2)
    return `a request of ${BATCH}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms`
  }
}

/**
 * Signs the BLAKE3 of every file below `dir`, rotates twice on the way, verifies everything, flips a bit
 * in a few and verifies again. Prints what happened; `true` when all of it is as it must be.
 */
export async function runDemo(dir: string, client: Client): Promise<boolean> {
  const paths = await listFiles(dir)
  say(`key service: ${client.where}; ${paths.length} files below ${dir}`)
  // First of all, so that a server that is not there is noticed before the files are read.
  const created = await client.call<{ kid: string }>('create', null, {
    tenant: 'demo',
    purpose: 'files',
    alg: 'ed25519',
  })
  const files = await hashAll(paths)
  if (files.length === 0) throw new KmsError('NotFound', 'no file to sign')

  const signing = new Timer()
  const signed = await signAll(client, created.kid, files, signing)
  const verifying = new Timer()
  const rejected = await verifyAll(client, signed, verifying, 'verify')

  const { altered, expected } = await tamper(signed)
  const caught = await verifyAll(client, altered, new Timer(), 'tampered')
  const exactly = caught.size === expected.size && [...expected].every(i => caught.has(i))

  const versions = new Set(signed.map(({ kid }) => kid.slice(kid.indexOf('#'))))
  say('')
  say(
    `files signed       ${signed.length} (${paths.length - files.length} passed over: too large or unreadable)`,
  )
  say(`versions used      ${[...versions].join(' ')}`)
  say(`sign               ${signing.rate(signed.length)}, ${signing.quantiles()}`)
  say(`verify             ${verifying.rate(signed.length)}, ${verifying.quantiles()}`)
  say(`verified           ${signed.length - rejected.size} of ${signed.length}`)
  say(
    `flipped bits       ${expected.size}, caught: ${caught.size}${exactly ? ', exactly those' : ' — NOT THE SAME'}`,
  )
  return rejected.size === 0 && exactly
}

async function hashAll(paths: readonly string[]): Promise<HashedFile[]> {
  const progress = new Progress('hash', paths.length)
  const files: HashedFile[] = []
  for (let i = 0; i < paths.length; i += BATCH) {
    const hashed = await Promise.all(paths.slice(i, i + BATCH).map(path => hashFile(path)))
    files.push(...hashed.filter(file => file !== undefined))
    progress.add(hashed.length)
  }
  progress.end()
  return files
}

/** Signs in batches under the head, whichever version that is; rotates after each third. */
async function signAll(
  client: Client,
  kid: string,
  files: readonly HashedFile[],
  timer: Timer,
): Promise<SignedFile[]> {
  const key = kid.slice(0, kid.indexOf('#'))
  const progress = new Progress('sign', files.length)
  const thirds = [0, 1, 2, 3].map(third => Math.floor((files.length * third) / 3))
  const signed: SignedFile[] = []
  for (let third = 0; third < 3; third++) {
    const part = files.slice(thirds[third], thirds[third + 1])
    const answers = await timer.phase(() =>
      inBatches(part, async batch => {
        const body = batch.map(({ digest }) => ({ kid_or_set: { kid: key }, payload_b3: digest }))
        const answers = await timer.request(() => client.call<SignAnswer[]>('sign_batch', null, body))
        progress.add(batch.length)
        return answers
      }),
    )
    answers.forEach((answer, i) => {
      const file = part[i]
      const sig = 'sigs' in answer ? answer.sigs[0] : undefined
      if (!file || !sig || !('sigs' in answer)) throw new KmsError('Internal', 'a file was not signed')
      signed.push({ ...file, kid: answer.kid, signature: sig.signature_b64 })
    })
    if (third < 2) await client.call('rotate', key, {})
  }
  progress.end()
  return signed
}

/** Verifies in batches; the indices of what was not valid. */
async function verifyAll(
  client: Client,
  signed: readonly SignedFile[],
  timer: Timer,
  title: string,
): Promise<Set<number>> {
  const progress = new Progress(title, signed.length)
  const answers = await timer.phase(() =>
    inBatches(signed, async batch => {
      const body = batch.map(({ kid, digest, signature }) => ({
        kid,
        payload_b3: digest,
        sigs: [{ alg: 'ed25519', signature_b64: signature }],
      }))
      const answers = await timer.request(() => client.call<VerifyAnswer[]>('verify_batch', null, body))
      progress.add(batch.length)
      return answers
    }),
  )
  progress.end()
  const invalid = new Set<number>()
  answers.forEach((answer, i) => {
    if (!('ok' in answer) || !answer.ok) invalid.add(i)
  })
  return invalid
}

/** Flips a bit in the content of a few files (in memory) and in the signatures of a few others. */
async function tamper(
  signed: readonly SignedFile[],
): Promise<{ altered: SignedFile[]; expected: Set<number> }> {
  const altered = [...signed]
  const expected = new Set<number>()
  const count = Math.min(2 * TAMPERED, signed.length)
  for (let n = 0; n < count; n++) {
    const i = Math.floor((signed.length * n) / count)
    const file = signed[i]
    if (!file) continue
    const changed = n % 2 === 0 ? (await hashFile(file.path, true))?.digest : undefined
    if (changed !== undefined && changed !== file.digest) altered[i] = { ...file, digest: changed }
    else altered[i] = { ...file, signature: flipBit(file.signature) }
    expected.add(i)
  }
  return { altered, expected }
}

function flipBit(base64: string): string {
  const bytes = Buffer.from(base64, 'base64')
  bytes[0] = (bytes[0] ?? 0) ^ 1
  return bytes.toString('base64')
}

/** Cuts items into batches, keeps a few in flight, and joins their answers in order. */
async function inBatches<T, R>(items: readonly T[], send: (batch: T[]) => Promise<R[]>): Promise<R[]> {
  const answers: R[][] = []
  let next = 0
  const lane = async () => {
    while (next * BATCH < items.length) {
      const number = next++
      answers[number] = await send(items.slice(number * BATCH, (number + 1) * BATCH))
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return answers.flat()
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
