import type { NativePassport } from '../../../index.js'
import { KmsError } from '../../errors.js'
import type { KeyDescription } from '../../key-types.js'
import { toJwk } from '../jwks.js'
import type { Custody } from './custody.js'
import { type Published, toPublished } from './published.js'

/** A version as it is known here. Its key never changes, its state does. */
export interface KnownVersion {
  readonly version: number
  readonly kid: string
  readonly publicKey: Uint8Array
  /** The same as JSON: anybody may ask for it as often as he likes. */
  readonly jwk: string
  /** When it was found to sign no longer, in Unix milliseconds. */
  retiredAt?: number
  trusted: boolean
}

/** What a key ring needs to know. */
export interface KeyRingOptions {
  readonly custody: Custody
  readonly native: Pick<NativePassport, 'trust' | 'distrust'>
  /** How old what is known of states may be. */
  readonly ttlMs: number
  /** How long a passport may still live after its key was retired: the longest lifetime and the skew. */
  readonly afterlifeMs: number
  /** Kids that are never trusted. */
  readonly distrusted: readonly string[]
  /** Told when another version signs. */
  readonly onHead?: (version: number) => void
  readonly now?: () => number
}

/** Keys that are published as living at most: who rotates faster than passports expire publishes only the newest. */
const MOST_PUBLISHED = 128
/** How soon an unknown version, or a pending one that is late, may have us ask again. */
const ASK_AGAIN_MS = 250
/** Requests that wait for such an answer: a custody that does not answer must not hold more of them up. */
const MOST_SEEKING = 64

/**
 * The versions of the key: which one signs, which are trusted, which are published.
 *
 * A version that was learned is kept for ever, so verification goes on while the custody is away. States are asked for
 * again every TTL.
 */
export class KeyRing {
  readonly #options: KeyRingOptions
  readonly #versions = new Map<number, KnownVersion>()
  /** By settings, and by the kill switch. */
  #distrusted: ReadonlySet<string>
  readonly #killed = new Set<string>()
  #head = 0
  #headSince = 0
  #pending: { version: number; activeAt: number } | undefined
  #askedAt = Number.NEGATIVE_INFINITY
  #asking: Promise<void> | undefined
  #seeking = 0
  #timer: NodeJS.Timeout | undefined
  #interval: NodeJS.Timeout | undefined
  #published: { jwks: Published; until: number } | undefined
  /** Versions that are trusted, in order. */
  #ordered: KnownVersion[] | undefined
  #closed = false

  constructor(options: KeyRingOptions) {
    this.#options = options
    this.#distrusted = new Set(options.distrusted)
  }

  /** Learns the versions for the first time, and again every TTL; rejects where the first time is not possible. */
  async open(): Promise<void> {
    await this.#ask()
    this.#interval = setInterval(() => this.#askInBackground(), this.#options.ttlMs)
    this.#interval.unref()
  }

  /** The kid of the version that signs. */
  get headKid(): string {
    return this.#kid(this.#head)
  }

  get head(): number {
    return this.#head
  }

  /** The version that signs, with its key; none while it is not trusted, and so not published. */
  get signing(): KnownVersion | undefined {
    const known = this.#versions.get(this.#head)
    return known?.trusted ? known : undefined
  }

  /** When the head was first seen to sign, in Unix milliseconds. */
  get headSince(): number {
    return this.#headSince
  }

  /** Says when the head began to sign, where that is remembered from an earlier process. */
  remember(version: number, since: number): void {
    if (version === this.#head) this.#headSince = since
  }

  get pending(): { readonly kid: string; readonly activeAt: number } | undefined {
    return this.#pending && { kid: this.#kid(this.#pending.version), activeAt: this.#pending.activeAt }
  }

  /** Number of versions that are trusted. */
  get trusted(): number {
    let count = 0
    for (const { trusted } of this.#versions.values()) if (trusted) count += 1
    return count
  }

  /** Number of versions in the published set. */
  get publishedCount(): number {
    return this.#living().length
  }

  /** Looks for versions that a passport names and that are not known; at most a few times a second. */
  async find(): Promise<void> {
    if (this.#seeking === MOST_SEEKING) return
    const asking = this.#now() - this.#askedAt < ASK_AGAIN_MS ? this.#asking : this.#ask()
    this.#seeking += 1
    // Whoever asked is answered in either case: unknown is unknown.
    await asking?.catch(() => {})
    this.#seeking -= 1
  }

  /** Asks again at once: after a change. */
  async refresh(): Promise<void> {
    await this.#asking?.catch(() => {})
    await this.#ask()
  }

  /** Trusts a version no longer, at once and for as long as this process lives. */
  distrust(kid: string): void {
    this.#killed.add(kid)
    this.#drop(kid)
  }

  /** Other settings: what they name is trusted no longer, at once; what they name no longer is when it is asked for next. */
  setDistrusted(kids: readonly string[]): void {
    this.#distrusted = new Set(kids)
    for (const kid of kids) this.#drop(kid)
    this.#askInBackground()
  }

  #drop(kid: string): void {
    this.#options.native.distrust(kid)
    for (const known of this.#versions.values()) if (known.kid === kid) known.trusted = false
    this.#changed()
  }

  /**
   * The keys that verifiers need: pending, head, and those whose passports may still live. The same object until one of
   * them, the head or what is pending has changed.
   */
  jwks(): Published {
    const now = this.#now()
    if (!this.#published || this.#published.until <= now) {
      const living = this.#living()
      const ends = living
        .flatMap(({ retiredAt }) => retiredAt ?? [])
        .map(at => at + this.#options.afterlifeMs)
      this.#published = {
        jwks: toPublished(`{"keys":[${living.map(({ jwk }) => jwk)}]}`),
        until: Math.min(now + this.#options.ttlMs, ...ends),
      }
    }
    return this.#published.jwks
  }

  /** So many trusted versions after one, in order, as JSON. */
  page(after: number, limit: number): { keys: string; next: number | undefined } {
    this.#ordered ??= [...this.#versions.values()]
      .filter(({ trusted }) => trusted)
      .sort((a, b) => a.version - b.version)
    const all = this.#ordered
    // Versions count up from 1, so none after this one is before this place.
    let from = Math.min(after, all.length)
    while (from > 0 && (all[from - 1]?.version ?? 0) > after) from -= 1
    const page = all.slice(from, from + limit)
    const next = all.length > from + limit ? page.at(-1)?.version : undefined
    return { keys: `[${page.map(({ jwk }) => jwk)}]`, next }
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    clearInterval(this.#interval)
  }

  #now(): number {
    return (this.#options.now ?? Date.now)()
  }

  #kid(version: number): string {
    return `${this.#options.custody.key}#v${version}`
  }

  #living(): KnownVersion[] {
    const oldest = this.#now() - this.#options.afterlifeMs
    return [...this.#versions.values()]
      .filter(({ trusted, retiredAt }) => trusted && (retiredAt === undefined || retiredAt > oldest))
      .sort((a, b) => b.version - a.version)
      .slice(0, MOST_PUBLISHED)
  }

  #askInBackground(): void {
    this.#ask().catch(() => {})
  }

  #ask(): Promise<void> {
    this.#asking ??= this.#learn().finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  async #learn(): Promise<void> {
    // Also where it fails: an unreachable custody is not asked more often.
    this.#askedAt = this.#now()
    const described = await this.#options.custody.describe()
    for (const version of described.versions) {
      if (!this.#versions.has(version)) await this.#add(version, described)
    }
    if (!this.#closed) this.#apply(described)
  }

  async #add(version: number, head: KeyDescription): Promise<void> {
    const { kid, alg, publicKey, signs } =
      version === head.head ? head : await this.#options.custody.describe(version)
    if (alg !== 'ed25519' || signs !== 'message') {
      throw new KmsError('Unsupported', 'the key must be of Ed25519 and sign messages', { field: 'kms.key' })
    }
    const jwk = JSON.stringify(toJwk({ kid, publicKey }))
    this.#versions.set(version, { version, kid, publicKey, jwk, trusted: false })
  }

  #apply({ head, versionStates, pending }: KeyDescription): void {
    const now = this.#now()
    for (const { version, state } of versionStates) {
      const known = this.#versions.get(version)
      if (!known) continue
      const distrusted = this.#distrusted.has(known.kid) || this.#killed.has(known.kid)
      const trusted = state === 'enabled' && !distrusted
      if (trusted !== known.trusted) {
        if (trusted) this.#options.native.trust(known.kid, known.publicKey)
        else this.#options.native.distrust(known.kid)
        known.trusted = trusted
      }
      if (version < head) known.retiredAt ??= now
    }
    if (head !== this.#head) {
      this.#head = head
      this.#headSince = now
      this.#options.onHead?.(head)
    }
    this.#pending = pending && {
      version: Number(pending.kid.split('#v')[1]),
      activeAt: pending.activeAt.getTime(),
    }
    this.#changed()
    this.#schedule(now)
  }

  #changed(): void {
    this.#published = undefined
    this.#ordered = undefined
  }

  /** Has a pending version signing as soon as it may. */
  #schedule(now: number): void {
    clearTimeout(this.#timer)
    if (!this.#pending || this.#closed) return
    // By a clock that may be another machine's: what is due here and does not sign there is not asked for in a loop.
    const left = this.#pending.activeAt - now
    const wait = left > 0 ? left + 1 : ASK_AGAIN_MS
    this.#timer = setTimeout(() => this.#askInBackground(), Math.min(wait, 0x7fff_ffff))
    this.#timer.unref()
  }
}
