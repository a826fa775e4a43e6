// What is sent: the single routes of the throughput rows, and the mixes.
import { requestBytes } from './load.mjs'

const B3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24'
/** Bodies are padded to this with spaces after the object, which JSON allows. */
const BODY_BYTES = 300
const pad = body => JSON.stringify(body).padEnd(BODY_BYTES, ' ')

/** Keys and requests for one tenant. */
export async function prepare(kms, tenant) {
  const { port, token, call } = kms
  const { kid } = await call('/keys', { tenant, purpose: 'bench', alg: 'ed25519' })
  const hybrid = await call('/keys', { tenant, purpose: 'hybrid', alg: 'hybrid' })
  const kem = await call('/keys', { tenant, purpose: 'kem', alg: 'hybrid' })
  const signBody = { kid_or_set: { kid: kid.split('#')[0] }, payload_b3: B3 }
  const { sigs } = await call('/sign', signBody)
  const verifyBody = { kid, payload_b3: B3, sigs }
  const bytes = (path, body) => requestBytes({ port, token, path: `/v1/kms${path}`, body })
  const of = (kind, path, body) => ({ kind, body, bytes: bytes(path, body) })
  const hybridBody = {
    kid_or_set: { kid: hybrid.kid.split('#')[0] },
    payload_b3: B3,
    policy: { produce_hybrid: true },
  }
  return {
    sign_hybrid: of('sign_hybrid', '/sign', pad(hybridBody)),
    sign: of('sign', '/sign', pad(signBody)),
    verify: of('verify', '/verify', pad(verifyBody)),
    verify_batch: of('verify_batch', '/verify_batch', Array(64).fill(verifyBody)),
    wrap: of('wrap', '/wrap', { kid: kem.kid, size: 32 }),
    rotate: of('rotate', `/keys/${encodeURIComponent(kid.split('#')[0])}/rotate`, {}),
  }
}

/** Gives requests in the shares of a mix, evenly spread: `[[request, share], …]`. */
export function mixed(shares) {
  const owed = shares.map(() => 0)
  return () => {
    let most = 0
    for (let i = 0; i < shares.length; i += 1) {
      owed[i] += shares[i][1]
      if (owed[i] > owed[most]) most = i
    }
    owed[most] -= 1
    return shares[most][0]
  }
}

/** The same request as another kind, for what is reported apart. */
export const named = (kind, request) => ({ ...request, kind })
