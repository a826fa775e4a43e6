// The rules that hold for the settings of every service, on a table of this test's own.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { integer, text } from '../../src/config/kinds.js'
import { mergeSettings, type SettingSources } from '../../src/config/merge.js'
import type { Setting } from '../../src/config/setting.js'

const dir = mkdtempSync(join(tmpdir(), 'ron-kms-merge-'))
afterAll(() => rmSync(dir, { recursive: true }))

const common = { rule: 'must fit', description: '' }
const rows = {
  'a.count': {
    ...common,
    env: 'T_COUNT',
    aliases: ['OLD_COUNT'],
    flag: '--count',
    kind: integer(0, 9),
    default: '1',
  },
  'a.word': { ...common, env: 'T_WORD', flag: '--word', kind: text('[a-z]*', 9), default: 'x', secret: true },
  secret_env: {
    ...common,
    env: 'T_SECRET_ENV',
    flag: '--secret-env',
    kind: text('[A-Z_]*', 20),
    default: '',
  },
} satisfies Record<string, Setting<unknown>>
type Key = keyof typeof rows
interface Config {
  readonly a: { readonly count: number; readonly word: string }
}

const table = {
  keys: Object.keys(rows) as Key[],
  rows: rows as Record<Key, Setting<unknown>>,
  absent: {
    'a.later': {
      env: 'T_LATER',
      rule: 'is not in this version',
      secret: true,
      holds: (v: string) => v === 'off',
    },
  },
  prefix: 'T_',
  fileVariable: { name: 'T_FILE', aliases: ['OLD_FILE'] },
  otherVariables: ['T_FILE'],
  secretVariables: ['secret_env'],
  devPreset: {},
} as const
const load = (sources: Partial<SettingSources<Key>>, more: Partial<typeof table> | object = {}) =>
  mergeSettings<Key, Config>({ ...table, ...more }, { env: {}, ...sources }, () => [])
const file = (name: string, content: string) => {
  writeFileSync(join(dir, name), content)
  return join(dir, name)
}

describe('settings', () => {
  it('are taken from flags over environment over file over defaults, and say where from', () => {
    const env = { T_COUNT: '3', T_FILE: file('order.toml', '[a]\ncount = 2\nword = "file"\n') }
    const { config, origins } = load({ env, flags: { 'a.count': '4' } })
    expect(config).toEqual({ a: { count: 4, word: 'file' }, secret_env: '' })
    expect(origins.get('a.count')).toEqual({ raw: '4', from: 'the command line' })
    expect(load({ env }).origins.get('a.count')).toEqual({ raw: '3', from: 'T_COUNT' })
    expect(Object.isFrozen(config?.a)).toBe(true)
  })

  it('of development mode stand above the environment, its defaults below the file', () => {
    const env = { T_COUNT: '3' }
    expect(load({ env, dev: true }, { devPreset: { 'a.count': '5' } }).config?.a.count).toBe(5)
    const devDefaults = { 'a.count': '6' }
    expect(load({ dev: true }, { devDefaults }).config?.a.count).toBe(6)
    expect(load({ dev: true, env }, { devDefaults }).config?.a.count).toBe(3)
    expect(load({ dev: false }, { devDefaults }).config?.a.count).toBe(1)
  })

  it('may be given by an older name, which is reported also where something else wins', () => {
    const { config, aliases } = load({ env: { OLD_COUNT: '7' }, flags: { 'a.count': '8' } })
    expect(config?.a.count).toBe(8)
    expect(aliases).toEqual([{ old: 'OLD_COUNT', name: 'T_COUNT' }])
  })

  it('that may hold a secret are hidden in their fault, whichever way they came', () => {
    const secret = 'NOT-A-WORD'
    const configPath = file('secret.json', JSON.stringify({ a: { word: secret, later: secret } }))
    for (const sources of [
      { flags: { 'a.word': secret }, env: { T_LATER: secret } },
      { env: { T_WORD: secret, T_LATER: secret } },
      { configPath },
    ]) {
      const { faults } = load(sources)
      expect(faults.map(({ key }) => key)).toEqual(['a.word', 'a.later'])
      expect(JSON.stringify(faults)).not.toContain(secret)
    }
  })

  it('are refused by names that nobody knows, but for variables that settings name', () => {
    const env = { T_NOPE: '1', T_PIN: 'x', OTHER: 'y' }
    expect(load({ env }).faults.map(({ key }) => key)).toEqual(['T_NOPE', 'T_PIN'])
    expect(load({ env, flags: { secret_env: 'T_PIN' } }).faults.map(({ key }) => key)).toEqual(['T_NOPE'])
  })

  it('without a feature are refused, unless they ask for what is so anyway', () => {
    expect(load({ env: { T_LATER: 'on' } }).faults.map(({ key }) => key)).toEqual(['a.later'])
    expect(load({ env: { T_LATER: 'off' } }).faults).toEqual([])
  })

  it('are looked at together only once each is right', () => {
    const whole = () => [{ key: 'a', value: 'b', rule: 'contradicts' }]
    const judged = (flags: Partial<Record<Key, string>>) =>
      mergeSettings<Key, Config>(table, { env: {}, flags }, whole).faults.map(({ key }) => key)
    expect(judged({})).toEqual(['a'])
    expect(judged({ 'a.count': 'x' })).toEqual(['a.count'])
  })
})
