// Passports to verify: the same claims as envelopes and as tokens, under one key and under 64.
import { Kms } from 'ron-kms'
import { PassportIssuer } from 'ron-kms/passport'

export const AUDIENCE = 'service-a'
/** What each says. */
export const WISH = {
  sub: 'user-0b2e7c1e',
  aud: [AUDIENCE],
  scopes: ['read:reports', 'write:reports'],
  ctx: { tenant: 't1' },
}

/** `count` passports in both forms, over as many keys as asked for, in turn. */
export async function passports(count, keyCount) {
  const kms = await Kms.open({ backend: 'inmem' })
  const issuers = []
  for (let i = 0; i < keyCount; i++) {
    const { kid } = await kms.createKey({ tenant: 'bench', purpose: 'passport', alg: 'ed25519' })
    issuers.push(new PassportIssuer({ kms, key: kid.split('#')[0], issuer: 'bench' }))
  }
  const issue = format => i => issuers[i % keyCount].issue({ ...WISH, nonce: String(i), format })
  const indices = [...Array(count).keys()]
  const envelopes = await Promise.all(indices.map(issue('envelope')))
  const tokens = await Promise.all(indices.map(issue('jwt')))
  const sets = await Promise.all(issuers.map(issuer => issuer.jwks()))
  kms.close()
  return { envelopes, tokens, keys: sets.flatMap(({ keys }) => keys) }
}

/** The body of a batch, as it comes over HTTP. */
export const bodyOf = items =>
  Buffer.from(JSON.stringify(items.map(item => ({ ...item, audience: AUDIENCE }))))
