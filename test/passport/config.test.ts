import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { loadConfig, type Sources } from '../../src/passport/service/load.js'
import { KEYS, SCHEMA } from '../../src/passport/service/settings.js'

const dir = mkdtempSync(join(tmpdir(), 'ron-kms-passport-config-'))
afterAll(() => rmSync(dir, { recursive: true }))
const file = (name: string, text: string) => {
  writeFileSync(join(dir, name), text)
  return join(dir, name)
}
const load = (sources: Partial<Sources> = {}) => loadConfig({ env: {}, dev: true, ...sources })
const faults = (sources: Partial<Sources>) => load(sources).faults.map(({ key }) => key)

describe('the settings of svc-passport', () => {
  it('are those of the notes by default', () => {
    const { config } = load()
    expect(config).toMatchObject({
      bind_addr: { host: '127.0.0.1', port: 5307 },
      passport: { issuer: 'svc-passport', default_ttl_s: 3600, max_ttl_s: 86_400, clock_skew_s: 120 },
      verify: { target_batch: 64, max_batch: 256, max_wait_us: 500 },
      cache: { vk_ttl_s: 60, jwks_ttl_s: 60 },
      limits: { max_msg_bytes: 4096, max_batch: 512 },
      security: { require_aud: true },
    })
  })

  it('come from the TOML of the notes', () => {
    const configPath = file(
      'notes.toml',
      `[passport]
issuer = "issuer.example"
default_ttl_s = 60
max_ttl_s     = 120
clock_skew_s  = 5
[verify]
target_batch = 8
max_batch    = 16
max_wait_us  = 100
[cache]
vk_ttl_s = 1
jwks_ttl_s = 2
[limits]
max_msg_bytes = 2048
max_batch = 32
[security]
require_aud = false
`,
    )
    const { config } = load({ env: { PASSPORT_CONFIG_FILE: configPath } })
    expect(config?.passport).toEqual({
      issuer: 'issuer.example',
      default_ttl_s: 60,
      max_ttl_s: 120,
      clock_skew_s: 5,
    })
    expect(config?.limits).toMatchObject({ max_msg_bytes: 2048, max_batch: 32 })
    expect(config?.security.require_aud).toBe(false)
  })

  it('are taken from flags over environment over file', () => {
    const configPath = file(
      'order.json',
      '{"limits":{"max_batch":1,"max_msg_bytes":100},"passport":{"issuer":"f"}}',
    )
    const env = { PASSPORT_MAX_BATCH: '2', PASSPORT_MAX_MSG_BYTES: '200' }
    const { config } = load({ configPath, env, flags: { 'limits.max_batch': '3' } })
    expect([config?.limits.max_batch, config?.limits.max_msg_bytes, config?.passport.issuer]).toEqual([
      3,
      200,
      'f',
    ])
  })

  it('know older names of variables', () => {
    const { config, aliases } = load({
      env: { PASSPORT_BIND: '127.0.0.1:1', PASSPORT_CONFIG: file('e.toml', '') },
    })
    expect(config?.bind_addr.port).toBe(1)
    expect(aliases.map(({ old }) => old).sort()).toEqual(['PASSPORT_BIND', 'PASSPORT_CONFIG'])
  })

  it('are refused where anything is at fault, each by name', () => {
    const configPath = file('bad.toml', 'x = 1\n[limits]\nmax_batch = "many"\n[verify.deep]\ny = 1\n')
    const flags = { 'passport.clock_skew_s': '601', 'security.distrust': 'x' }
    expect(faults({ configPath, flags, env: { PASSPORT_NOPE: '1' } }).sort()).toEqual(
      [
        'PASSPORT_NOPE',
        'limits.max_batch',
        'passport.clock_skew_s',
        'security.distrust',
        'verify.deep',
        'x',
      ].sort(),
    )
  })

  it('may not contradict each other', () => {
    expect(faults({ flags: { 'passport.default_ttl_s': '90000' } })).toEqual(['passport.default_ttl_s'])
    expect(faults({ flags: { 'verify.target_batch': '300' } })).toEqual(['verify.target_batch'])
    expect(faults({ flags: { 'kms.url': 'http://127.0.0.1:1' } })).toEqual(['kms.capability_file', 'kms.key'])
    expect(faults({ dev: false })).toEqual(['root_key.file', 'capability.root_key_file'])
    expect(faults({ flags: { bind_addr: '127.0.0.1:1', admin_addr: '127.0.0.1:1' } })).toEqual(['admin_addr'])
    const key = 'a/b/ed25519/0b2e7c1e-0000-4000-8000-000000000001'
    expect(faults({ flags: { 'kms.key': key } })).toEqual(['kms.key'])
  })

  it('are not printed where one that is refused may have a password in it', () => {
    const env = { PASSPORT_KMS_URL: 'http://user:hunter2@host/' }
    const { faults } = load({ env })
    expect(faults.map(({ key }) => key)).toEqual(['kms.url'])
    expect(JSON.stringify(faults)).not.toContain('hunter2')
  })

  it('have a variable and a flag each, none twice', () => {
    const rows = KEYS.map(key => SCHEMA[key])
    for (const names of [rows.map(({ env }) => env), rows.map(({ flag }) => flag.split(' ')[0])]) {
      expect(new Set(names).size).toBe(KEYS.length)
    }
  })
})
