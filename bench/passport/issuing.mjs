// Issuing: a token of the same claims by a key of the service, by jose and by fast-jwt.
import { generateKeyPairSync } from 'node:crypto'
import { createSigner } from 'fast-jwt'
import { importPKCS8, SignJWT } from 'jose'
import { Kms } from 'ron-kms'
import { PassportIssuer } from 'ron-kms/passport'
import { median } from '../lib/measure.mjs'
import { AUDIENCE, WISH } from './data.mjs'

const CALLS = 100

/** Measures and prints. */
export async function issuing(rounds) {
  const kms = await Kms.open({ backend: 'inmem' })
  const { kid } = await kms.createKey({ tenant: 'bench', purpose: 'passport', alg: 'ed25519' })
  const issuer = new PassportIssuer({ kms, key: kid.split('#')[0], issuer: 'bench' })
  const { privateKey } = generateKeyPairSync('ed25519')
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' })
  const joseKey = await importPKCS8(pem, 'EdDSA')
  const fast = createSigner({ key: pem, algorithm: 'EdDSA', kid })
  const claims = () => {
    const iat = Math.floor(Date.now() / 1000)
    return { ...WISH, iss: 'bench', kid, jti: crypto.randomUUID(), iat, exp: iat + 3600 }
  }
  const ways = {
    envelope: () => issuer.issue(WISH),
    token: () => issuer.issue({ ...WISH, format: 'jwt' }),
    jose: () => new SignJWT(claims()).setProtectedHeader({ alg: 'EdDSA', kid, typ: 'JWT' }).sign(joseKey),
    'fast-jwt': async () => fast(claims()),
  }
  const times = Object.fromEntries(Object.keys(ways).map(name => [name, []]))
  for (let round = -1; round < rounds; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const since = process.hrtime.bigint()
      for (let i = 0; i < CALLS; i++) await way()
      // The first one warms up.
      if (round >= 0) times[name].push(Number(process.hrtime.bigint() - since) / 1000 / CALLS)
    }
  }
  kms.close()
  console.log(`\nissuing for ${AUDIENCE} in process: microseconds a passport (medians)`)
  for (const [name, all] of Object.entries(times)) {
    const over =
      name === 'envelope'
        ? ''
        : `   envelope is ${(median(all) / median(times.envelope)).toFixed(1)}× as fast`
    console.log(`${name.padEnd(10)} ${median(all).toFixed(1).padStart(8)}${over}`)
  }
}
