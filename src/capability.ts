/** Capabilities: tokens that say who may do what, and that their holders can narrow. */
import type {
  MintedToken,
  NativeCapabilities,
  NativeGrant,
  CapabilityOptions as NativeOptions,
} from '../index.js'
import { requireObject, requireString } from './bytes.js'
import { attempt, KmsError } from './errors.js'
import { requireNative } from './native.js'

/** What a capability can allow. */
export type Scope =
  | 'kms:read'
  | 'kms:sign'
  | 'kms:verify'
  | 'kms:wrap'
  | 'kms:unwrap'
  | 'kms:rotate'
  | 'kms:import'
  | 'kms:destroy'
  | 'kms:admin'
  | 'passport:issue'
  | 'passport:admin'

/** How capabilities are verified. */
export interface CapabilityOptions {
  /**
   * The file of the root keys: a line of 64 hex digits each, the newest last, which mints. `ronctl cap root-key new FILE`
   * makes one. Without it and without `rootKeyEnv` there is a fresh key in memory, for development.
   */
  readonly rootKeyFile?: string
  /** The name of the environment variable that holds them instead. */
  readonly rootKeyEnv?: string
  /** The list of revoked capabilities: an id a line. Looked at once a second; nobody is let in while it cannot be read. */
  readonly revocationFile?: string
  /** How far a clock may be off, in milliseconds; 2000 by default. */
  readonly skewMs?: number
  /** Requests a second of one capability, with all that was attenuated from it; no ceiling by default. */
  readonly maxRps?: number
  /** Whether `kms:read` also verifies; no by default. */
  readonly readMayVerify?: boolean
  /** Capabilities that may be minted on line in a minute, for each tenant; 60 by default. */
  readonly mintPerMinute?: number
  /** Capabilities minted on line that may be active, for each tenant; 10,000 by default. */
  readonly maxActive?: number
  /** The longest life of a capability that is minted on line, in seconds; a day by default. */
  readonly maxLifeS?: number
}

/** What a request needs, and where it comes from. */
export interface Asked {
  /** What it must allow; of several, all; of none, any token that is valid will do. */
  readonly scope: Scope | readonly Scope[]
  /** The address of the caller, as text; a capability that is for some addresses only is refused without one. */
  readonly ip?: string | undefined
}

/** Why somebody is not let in: see {@link CapabilityVerifier.check}. */
export type Denial =
  | 'Missing'
  | 'Invalid'
  | 'Revoked'
  | 'Scope'
  | 'Expired'
  | 'NotYet'
  | 'Address'
  | 'Rate'
  | 'Unavailable'

/** Who makes a request. */
export interface Caller {
  /** Names the capability in the audit context. */
  readonly actor: string
  /** The tenant that the capability is bound to, if it is bound to one. */
  readonly tenant?: string
  /** What the capability grants, for {@link CallContext.grant}: good for as long as this object is there. */
  readonly grant?: number
  /** Keeps the number good, and says which keys it covers. */
  readonly held?: Pick<NativeGrant, 'coversKey'>
}

/** Callers in one of two generations: what is in use stays, what is not goes. */
const GENERATION = 1024
const MOST = 0xffff_ffff

/**
 * Verifies capabilities in native code: the MAC, then scope, time, address and rate, in this order. What a capability
 * says of keys is checked by the key service, for which {@link Caller.grant} goes into the context of a call.
 */
export class CapabilityVerifier {
  readonly #native: NativeCapabilities
  readonly #denials: readonly Denial[]
  readonly #names: readonly string[]
  #young = new Map<number, Caller>()
  #old = new Map<number, Caller>()

  private constructor(native: NativeCapabilities) {
    const { capabilityRefusals, capabilityScopes } = requireNative()
    this.#native = native
    this.#denials = capabilityRefusals() as Denial[]
    this.#names = capabilityScopes()
  }

  /**
   * Reads the root keys into native memory, and the list of revoked capabilities.
   *
   * @throws KmsError `BadRequest`, naming the setting, where either cannot be read; `Unsupported` without a binary.
   */
  static open(options: CapabilityOptions = {}): CapabilityVerifier {
    const { NativeCapabilities } = requireNative()
    const native = nativeOptions(options)
    return new CapabilityVerifier(attempt(() => new NativeCapabilities(native)))
  }

  /**
   * The verifier of another thread of this process: with its root keys, revocations, rates and ceilings.
   *
   * @throws KmsError `NotFound` for a handle that was used, or whose verifier is gone.
   * @internal
   */
  static attach(handle: string): CapabilityVerifier {
    return new CapabilityVerifier(attempt(() => requireNative().attachCapabilities(handle)))
  }

  /**
   * What one other thread needs to {@link CapabilityVerifier.attach} itself, once.
   *
   * @internal
   */
  share(): string {
    return attempt(() => this.#native.share())
  }

  /**
   * Lets the bearer of an `Authorization` header in, or says why not. Takes about a microsecond for a token that was seen
   * before, and some more for one that was not.
   *
   * @throws KmsError `BadRequest`, naming the argument that is of another type or the scope that is none.
   */
  check(authorization: string | undefined, asked: Asked): Caller | Denial {
    if (authorization !== undefined) requireString(authorization, 'authorization')
    requireObject(asked, 'asked')
    const { scope, ip } = asked
    if (ip !== undefined) requireString(ip, 'ip')
    const bits = this.#bitsOf(scope)
    const number = attempt(() => this.#native.authenticate(authorization, ip, bits))
    if (number < 0) return this.#denials[-number - 1] ?? 'Invalid'
    const known = this.#young.get(number)
    if (known) return known
    const caller = this.#old.get(number) ?? toCaller(this.#native.granted())
    if (this.#young.size >= GENERATION) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(number, caller)
    return caller
  }

  /**
   * As {@link CapabilityVerifier.check}.
   *
   * @throws KmsError `NoCapability` for whoever is not let in, `Backpressure` over a rate, `StoreUnavailable` where
   * nobody knows what was revoked.
   */
  verify(authorization: string | undefined, asked: Asked): Caller {
    const found = this.check(authorization, asked)
    if (typeof found !== 'string') return found
    const code =
      found === 'Rate' ? 'Backpressure' : found === 'Unavailable' ? 'StoreUnavailable' : 'NoCapability'
    throw new KmsError(code, DENIALS[found])
  }

  /**
   * Mints a capability with the newest root key.
   *
   * @param name For people: it is part of the identifier in audit records.
   * @param caveats Such as `scope = kms:sign`; scope, tenant and exp are needed.
   * @throws KmsError `BadRequest`, naming the caveat that is at fault; `TooLarge`.
   */
  mint(name: string, caveats: readonly string[]): MintedToken {
    requireString(name, 'name')
    return attempt(() => this.#native.mint(name, [...caveats]))
  }

  /**
   * Reads the root keys again. What was minted with one that is gone is refused from now on.
   *
   * @throws KmsError `BadRequest` for a file that cannot be read; the keys that were in force stay then.
   */
  reload(): void {
    attempt(() => this.#native.reload())
  }

  /**
   * For the key service, which mints on line.
   *
   * @internal
   */
  get native(): NativeCapabilities {
    return this.#native
  }

  #bitsOf(scope: Scope | readonly Scope[]): number {
    let bits = 0
    for (const name of Array.isArray(scope) ? scope : [scope]) {
      const bit = this.#names.indexOf(name)
      if (bit < 0) throw new KmsError('BadRequest', 'is not a scope', { field: 'scope' })
      bits |= 1 << bit
    }
    return bits
  }
}

/** What whoever is not let in is told: nothing about a token that is not valid. */
export const DENIALS: Readonly<Record<Denial, string>> = {
  Missing: 'a valid bearer token is needed',
  Invalid: 'a valid bearer token is needed',
  Revoked: 'a valid bearer token is needed',
  Scope: 'the capability lacks the scope',
  Expired: 'the capability has expired',
  NotYet: 'the capability is not valid yet',
  Address: 'the capability is not for this address',
  Rate: 'the capability is used too often',
  Unavailable: 'nobody knows now which capabilities were revoked',
}

function toCaller(held: NativeGrant): Caller {
  const { actor, tenant, number: grant } = held
  return { actor, ...(tenant !== null && { tenant }), grant, held }
}

function nativeOptions(options: CapabilityOptions): NativeOptions {
  requireObject(options, 'options')
  const { rootKeyFile, rootKeyEnv, revocationFile, readMayVerify, skewMs = 2000 } = options
  for (const [field, text] of Object.entries({ rootKeyFile, rootKeyEnv, revocationFile })) {
    if (text !== undefined) requireString(text, field)
  }
  const { maxRps, mintPerMinute, maxActive, maxLifeS } = options
  for (const [field, number] of Object.entries({ skewMs, maxRps, mintPerMinute, maxActive, maxLifeS })) {
    const least = field === 'skewMs' ? 0 : 1
    if (number !== undefined && (!Number.isSafeInteger(number) || number < least || number > MOST)) {
      throw new KmsError('BadRequest', `must be a whole number from ${least}`, { field })
    }
  }
  return {
    skewMs,
    ...(rootKeyFile !== undefined && { rootKeyFile }),
    ...(rootKeyEnv !== undefined && { rootKeyEnv }),
    ...(revocationFile !== undefined && { revocationFile }),
    ...(maxRps !== undefined && { maxRps }),
    ...(mintPerMinute !== undefined && { mintPerMinute }),
    ...(maxActive !== undefined && { maxActive }),
    ...(maxLifeS !== undefined && { maxLifeS }),
    readMayVerify: readMayVerify === true,
  }
}
