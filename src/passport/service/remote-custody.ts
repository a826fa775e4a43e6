import { readFileSync } from 'node:fs'
import { type ErrorRecord, fromRecord, KmsError } from '../../errors.js'
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
import { boundedText } from '../fetch-json.js'
import type { Custody } from './custody.js'

/** Where a remote key service is, and what it lets us do. */
export interface RemoteOptions {
  readonly url: string
  /** Read again for every connection that it is refused on, so that a new one takes effect without a restart. */
  readonly capabilityFile: string
  readonly key: string
  readonly timeoutMs: number
}

const SIGNATURE_BYTES = 64

/** A key of a `ron-kms` that is reached over HTTP. */
export class RemoteCustody implements Custody {
  readonly key: string
  readonly backend = 'remote'
  /** That service says so itself. */
  readonly refused = undefined
  readonly #base: string
  readonly #options: RemoteOptions
  #reachable = true
  #listener: (reachable: boolean) => void = () => {}

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
    const described = toDescription(await this.#call<DescribedDto>('GET', `/keys/${encodeURIComponent(kid)}`))
    // Passports would be taken under a key that nobody asked for.
    const expected = version === undefined ? `${this.key}#v${described.head}` : kid
    if (described.kid !== expected) throw new KmsError('Internal', 'the key service gave another key')
    return described
  }

  async sign(kid: string, message: Uint8Array): Promise<Uint8Array> {
    const body = { kid_or_set: { kid }, message_b64: Buffer.from(message).toString('base64') }
    const { sigs } = await this.#call<{ sigs: { alg: string; signature_b64: string }[] }>(
      'POST',
      '/sign',
      body,
    )
    const signature = Buffer.from(sigs.find(({ alg }) => alg === 'ed25519')?.signature_b64 ?? '', 'base64')
    if (signature.length !== SIGNATURE_BYTES)
      throw new KmsError('Internal', 'the key service gave no signature')
    return signature
  }

  async rotate(activateAfterMs: number): Promise<RotatedKey> {
    const path = `/keys/${encodeURIComponent(this.key)}/rotate`
    return toRotated(await this.#call<RotatedDto>('POST', path, { activate_after_ms: activateAfterMs }))
  }

  async disable(kid: string): Promise<void> {
    await this.#call('POST', `/keys/${encodeURIComponent(kid)}/disable`, {})
  }

  async attest(): Promise<KeyAttestation> {
    return toAttestation(await this.#call<AttestedDto>('GET', `/attest/${encodeURIComponent(this.key)}`))
  }

  onReachable(listener: (reachable: boolean) => void): void {
    this.#listener = listener
  }

  close(): void {}

  #reached(reachable: boolean): void {
    if (reachable === this.#reachable) return
    this.#reachable = reachable
    this.#listener(reachable)
  }

  async #call<T>(method: 'GET' | 'POST', path: string, body?: object): Promise<T> {
    let response: Response
    let answer: unknown
    try {
      response = await fetch(this.#base + path, {
        method,
        redirect: 'error',
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
    if (response.ok) return answer as T
    const { error } = (answer ?? {}) as { error?: ErrorRecord }
    // A capability that is missing there is a fault here, and no caller's.
    if (error === undefined || error.code === 'NoCapability') {
      throw new KmsError('StoreUnavailable', 'the key service refuses us', { retryable: false })
    }
    throw fromRecord(error)
  }

  #capability(): string {
    return readFileSync(this.#options.capabilityFile, 'utf8').trim()
  }
}
