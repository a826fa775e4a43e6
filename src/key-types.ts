/** What the key service says of keys: the typed form, and how it is read from the JSON of the service. */
import type { AuditPosition } from './audit.js'

/** A parameter set of SLH-DSA (FIPS 205) beside the default one, SLH-DSA-SHA2-128s. */
type SlhDsaSet = `slh-dsa-${'sha2' | 'shake'}-${'128' | '192' | '256'}${'s' | 'f'}`

/** Algorithms that sign: `ml-dsa` is ML-DSA-65, `slh-dsa` is SLH-DSA-SHA2-128s. */
export type SigningAlgorithm =
  | 'ed25519'
  | 'ml-dsa'
  | 'ml-dsa-44'
  | 'ml-dsa-87'
  | 'slh-dsa'
  | Exclude<SlhDsaSet, 'slh-dsa-sha2-128s'>

/** Algorithms that wrap data keys: `ml-kem` is ML-KEM-768. */
export type WrappingAlgorithm = 'x25519' | 'ml-kem' | 'ml-kem-512' | 'ml-kem-1024'

/** Algorithms of keys, as kids and answers show them. */
export type Algorithm = SigningAlgorithm | WrappingAlgorithm

/** Families of algorithms, as `allowedAlgs` names them. */
export type AlgorithmFamily = 'ed25519' | 'ml-dsa' | 'slh-dsa' | 'x25519' | 'ml-kem'

/** A wish for a new key. */
export interface CreateKeyOptions {
  /** Who it belongs to: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`; `ron-kms` is reserved. */
  tenant: string
  /** What it is for, of the same form. */
  purpose: string
  /**
   * Its algorithm. `hybrid` makes two tracks of one version: Ed25519 and ML-DSA-65, or X25519 and ML-KEM-768 for the
   * purpose `kem`; the kid shows the classical name.
   */
  alg: Algorithm | 'hybrid'
  /** What its signatures cover, for ever: the message (default), or the 32 bytes of its BLAKE3-256. */
  signs?: 'message' | 'digest'
  /**
   * A flat object that is kept and shown. At most 32 hints; names and texts up to 256 bytes, numbers whole. Four of
   * them are acted upon: `verify_mode` (`or`, `and`, `pq_only`) asks for at least this of the key's signatures;
   * `wrap_outside` (true) opens envelopes that others made with the public key; `aead` (`chacha20-poly1305`,
   * `aes-256-gcm`) is the cipher of its envelopes; `rotate_days` (1 to 3650) has the service rotate the key when its newest
   * version is that old, unless `owner` is there and is not `service`.
   */
  policyHints?: Readonly<Record<string, string | number | boolean>>
  /** A UUID: the same wish under it is carried out once within 24 hours. */
  opId?: string
}

/** A key that was made. */
export interface CreatedKey {
  /** `<tenant>/<purpose>/<alg>/<uuid>#v1`. */
  kid: string
  alg: Algorithm
  /** The encoded public key: 32 bytes of Ed25519 and X25519, as its standard has it of the others. */
  publicKey: Uint8Array
  /** The post-quantum track of a hybrid key. */
  pq?: { alg: Algorithm; publicKey: Uint8Array }
  /** Where that is recorded, where there is an audit log. */
  audit?: AuditPosition
}

/** A private key that was made elsewhere, and what it is to be here. */
export interface ImportKeyOptions extends CreateKeyOptions {
  /**
   * The seed: 32 bytes of Ed25519, X25519, ML-DSA and X-Wing, 64 of ML-KEM; of a hybrid key that signs those of Ed25519 and
   * ML-DSA, one after the other.
   */
  privateKey: Uint8Array
  /** Must be its own. */
  publicKey: Uint8Array
  /** Of the post-quantum track of a hybrid key. */
  pqPublicKey?: Uint8Array
}

/** Which page of a tenant's keys. */
export interface ListKeysOptions {
  tenant: string
  /** 1 to 512; 100 by default. */
  limit?: number
  /** `next` of the page before. */
  after?: string
}

/** What a list says of a key. */
export interface ListedKey {
  /** Its head. */
  kid: string
  alg: Algorithm
  signs: 'message' | 'digest'
  /** The version that signs. */
  head: number
  /** The newest published version. */
  newest: number
  /** The key's own state. */
  state: KeyState
  destroyAt?: Date
  /** When version 1 was made. */
  createdAt: Date
}

/** A page of keys. */
export interface KeyPage {
  keys: ListedKey[]
  /** What `after` is for the next page; absent on the last. */
  next?: string
}

/** A wish for a new version. */
export interface RotateKeyOptions {
  /** `hybrid` adds the post-quantum track to a classical key. A track is never dropped. */
  alg?: Algorithm | 'hybrid'
  /** How long the version is published before it becomes the head, in milliseconds; 0 by default, at most ten years. */
  activateAfterMs?: number
  /** A UUID: the same wish under it is carried out once within 24 hours. */
  opId?: string
}

/** A version that was added. */
export interface RotatedKey {
  /** The new version. */
  kid: string
  /** The version that was the head. */
  previous: string
  /** When it becomes the head, where that is still to come. */
  activeAt?: Date
  /** Where that is recorded, where there is an audit log. */
  audit?: AuditPosition
}

/** A wish to take a key or a version out of use, or into it. */
export interface KeyStateOptions {
  /** A UUID: the same wish under it is carried out once within 24 hours. */
  opId?: string
}

/** A wish to destroy a key or a version. */
export interface DestroyOptions extends KeyStateOptions {
  /**
   * How long until it is destroyed, in milliseconds: not below `minDestroyDelayMs` of the service, which is the
   * default, and at most ten years.
   */
  delayMs?: number
}

/**
 * - `enabled`: in use.
 * - `disabled`: out of use, and may be enabled again.
 * - `destroy_scheduled`: out of use, and destroyed when its time comes unless that is cancelled before.
 * - `destroyed`: the private half is gone for good; the public half and the history are kept.
 */
export type KeyState = 'enabled' | 'disabled' | 'destroy_scheduled' | 'destroyed'

/** A key or a version that came to another state. */
export interface KeyStateChange {
  /** As it was named: with `#vN` that version, without it the whole key. */
  kid: string
  /** Its own state now. */
  state: KeyState
  /** When it is to be destroyed, while that is scheduled. */
  destroyAt?: Date
  /** Where that is recorded, where there is an audit log. */
  audit?: AuditPosition
}

/** The public side of a key. */
export interface KeyDescription extends CreatedKey {
  /** What signatures cover: the message, or its BLAKE3-256. */
  signs: 'message' | 'digest'
  /** The version that signs. */
  head: number
  /** Every published version, ascending. */
  versions: number[]
  /** The key's own state. */
  state: KeyState
  /** When the key is to be destroyed, while that is scheduled. */
  destroyAt?: Date
  /** The state of each published version: the stricter of the key's and its own. */
  versionStates: { version: number; state: KeyState; destroyAt?: Date }[]
  /** When version 1 was made. */
  createdAt: Date
  /** The version that becomes the head next, if one waits. */
  pending?: { kid: string; activeAt: Date }
  policyHints?: Record<string, string | number | boolean>
  /** The class of custody of this version, where a service with a token made it; as in {@link KeyAttestation}. */
  attestationClass?: string
}

/** Where the private side of a key is held. */
export interface KeyAttestation {
  /** The head. */
  kid: string
  alg: Algorithm
  /** The version that signs. */
  head: number
  /** Every published version, ascending. */
  versions: number[]
  /** When version 1 was made. */
  createdAt: Date
  /**
   * The class of custody, of the weakest half: `software-memory` with the backend `inmem`, `software-file` with `file`,
   * `pkcs11-<model>` in a token, and `pkcs11-<model>-sealed` where a half is sealed under a key of the token and used outside.
   */
  class: string
  /** What a token says of the version named, or of the head. It is the token's word, which no signature vouches for. */
  evidence?: TokenEvidence
}

/** What a token says of a version. */
export interface TokenEvidence {
  kid: string
  /** Of the half that is in the token. */
  class: string
  /** Whether it says that the key was made there and can never leave. */
  complete: boolean
  /** Slot, serial number, firmware and the attributes of the key, by name. */
  facts: Readonly<Record<string, string>>
  /** BLAKE3-256 of it in hex, as audit records have it. */
  b3: string
}

interface PublicDto {
  alg: Algorithm
  pubkey_b64: string
  pq?: { alg: Algorithm; pubkey_b64: string }
}

/** The answer to `create`. */
export interface CreatedDto {
  kid: string
  public: PublicDto
  audit?: AuditPosition
}

/** The answer to `rotate`. */
export interface RotatedDto {
  kid: string
  previous: string
  active_at?: string
  audit?: AuditPosition
}

/** The answer to `describe`. */
export interface DescribedDto extends CreatedDto {
  signs: 'message' | 'digest'
  head: string
  versions: string[]
  state: KeyState
  destroy_at?: string
  version_states: { version: string; state: KeyState; destroy_at?: string }[]
  created_ms: number
  pending?: { kid: string; active_at: string }
  policy_hints?: Record<string, string | number | boolean>
  attestation_class?: string
}

/** The answer to `list`. */
export interface ListedDto {
  keys: (Pick<DescribedDto, 'kid' | 'signs' | 'head' | 'state' | 'destroy_at' | 'created_ms'> & {
    alg: Algorithm
    newest: string
  })[]
  next?: string
}

/** The answer to `disable`, `enable`, `destroy` and `cancel_destroy`. */
export interface StateChangedDto {
  kid: string
  state: KeyState
  destroy_at?: string
  audit?: AuditPosition
}

/** The answer to `attest`. */
export interface AttestedDto {
  kid: string
  alg: Algorithm
  head: string
  versions: string[]
  created_ms: number
  class: string
  evidence?: TokenEvidence
}

export function toCreated({ kid, public: key, audit }: CreatedDto): CreatedKey {
  const { alg, pubkey_b64, pq } = key
  return {
    ...{ kid, alg, publicKey: fromBase64(pubkey_b64) },
    ...(pq && { pq: { alg: pq.alg, publicKey: fromBase64(pq.pubkey_b64) } }),
    ...(audit && { audit }),
  }
}

export function toRotated({ kid, previous, active_at, audit }: RotatedDto): RotatedKey {
  const activeAt = active_at === undefined ? {} : { activeAt: new Date(active_at) }
  return { kid, previous, ...activeAt, ...(audit && { audit }) }
}

export function toStateChange(dto: StateChangedDto): KeyStateChange {
  return { kid: dto.kid, ...toState(dto), ...(dto.audit && { audit: dto.audit }) }
}

function toState({ state, destroy_at }: Omit<StateChangedDto, 'kid'>): Omit<KeyStateChange, 'kid'> {
  return { state, ...(destroy_at !== undefined && { destroyAt: new Date(destroy_at) }) }
}

export function toDescription(dto: DescribedDto): KeyDescription {
  const { pending, policy_hints } = dto
  return {
    ...toCreated(dto),
    signs: dto.signs,
    head: versionNumber(dto.head),
    versions: dto.versions.map(versionNumber),
    ...toState(dto),
    versionStates: dto.version_states.map(each => ({
      version: versionNumber(each.version),
      ...toState(each),
    })),
    createdAt: new Date(dto.created_ms),
    ...(pending && { pending: { kid: pending.kid, activeAt: new Date(pending.active_at) } }),
    ...(policy_hints && { policyHints: policy_hints }),
    ...(dto.attestation_class !== undefined && { attestationClass: dto.attestation_class }),
  }
}

export function toPage({ keys, next }: ListedDto): KeyPage {
  return {
    keys: keys.map(dto => ({
      kid: dto.kid,
      alg: dto.alg,
      signs: dto.signs,
      head: versionNumber(dto.head),
      newest: versionNumber(dto.newest),
      ...toState(dto),
      createdAt: new Date(dto.created_ms),
    })),
    ...(next !== undefined && { next }),
  }
}

export function toAttestation(dto: AttestedDto): KeyAttestation {
  return {
    kid: dto.kid,
    alg: dto.alg,
    head: versionNumber(dto.head),
    versions: dto.versions.map(versionNumber),
    createdAt: new Date(dto.created_ms),
    class: dto.class,
    ...(dto.evidence && { evidence: dto.evidence }),
  }
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'base64'))
}

/** `#v3` is 3. */
function versionNumber(text: string): number {
  return Number(text.slice(2))
}
