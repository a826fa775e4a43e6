// `svc-passport serve` and `ronctl passport` as processes.
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { start, TOKEN } from '../passport/support.js'

const at = (name: string) => fileURLToPath(new URL(`../../dist/cli/${name}`, import.meta.url))
const dir = mkdtempSync(join(tmpdir(), 'ron-kms-passport-cli-'))
afterAll(() => rmSync(dir, { recursive: true }))
const service = await start()
afterAll(() => service.close())

interface Run {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function run(script: string, args: string[], input = '', env: Record<string, string> = {}): Promise<Run> {
  return new Promise(resolve => {
    const options = { env: { PATH: process.env.PATH, ...env }, cwd: dir }
    const child = execFile(process.execPath, [at(script), ...args], options, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
    child.stdin?.end(input)
  })
}

const passport = (args: string[], input = '') =>
  run('ronctl.js', ['passport', ...args], input, { PASSPORT_URL: service.url, PASSPORT_TOKEN: TOKEN })

describe('ronctl passport', () => {
  it('mints, verifies and inspects, by the service and by its keys', async () => {
    const wish = [
      'mint',
      '--sub',
      'alice',
      '--aud',
      'service-a',
      '--scope',
      'read:x',
      '--ctx',
      '{"tenant":"t1"}',
    ]
    const envelope = await passport(wish)
    const token = await passport([...wish, '--jwt', '--ttl', '60'])
    const jwks = join(dir, 'jwks.json')
    writeFileSync(jwks, (await service.ask('GET', '/.well-known/jwks.json')).text)
    for (const { stdout } of [envelope, token]) {
      for (const where of [[], ['--jwks', jwks]]) {
        const good = await passport(['verify', '--audience', 'service-a', ...where], stdout)
        expect(good).toMatchObject({ code: 0, stdout: expect.stringContaining('"ok": true') })
        const bad = await passport(['verify', '--audience', 'service-b', ...where], stdout)
        expect(bad).toMatchObject({ code: 3, stdout: expect.stringContaining('bad_aud') })
      }
      const shown = JSON.parse((await passport(['inspect'], stdout)).stdout)
      expect(shown).toMatchObject({ verified: false, claims: { sub: 'alice', ctx: { tenant: 't1' } } })
      expect(Date.parse(shown.times.exp)).toBe(shown.claims.exp * 1000)
    }
  })

  it('rotates', async () => {
    const { code, stdout } = await passport(['rotate', '--publish-ahead', '0'])
    expect([code, JSON.parse(stdout).kid]).toEqual([0, `${service.key}#v2`])
  })

  it('says in one line what went wrong', async () => {
    const refused = await passport(['mint', '--sub', 'alice', '--aud', 'a', '--ttl', '-1'])
    expect(refused).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^ronctl: 400 BadRequest: .+\n$/),
    })
    const away = await passport(['rotate', '--url', 'http://127.0.0.1:1'])
    expect(away).toMatchObject({ code: 1, stderr: expect.stringContaining('does not answer') })
    expect((await passport(['inspect', 'x'])).code).toBe(1)
  })
})

describe('svc-passport serve', () => {
  it('refuses to start without --dev, and with settings at fault, and says why', async () => {
    const bare = await run('passport-main.js', ['serve'])
    expect(bare.code).toBe(78)
    expect(bare.stderr).toContain('config: capability.root_key_file = (empty)')
    expect(bare.stderr).toContain('config: root_key.file')
    const wrong = await run('passport-main.js', ['serve', '--dev'], '', { PASSPORT_MAX_BATCH: 'x' })
    expect(wrong).toMatchObject({ code: 78, stderr: expect.stringContaining('config: limits.max_batch = x') })
  })

  it('keeps its key, and goes on with it after a restart', async () => {
    const root = join(dir, 'root.key')
    expect((await run('ronctl.js', ['root-key', 'new', root])).code).toBe(0)
    const args = ['--backend', 'file', '--store-dir', join(dir, 'data'), '--root-key-file', root]
    const first = await serve(args)
    const wish = { sub: 'alice', aud: ['service-a'], scopes: [] }
    const envelope = await first.post('/v1/issue', wish)
    await first.post('/admin/rotate', { publish_ahead_s: 0 })
    expect(await first.stop()).toBe(0)
    const second = await serve(args)
    const verdict = await second.post('/v1/verify', { ...envelope, audience: 'service-a' })
    expect(verdict).toMatchObject({ ok: true })
    const { kid } = await second.post('/v1/issue', wish)
    expect(kid).toBe(String(envelope.kid).replace('#v1', '#v2'))
    expect(await second.stop()).toBe(0)
  })
})

async function serve(args: string[]) {
  const all = [at('passport-main.js'), 'serve', '--dev', '--bind', '127.0.0.1:0', ...args]
  const child = spawn(process.execPath, all, { stdio: ['ignore', 'pipe', 'pipe'] })
  let banner = ''
  let errors = ''
  child.stderr.on('data', chunk => {
    errors += chunk
  })
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', chunk => {
      banner += chunk
      if (banner.includes('WARNING: the token')) resolve()
    })
    child.once('exit', () => reject(new Error(`it ended: ${errors}`)))
  })
  const url = /^API +(\S+)\/v1\/passport$/m.exec(banner)?.[1] ?? ''
  const token = /^Authorization: Bearer (\S+)$/m.exec(banner)?.[1] ?? ''
  return {
    async post(path: string, body: object): Promise<Record<string, unknown>> {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
      const response = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) })
      return (await response.json()) as Record<string, unknown>
    },
    stop(): Promise<number | null> {
      return new Promise(resolve => {
        child.removeAllListeners('exit')
        child.once('exit', resolve)
        child.kill('SIGTERM')
      })
    },
  }
}
