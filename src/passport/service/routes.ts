import { KmsError } from '../../errors.js'
import { canonicalJson } from '../../primitives/json.js'
import { Refusal } from '../../server/problem.js'
import type { PassportScope } from './auth.js'
import type { Custody } from './custody.js'
import { type IssuingParts, issue } from './issuing.js'
import type { KeyRing } from './key-ring.js'
import { type Published, toPublished } from './published.js'
import type { Rotation } from './rotation.js'
import type { Verifying } from './verifying.js'

/** What the routes work with. */
export interface RouteParts extends IssuingParts {
  readonly custody: Custody
  readonly ring: KeyRing
  readonly rotation: Rotation
  readonly verifying: Verifying
  readonly jwksTtlS: number
  readonly verifyRequiresCapability: boolean
  readonly log: { versionDistrusted(event: { version: number }): void }
}

/** What a route is asked. */
export interface Asked {
  /** Who shares a queue: the address of the peer. */
  readonly client: string
  readonly body: Uint8Array
  readonly query: (name: string) => string | undefined
  readonly header: (name: string) => string | undefined
}

/** An answer that is not an error; JSON unless it says otherwise. */
export interface Answered {
  readonly body: string | Uint8Array | null
  readonly status?: 200 | 304
  readonly headers?: Readonly<Record<string, string>>
}

/** One route under all of its paths. */
export interface Route {
  readonly method: 'GET' | 'POST'
  /** The first one is the label of metrics and logs. */
  readonly paths: readonly string[]
  readonly op: string
  /** What a capability must allow; none for an open route. */
  readonly scope: (parts: RouteParts) => PassportScope | undefined
  /** Which body is read, and so how large it may be. */
  readonly reads: 'nothing' | 'one' | 'batch'
  readonly answer: (parts: RouteParts, asked: Asked) => Answered | Promise<Answered>
}

const PAGE = 100

/** Every route of the API. */
export const ROUTES: readonly Route[] = [
  {
    method: 'POST',
    paths: ['/v1/passport/issue', '/v1/issue'],
    op: 'issue',
    scope: () => 'passport:issue',
    reads: 'one',
    answer: async (parts, { client, body }) => ({
      body: await parts.verifying.other(client, () => issue(parts, body)),
    }),
  },
  {
    method: 'POST',
    paths: ['/v1/passport/verify', '/v1/verify'],
    op: 'verify',
    scope: ({ verifyRequiresCapability }) => (verifyRequiresCapability ? 'any' : undefined),
    reads: 'one',
    answer: async ({ verifying }, { client, body }) => ({ body: await verifying.one(client, body) }),
  },
  {
    method: 'POST',
    paths: ['/v1/passport/verify_batch', '/v1/verify_batch'],
    op: 'verify_batch',
    scope: ({ verifyRequiresCapability }) => (verifyRequiresCapability ? 'any' : undefined),
    reads: 'batch',
    answer: async ({ verifying }, { client, body }) => ({ body: await verifying.batch(client, body) }),
  },
  {
    method: 'GET',
    paths: ['/.well-known/jwks.json'],
    op: 'keys',
    scope: () => undefined,
    reads: 'nothing',
    answer: ({ ring, jwksTtlS }, asked) => published(ring.jwks(), jwksTtlS, asked),
  },
  {
    method: 'GET',
    paths: ['/v1/keys'],
    op: 'keys',
    scope: () => undefined,
    reads: 'nothing',
    answer: keys,
  },
  {
    method: 'POST',
    paths: ['/admin/rotate', '/v1/rotate'],
    op: 'rotate',
    scope: () => 'passport:admin',
    reads: 'one',
    answer: rotate,
  },
  {
    method: 'GET',
    paths: ['/admin/attest', '/v1/attest'],
    op: 'attest',
    scope: () => 'passport:admin',
    reads: 'nothing',
    answer: async ({ custody, ring }) => {
      const { class: custodyClass, createdAt, versions, head } = await custody.attest()
      return json({
        kid: `${custody.key}#v${head}`,
        alg: 'Ed25519',
        current: `v${head}`,
        versions: versions.length,
        created_ms: createdAt.getTime(),
        class: custodyClass,
        ...(ring.pending && { pending: pendingOf(ring) }),
      })
    },
  },
  {
    method: 'POST',
    paths: ['/admin/distrust'],
    op: 'distrust',
    scope: () => 'passport:admin',
    reads: 'one',
    answer: distrust,
  },
]

function json(value: object): Answered {
  return { body: JSON.stringify(value) }
}

/** Something public that others keep for a while. */
function published({ text, etag }: Published, ttlS: number, { header }: Asked): Answered {
  const headers = { etag, 'cache-control': `public, max-age=${ttlS}`, 'access-control-allow-origin': '*' }
  const known = header('if-none-match')
    ?.split(',')
    .map(tag => tag.trim().replace(/^W\//, ''))
  if (known?.some(tag => tag === etag || tag === '*')) return { body: null, status: 304, headers }
  return { body: text, headers }
}

/** What `/v1/keys` says beside each set of published keys: it is not made again for each who asks. */
const LIVING = new WeakMap<Published, Published>()

/** Without `after` the living keys; with it, every key after a version, a page at a time. */
function keys({ ring, jwksTtlS }: RouteParts, asked: Asked): Answered {
  const after = asked.query('after')
  const common = { alg: 'Ed25519', current: ring.headKid, ...(ring.pending && { pending: pendingOf(ring) }) }
  const fields = JSON.stringify(common).slice(1, -1)
  if (after === undefined) {
    const jwks = ring.jwks()
    const all = LIVING.get(jwks) ?? toPublished(`{${fields},${jwks.text.slice(1)}`)
    LIVING.set(jwks, all)
    return published(all, jwksTtlS, asked)
  }
  const version = /^(?:.*#)?v?([0-9]{1,10})$/.exec(after)?.[1] ?? (after === '' ? '0' : undefined)
  if (version === undefined)
    throw new KmsError('BadRequest', 'must be a kid or a version', { field: 'after' })
  const { keys: page, next } = ring.page(Number(version), PAGE)
  const more = next === undefined ? '' : `,"next":"v${next}"`
  return published(toPublished(`{${fields},"keys":${page}${more}}`), jwksTtlS, asked)
}

function pendingOf({ pending }: KeyRing) {
  return pending && { kid: pending.kid, active_at: new Date(pending.activeAt).toISOString() }
}

/** `{publish_ahead_s?}`: how long the new version waits, where that is not what the settings say. */
async function rotate({ custody, rotation, ring }: RouteParts, { body }: Asked): Promise<Answered> {
  const { publish_ahead_s: ahead, ...rest } = fields(body)
  if (Object.keys(rest).length > 0) throw new Refusal('BadRequest', 'has a field that is not known')
  const isWhole =
    typeof ahead === 'number' && Number.isSafeInteger(ahead) && ahead >= 0 && ahead <= 31_622_400
  if (ahead !== undefined && !isWhole) {
    throw new KmsError('BadRequest', 'publish_ahead_s must be a whole number of seconds, at most a year')
  }
  const { kid, previous, activeAt } = await rotation.rotate(
    ahead === undefined ? undefined : Number(ahead) * 1000,
  )
  const attested = await custody.attest()
  return json({
    kid,
    previous,
    current: ring.headKid,
    ...(activeAt && { active_at: activeAt.toISOString() }),
    attest: { class: attested.class, versions: attested.versions.length },
  })
}

/** `{kid}`: the version is not trusted here from now on, and is disabled where the key is held. */
async function distrust({ custody, ring, log }: RouteParts, { body }: Asked): Promise<Answered> {
  const { kid, ...rest } = fields(body)
  const version =
    typeof kid === 'string' && kid.startsWith(`${custody.key}#v`) ? kid.split('#v')[1] : undefined
  if (typeof kid !== 'string' || !/^[1-9][0-9]{0,9}$/.test(version ?? '') || Object.keys(rest).length > 0) {
    throw new KmsError('BadRequest', 'must be {"kid"} with a version of the key of this service', {
      field: 'kid',
    })
  }
  ring.distrust(kid)
  log.versionDistrusted({ version: Number(version) })
  try {
    await custody.disable(kid)
  } catch (error) {
    // It was disabled before: that is what was wanted.
    if (!(error instanceof KmsError) || error.code !== 'Conflict') throw error
  }
  await ring.refresh()
  return json({ kid, distrusted: true })
}

/** The fields of a small body, or none where there is no body. */
function fields(body: Uint8Array): Record<string, unknown> {
  if (body.length === 0) return {}
  try {
    // Read strictly first: JSON.parse takes the last of two names.
    const value: unknown = JSON.parse(Buffer.from(canonicalJson(body)).toString())
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  } catch {
    // Refused below.
  }
  throw new KmsError('BadRequest', 'the body must be a JSON object')
}
