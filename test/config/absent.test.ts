// Settings that the product has a name for and this version no feature.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ABSENT } from '../../src/config/absent.js'
import { formatFault } from '../../src/config/faults.js'
import { loadConfig, type Sources } from '../../src/config/load.js'
import { OTHER_VARIABLES, SCHEMA } from '../../src/config/schema.js'

let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-absent-'))
})
afterAll(() => rmSync(dir, { recursive: true }))

const faults = (sources: Partial<Sources>) =>
  loadConfig({ dev: true, env: {}, ...sources }).faults.map(formatFault)

function inFile(text: string): string[] {
  const configPath = join(dir, 'kms.toml')
  writeFileSync(configPath, text)
  return faults({ configPath })
}

describe('the table', () => {
  it('shares no name with what there is', () => {
    const names = (rows: Record<string, { env: string; aliases?: readonly string[] }>) =>
      Object.entries(rows).flatMap(([key, { env, aliases = [] }]) => [key, env, ...aliases])
    const there = new Set([...names(SCHEMA), ...OTHER_VARIABLES])
    expect(names(ABSENT).filter(name => there.has(name))).toEqual([])
  })
})

describe('a setting that is not in this version', () => {
  it.each(Object.keys(ABSENT))('is refused with its own rule, wherever it is given: %s', key => {
    const { env, rule, aliases = [], secret } = ABSENT[key] ?? { env: '', rule: '' }
    const line = `config: ${key} = ${secret ? '(not shown)' : 'no-such-value'}: ${rule}`
    expect(inFile(`${key} = "no-such-value"`)).toEqual([line])
    for (const name of [env, ...aliases]) expect(faults({ env: { [name]: 'no-such-value' } })).toEqual([line])
  })

  it('is taken where its value asks for what is so anyway', () => {
    expect(
      inFile(
        [
          '[security]',
          'sign_rate_limit_rps = 0',
          '[entropy_time]',
          'rng_reseed_interval_ops = 200000',
          '[observability]',
          'redact_level = "hashes"',
          'log_inputs = false',
          'correlation_id_mode = "uuidv7"',
          '[backends.file]',
          'aead = "chacha20poly1305"',
        ].join('\n'),
      ),
    ).toEqual([])
    expect(faults({ env: { RON_KMS_LOG_INPUTS: '0', RON_KMS_MULTI_BACKENDS: ' inmem ' } })).toEqual([])
  })

  it('is not taken for a feature that it turns on', () => {
    for (const [key, value] of [
      ['entropy_time.rng_reseed_interval_ops', '0'],
      ['observability.log_inputs', 'true'],
      ['backends.file.kdf', '"scrypt"'],
    ]) {
      expect(inFile(`${key} = ${value}`)).toEqual([expect.stringContaining(`config: ${key} = `)])
    }
  })

  it('may name the derivation that the root key has', () => {
    const flags = { 'root_key.kind': 'passphrase', 'root_key.env': 'X' } as const
    expect(faults({ flags, env: { RON_KMS_FILE_KDF: 'scrypt' } })).toEqual([])
    expect(faults({ flags, env: { RON_KMS_FILE_KDF: 'age' } })).toHaveLength(1)
  })
})
