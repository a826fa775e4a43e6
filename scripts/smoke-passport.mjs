// `npm run smoke:passport`: builds, starts svc-passport in development mode on a free port, and goes through what a
// client would do. `-- --url URL` tries one that runs already; its token is in PASSPORT_TOKEN.
import { spawn } from 'node:child_process'
import { parseArgs } from 'node:util'
import { build } from './build.mjs'
import { at } from './lib.mjs'

const { values: flags } = parseArgs({ options: { url: { type: 'string' } } })
const server = flags.url === undefined ? await start() : undefined
const url = server?.url ?? flags.url.replace(/\/+$/, '')
const token = server?.token ?? process.env.PASSPORT_TOKEN
console.log(`[INFO] target: ${url}`)

const checks = {
  'health, readiness, version': async () => {
    same((await ask('GET', '/healthz')).status, 200)
    same((await ask('GET', '/readyz')).json.ready, true)
    same((await ask('GET', '/version')).json.name, 'svc-passport')
  },
  'keys: JWKS with ETag, and by pages': async () => {
    const jwks = await ask('GET', '/.well-known/jwks.json')
    const [key] = jwks.json.keys
    same([key.kty, key.crv, key.alg, key.use], ['OKP', 'Ed25519', 'EdDSA', 'sig'])
    const again = await ask('GET', '/.well-known/jwks.json', undefined, { 'if-none-match': jwks.etag })
    same(again.status, 304)
    same((await ask('GET', '/v1/keys?after=0')).json.keys[0].kid.endsWith('#v1'), true)
  },
  issue: async () => {
    same((await ask('POST', '/v1/passport/issue', wish, { authorization: '' })).status, 401)
    const { kid, msg } = await issue()
    same(JSON.parse(Buffer.from(msg, 'base64url')).kid, kid)
  },
  'issue a JWT': async () => same((await issue({ ...wish, format: 'jwt' })).token.split('.').length, 3),
  'verify (single), envelope and JWT': async () => {
    for (const passport of [await issue(), await issue({ ...wish, format: 'jwt' })]) {
      const { json } = await ask('POST', '/v1/passport/verify', { ...passport, audience: 'service-a' })
      same([json.ok, json.claims.sub], [true, 'alice'])
    }
  },
  'verify (batch), in order': async () => {
    const good = { ...(await issue()), audience: 'service-a' }
    const batch = [good, { ...good, audience: 'service-b' }, {}, { ...good, scopes: ['admin'] }, good]
    const { json } = await ask('POST', '/v1/passport/verify_batch', batch)
    const verdicts = json.map(({ ok, reason }) => reason ?? ok)
    same(verdicts, [true, 'bad_aud', 'malformed', 'scope_denied', true])
  },
  'rotate: published first, then signs; old passports hold': async () => {
    const old = await issue()
    const { json } = await ask('POST', '/admin/rotate', { publish_ahead_s: 0 })
    const fresh = await issue()
    same([fresh.kid, json.previous], [json.kid, old.kid])
    const { json: verdict } = await ask('POST', '/v1/verify', { ...old, audience: 'service-a' })
    same(verdict.ok, true)
    const waiting = await ask('POST', '/v1/rotate', { publish_ahead_s: 600 })
    const { json: jwks } = await ask('GET', '/.well-known/jwks.json')
    same(jwks.keys[0].kid, waiting.json.kid)
    same((await issue()).kid, fresh.kid)
  },
  attest: async () => same((await ask('GET', '/admin/attest')).json.alg, 'Ed25519'),
  metrics: async () => {
    const { text } = await ask('GET', '/metrics')
    for (const name of ['ops_total', 'failures_total', 'op_latency_seconds', 'batch_len', 'requests_total'])
      same(text.includes(`passport_${name}`), true)
  },
  'tampered: refused, and undecodable is 400': async () => {
    const good = await issue()
    const other = await issue()
    const swapped = await ask('POST', '/v1/verify', { ...good, sig: other.sig, audience: 'service-a' })
    same([swapped.status, swapped.json.reason], [200, 'verify_failed'])
    same((await ask('POST', '/v1/verify', { ...good, sig: `${good.sig}==` })).status, 400)
    same((await ask('POST', '/v1/verify', '{"alg":"Ed25519","alg":"none"}')).status, 400)
  },
  'over limit: 413': async () => {
    const long = await ask('POST', '/v1/verify', { ...(await issue()), msg: 'A'.repeat(8000) })
    same([long.status, long.json.code, long.json.retryable], [413, 'TooLarge', false])
    same((await ask('POST', '/v1/verify_batch', Array(513).fill({}))).status, 413)
  },
}

const wish = { sub: 'alice', aud: ['service-a'], scopes: ['read:x'], ctx: { tenant: 't1' }, ttl_s: 600 }
let failed = 0
for (const [name, check] of Object.entries(checks)) {
  try {
    await check()
    console.log(`[ OK ] ${name}`)
  } catch (error) {
    failed += 1
    console.log(`[FAIL] ${name}: ${error.message}`)
  }
}
console.log(failed === 0 ? '[ OK ] all checks passed' : `[FAIL] ${failed} checks failed`)
await server?.stop()
process.exitCode = failed === 0 ? 0 : 1

async function ask(method, path, body, headers = {}) {
  const response = await fetch(url + path, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.startsWith('application/json') && text !== ''
  const etag = response.headers.get('etag') ?? ''
  return { status: response.status, text, etag, json: isJson ? JSON.parse(text) : undefined }
}

async function issue(what = wish) {
  const { status, json } = await ask('POST', '/v1/passport/issue', what)
  same(status, 200)
  return json
}

function same(actual, expected) {
  const [a, b] = [actual, expected].map(value => JSON.stringify(value))
  if (a !== b) throw new Error(`${a} is not ${b}`)
}

async function start() {
  await build()
  const args = [
    at('dist/cli/passport-main.js'),
    'serve',
    '--dev',
    '--bind',
    '127.0.0.1:0',
    '--log-level',
    'warn',
  ]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let banner = ''
  for await (const chunk of child.stdout) {
    banner += chunk
    if (banner.includes('WARNING: the token')) break
  }
  const [, url] = /^API +(http:\S+)\/v1\/passport$/m.exec(banner) ?? []
  const [, token] = /^Authorization: Bearer (\S+)$/m.exec(banner) ?? []
  if (!url || !token) throw new Error('svc-passport did not start')
  console.log(`[INFO] svc-passport started (pid ${child.pid})`)
  const stop = () =>
    new Promise(resolve => {
      child.once('exit', resolve)
      child.kill('SIGTERM')
      console.log(`[INFO] svc-passport stopped (pid ${child.pid})`)
    })
  return { url, token, stop }
}
