// One core, no HTTP: request bytes in, verdict bytes out, beside jose and fast-jwt verifying tokens of the same claims.
import { createPublicKey } from 'node:crypto'
import { createVerifier } from 'fast-jwt'
import { importJWK, jwtVerify } from 'jose'
import { PassportVerifier } from 'ron-kms/passport'
import { median } from '../lib/measure.mjs'
import { AUDIENCE, bodyOf, passports } from './data.mjs'
import { atLeast } from './promises.mjs'

/** What is promised of a batch of 64 under one key: how many times as fast, and what is aimed at. */
const PROMISES = { jose: [16, 25], 'fast-jwt': [14, 25] }
const SIZES = [1, 8, 64, 256, 512]
const ISSUER = 'bench'

/** Measures and prints; whether what is promised holds. */
export async function inProcess(rounds) {
  console.log('\nin process: microseconds a passport (medians), and how many times as fast')
  console.log('items  keys   envelopes   tokens     jose  fast-jwt   over jose  over fast-jwt')
  const ratios = {}
  for (const keyCount of [1, 64]) {
    for (const size of SIZES) {
      const times = await row(size, keyCount, rounds)
      const micros = Object.fromEntries(Object.entries(times).map(([name, all]) => [name, median(all)]))
      const over = name => median(times[name].map((time, i) => time / times.envelopes[i]))
      const cells = [String(size).padStart(5), String(keyCount).padStart(6)]
      const widths = { envelopes: 12, tokens: 9, jose: 9, 'fast-jwt': 10 }
      for (const [name, width] of Object.entries(widths)) cells.push(micros[name].toFixed(2).padStart(width))
      cells.push(`${over('jose').toFixed(1)}×`.padStart(12), `${over('fast-jwt').toFixed(1)}×`.padStart(15))
      console.log(cells.join(''))
      if (size !== 64 || keyCount !== 1) continue
      for (const name of Object.keys(PROMISES)) ratios[name] = over(name)
    }
  }
  console.log('')
  return Object.entries(PROMISES)
    .map(([name, limits]) => atLeast(`verify_batch of 64 in process, over ${name}`, ratios[name], ...limits))
    .every(Boolean)
}

async function row(size, keyCount, rounds) {
  const { envelopes, tokens, keys } = await passports(size, keyCount)
  const verifier = new PassportVerifier({ jwks: { keys } })
  const [bodies, tokenBodies] = [bodyOf(envelopes), bodyOf(tokens.map(token => ({ token })))]
  const joseKeys = new Map(await Promise.all(keys.map(async jwk => [jwk.kid, await importJWK(jwk, 'EdDSA')])))
  const pems = new Map(
    keys.map(jwk => [
      jwk.kid,
      createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'pem', type: 'spki' }),
    ]),
  )
  const options = { algorithms: ['EdDSA'], audience: AUDIENCE, issuer: ISSUER }
  const fast = {
    algorithms: ['EdDSA'],
    allowedAud: AUDIENCE,
    allowedIss: ISSUER,
    cache: false,
    complete: false,
  }
  // Its synchronous form takes one key: one verifier a key, chosen before the clock starts.
  const verifiers = new Map([...pems].map(([kid, key]) => [kid, createVerifier({ ...fast, key })]))
  const kidOf = token => JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid
  const fastItems = tokens.map(token => [verifiers.get(kidOf(token)), token])
  const ways = {
    envelopes: () => verifier.verifyBatchBody(bodies),
    tokens: () => verifier.verifyBatchBody(tokenBodies),
    jose: async () => {
      const claims = []
      for (const token of tokens) {
        const { payload } = await jwtVerify(token, ({ kid }) => joseKeys.get(kid), options)
        claims.push(payload)
      }
      return claims
    },
    'fast-jwt': () => fastItems.map(([verify, token]) => verify(token)),
  }
  await agree(ways)
  const times = Object.fromEntries(Object.keys(ways).map(name => [name, []]))
  const names = Object.keys(ways)
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(i + round) % names.length]
      times[name].push(await microsOf(ways[name], size, name))
    }
  }
  return times
}

/** Nobody is timed who does not give the same claims. */
async function agree(ways) {
  const ours = name => {
    const answers = JSON.parse(Buffer.from(ways[name]()).toString())
    return answers.map(({ ok, claims }) => ok && { ...claims, jti: '' })
  }
  const theirs = claims => claims.map(each => ({ ...each, jti: '' }))
  const sorted = all => JSON.stringify(all.map(each => Object.entries(each).sort()))
  // Tables are built after some successes.
  for (let i = 0; i < 600; i++) ways.envelopes()
  const answers = [ours('tokens'), theirs(await ways.jose()), theirs(ways['fast-jwt']())].map(sorted)
  const envelopes = sorted(ours('envelopes').map(each => ({ ...each, jti: '' })))
  // Issued one after the other, so a second may have passed between the two forms.
  const timeless = text => text.replaceAll(/\["(?:exp|iat)",\d+\]/g, '')
  if (new Set([...answers, envelopes].map(timeless)).size !== 1) throw new Error('the answers differ')
}

async function microsOf(way, size, name) {
  const calls = Math.max(1, Math.round((name === 'envelopes' || name === 'tokens' ? 4096 : 256) / size))
  const since = process.hrtime.bigint()
  for (let i = 0; i < calls; i++) {
    const answer = way()
    if (answer instanceof Promise) await answer
  }
  return Number(process.hrtime.bigint() - since) / 1000 / calls / size
}
