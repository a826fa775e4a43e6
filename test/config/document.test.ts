// The table of settings as a file and as a page.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { settingsFile, settingsPage } from '../../src/config/document.js'
import { loadConfig } from '../../src/config/load.js'
import { KEYS } from '../../src/config/schema.js'

let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'ron-kms-document-'))
})
afterAll(() => rmSync(dir, { recursive: true }))

function load(text: string) {
  const configPath = join(dir, 'kms.toml')
  writeFileSync(configPath, text)
  return loadConfig({
    configPath,
    env: {},
    flags: { 'root_key.file': 'root.key', 'capability.root_key_env': 'ROOT' },
  })
}

describe('the file', () => {
  it('changes nothing as it is', () => {
    const loaded = load(settingsFile())
    expect(loaded.faults).toEqual([])
    expect(KEYS.filter(key => loaded.origins.get(key)?.from === 'the file')).toEqual([])
  })

  it('has every setting with its default, to be taken by removing one character', () => {
    const loaded = load(settingsFile().replace(/^#(?=\S)/gm, ''))
    expect(loaded.faults).toEqual([])
    expect(KEYS.filter(key => loaded.origins.get(key)?.from === 'default')).toEqual([])
    expect(loaded.config).toEqual(load('').config)
  })
})

describe('the page', () => {
  it('is the one that is committed', () => {
    const path = fileURLToPath(new URL('../../docs/configuration.md', import.meta.url))
    expect(readFileSync(path, 'utf8')).toBe(settingsPage())
  })

  it('names every setting', () => {
    const page = settingsPage()
    for (const key of KEYS) expect(page).toContain(`| \`${key.split('.').at(-1)}\` |`)
  })
})
