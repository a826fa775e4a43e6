import type { KeyAttestation, KeyDescription, RotatedKey } from '../../key-types.js'
import type { Kms } from '../../kms.js'
import type { TrustedKey } from '../jwks.js'

/** What may be wrong with an answer of a key service: it is of another version, its signature does not hold, it is none. */
export const CUSTODY_FAULTS = ['another_kid', 'bad_signature', 'bad_answer'] as const
export type CustodyFault = (typeof CUSTODY_FAULTS)[number]

/** What a custody tells about itself. */
export interface CustodyEvents {
  /** Whether it answers, when that changes. */
  reachable(reachable: boolean): void
  /** It answered something that was not taken. */
  fault(fault: CustodyFault): void
}

/** The key that signs passports, wherever it is held. Everything rejects with a `KmsError`. */
export interface Custody {
  /** The key, without a version. */
  readonly key: string
  /** Where it is, for logs: `inmem`, `file` or `remote`. */
  readonly backend: string
  /** The key with the public half of one version, or of its head. */
  describe(version?: number): Promise<KeyDescription>
  /**
   * Signs under this version, which must be the head: at once where the key is in this process. A signature that was made
   * elsewhere holds under the key that is given here, or the promise rejects with `StoreUnavailable`.
   */
  sign(version: TrustedKey, message: Uint8Array): Uint8Array | Promise<Uint8Array>
  /** Adds a version that becomes the head after a while. */
  rotate(activateAfterMs: number): Promise<RotatedKey>
  /** Takes a version out of use. */
  disable(kid: string): Promise<void>
  /** Where the key is held. */
  attest(): Promise<KeyAttestation>
  /** Whether it answered when it was asked last. */
  readonly reachable: boolean
  /** Who is told from now on. */
  listen(events: CustodyEvents): void
  /** Why it verifies and does nothing else, where that is so: store or audit log are not what was acknowledged. */
  readonly refused: string | undefined
  close(): void
}

/** A key of the service in this process. */
export class LocalCustody implements Custody {
  readonly key: string
  readonly backend: string
  readonly reachable = true
  readonly #kms: Kms

  constructor(kms: Kms, key: string, backend: string) {
    this.#kms = kms
    this.key = key
    this.backend = backend
  }

  describe(version?: number): Promise<KeyDescription> {
    return this.#kms.describeKey(version === undefined ? this.key : `${this.key}#v${version}`)
  }

  sign({ kid }: TrustedKey, message: Uint8Array): Uint8Array {
    return this.#kms.sign(kid, message)
  }

  rotate(activateAfterMs: number): Promise<RotatedKey> {
    return this.#kms.rotateKey(this.key, { activateAfterMs })
  }

  async disable(kid: string): Promise<void> {
    await this.#kms.disableKey(kid)
  }

  attest(): Promise<KeyAttestation> {
    return this.#kms.attest(this.key)
  }

  listen(): void {}

  get refused(): string | undefined {
    return this.#kms.audit.status().refused
  }

  close(): void {
    this.#kms.close()
  }
}
