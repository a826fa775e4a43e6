import { readFileSync } from 'node:fs'
import { type ErrorRecord, KmsError, type KmsErrorCode } from '../../errors.js'
import {
  type AttestedDto,
  type DescribedDto,
  type KeyAttestation,
  type KeyDescription,
  type RotatedDto,
  type RotatedKey,
  toAttestation,
  toDescription,
  toRotated,
} from '../../key-types.js'
import { ed25519 } from '../../primitives/ed25519.js'
import { STATUS } from '../../server/problem.js'
import { boundedText } from '../fetch-json.js'
import type { TrustedKey } from '../jwks.js'
import type { Custody, CustodyEvents, CustodyFault } from './custody.js'

/** Where a remote key service is, and what it lets us do. */
export interface RemoteOptions {
  readonly url: string
  /** Read again for every connection that it is refused on, so that a new one takes effect without a restart. */
  readonly capabilityFile: string
  readonly key: string
  readonly timeoutMs: number
}

/** Longest message of an error that is handed on. */
const MESSAGE_CHARACTERS = 256

interface SignedDto {
  readonly kid: string
  readonly sigs: readonly { readonly alg: string; readonly signature_b64: string }[]
}

/** A key of a `ron-kms` that is reached over HTTP. */
export class RemoteCustody implements Custody {
  readonly key: string
  readonly backend = 'remote'
  /** That service says so itself. */
  readonly refused = undefined
  readonly #base: string
  readonly #options: RemoteOptions
  #reachable = true
  #events: CustodyEvents | undefined

  constructor(options: RemoteOptions) {
    this.key = options.key
    this.#options = options
    this.#base = `${options.url.replace(/\/+$/, '')}/v1/kms`
  }

  get reachable(): boolean {
    return this.#reachable
  }

  async describe(version?: number): Promise<KeyDescription> {
    const kid = version === undefined ? this.key : `${this.key}#v${version}`
    const path = `/keys/${encodeURIComponent(kid)}`
    const described = await this.#call('GET', path, undefined, (dto: DescribedDto) => toDescription(dto))
    // Passports would be taken under a key that nobody asked for.
    const expected = version === undefined ? `${this.key}#v${described.head}` : kid
    if (described.kid !== expected) throw this.#fault('another_kid')
    return described
  }

  async sign({ kid, publicKey }: TrustedKey, message: Uint8Array): Promise<Uint8Array> {
    const body = { kid_or_set: { kid }, message_b64: Buffer.from(message).toString('base64') }
    const made = await this.#call('POST', '/sign', body, (dto: SignedDto) => ({
      kid: dto.kid,
      signature: fromBase64(dto.sigs.find(({ alg }) => alg === 'ed25519')?.signature_b64),
    }))
    if (made.kid !== kid) throw this.#fault('another_kid')
    // A passport that nobody takes, or that says something else, is not worth an answer of 200.
    if (!ed25519.verify(publicKey, message, made.signature)) throw this.#fault('bad_signature')
    return made.signature
  }

  async rotate(activateAfterMs: number): Promise<RotatedKey> {
    const path = `/keys/${encodeURIComponent(this.key)}/rotate`
    const body = { activate_after_ms: activateAfterMs }
    const rotated = await this.#call('POST', path, body, (dto: RotatedDto) => toRotated(dto))
    if (String(rotated.kid).split('#')[0] !== this.key) throw this.#fault('another_kid')
    return rotated
  }

  async disable(kid: string): Promise<void> {
    await this.#call('POST', `/keys/${encodeURIComponent(kid)}/disable`, {}, () => {})
  }

  attest(): Promise<KeyAttestation> {
    const path = `/attest/${encodeURIComponent(this.key)}`
    return this.#call('GET', path, undefined, (dto: AttestedDto) => toAttestation(dto))
  }

  listen(events: CustodyEvents): void {
    this.#events = events
  }

  close(): void {}

  #reached(reachable: boolean): void {
    if (reachable === this.#reachable) return
    this.#reachable = reachable
    this.#events?.reachable(reachable)
  }

  /** Nothing of the answer is repeated: it is not known what it is. */
  #fault(fault: CustodyFault, cause?: unknown): KmsError {
    this.#events?.fault(fault)
    return new KmsError('StoreUnavailable', `the key service gave what is not taken: ${fault}`, { cause })
  }

  /** What `read` makes of the answer, whose shape is not known: it may throw. */
  async #call<Dto, T>(
    method: 'GET' | 'POST',
    path: string,
    body: object | undefined,
    read: (answer: Dto) => T,
  ): Promise<T> {
    let response: Response
    let answer: unknown
    try {
      response = await fetch(this.#base + path, {
        method,
        redirect: 'error',
        // For the answer's body, too.
        signal: AbortSignal.timeout(this.#options.timeoutMs),
        headers: {
          authorization: `Bearer ${this.#capability()}`,
          ...(body && { 'content-type': 'application/json' }),
        },
        ...(body && { body: JSON.stringify(body) }),
      })
      answer = JSON.parse(await boundedText(response))
    } catch (cause) {
      this.#reached(false)
      throw new KmsError('StoreUnavailable', 'the key service cannot be reached', { cause })
    }
    this.#reached(true)
    if (!response.ok) throw refusal(answer)
    try {
      return read(answer as Dto)
    } catch (cause) {
      throw this.#fault('bad_answer', cause)
    }
  }

  #capability(): string {
    return readFileSync(this.#options.capabilityFile, 'utf8').trim()
  }
}

/** The error of an answer that is one; what is none of ours is a refusal, too. */
function refusal(answer: unknown): KmsError {
  const { error } = (answer ?? {}) as { error?: Partial<Record<keyof ErrorRecord, unknown>> }
  const { code, message, retryable, retry_after_ms: retryAfterMs } = error ?? {}
  // A capability that is missing there is a fault here, and no caller's.
  if (!isCode(code) || code === 'NoCapability') {
    return new KmsError('StoreUnavailable', 'the key service refuses us', { retryable: false })
  }
  const isText = typeof message === 'string' && message.length <= MESSAGE_CHARACTERS
  return new KmsError(code, isText ? message : 'the key service refuses this', {
    ...(typeof retryable === 'boolean' && { retryable }),
    ...(Number.isSafeInteger(retryAfterMs) && { retryAfterMs: Number(retryAfterMs) }),
  })
}

function isCode(code: unknown): code is KmsErrorCode {
  return typeof code === 'string' && Object.hasOwn(STATUS, code)
}

/** Strictly; throws for anything else. */
function fromBase64(text: unknown): Uint8Array {
  const bytes = Buffer.from(String(text), 'base64')
  if (bytes.toString('base64') !== text) throw new TypeError('is not base64')
  return bytes
}
