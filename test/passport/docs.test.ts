// The 15 lines of docs/passport.md, as a new user runs them: a service that is guarded, and keys that rotate under it.
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { start } from './support.js'

const root = new URL('../../', import.meta.url)
const service = await start({ 'cache.jwks_ttl_s': '10' })
afterAll(() => service.close())

it('guards a route in 15 lines', async () => {
  const [, snippet = ''] =
    /```js\n([\s\S]*?)```/.exec(readFileSync(new URL('docs/passport.md', root), 'utf8')) ?? []
  expect(snippet.trim().split('\n').length).toBeLessThanOrEqual(15)
  const port = 20_000 + (process.pid % 20_000)
  // In the repository, so that the package finds itself by its name.
  mkdirSync(new URL('test/.parts/', root), { recursive: true })
  const script = fileURLToPath(new URL(`test/.parts/guard-${process.pid}.mjs`, root))
  writeFileSync(script, snippet.replace('http://127.0.0.1:5307', service.url).replace('8080', String(port)))
  const child = spawn(process.execPath, [script], { stdio: 'inherit' })
  try {
    const get = async (headers: Record<string, string>) => {
      const response = await fetch(`http://127.0.0.1:${port}/reports/today`, { headers })
      return [response.status, await response.json()]
    }
    const bearing = async (token: string) => get({ authorization: `Bearer ${token}` })
    await expect.poll(() => get({}), { timeout: 10_000 }).toMatchObject([401, { code: 'NoCapability' }])
    const token = await service.token()
    expect(await bearing(token)).toEqual([200, { hello: 'alice' }])
    expect(await bearing(await service.token({ scopes: [] }))).toMatchObject([403, {}])
    await service.ask('POST', '/admin/rotate', {})
    const fresh = await service.token()
    await expect.poll(() => bearing(fresh), { timeout: 15_000 }).toEqual([200, { hello: 'alice' }])
    expect(await bearing(token)).toEqual([200, { hello: 'alice' }])
    await service.ask('POST', '/admin/distrust', { kid: `${service.key}#v1` })
    await expect.poll(() => bearing(token), { timeout: 15_000 }).toMatchObject([401, {}])
  } finally {
    child.kill()
    rmSync(script)
  }
}, 60_000)
