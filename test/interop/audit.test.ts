// What the audit log hands out, accepted by strangers: a checker written from C2SP's text alone, and the packages that the
// go command trusts the checksum database with.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import {
  leafHash,
  openNote,
  parseCheckpoint,
  parseProof,
  parseVkey,
  rootOfPath,
  rootsOfPrefix,
  treeRoot,
} from '../support/c2sp.js'
import { part } from '../support/parts.js'

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const text = readFileSync(at('../vectors/kms/audit.json'), 'utf8')
const given = JSON.parse(text) as {
  keys: string[]
  records: { bytes: string; json: Record<string, unknown> }[]
  checkpoints: string[]
  inclusion: string[]
  consistency: string[]
}
const keys = given.keys.map(parseVkey)
const bytes = given.records.map(record => Buffer.from(record.bytes, 'hex'))
const leaves = bytes.map(leafHash)
const roots = leaves.map((_, last) => treeRoot(leaves.slice(0, last + 1)))

describe('a stranger who knows only C2SP and RFC 9162', () => {
  it('finds every checkpoint signed by both keys, over the root of its records', () => {
    expect(keys.map(({ type }) => type)).toEqual([1, 6])
    expect(given.checkpoints).toHaveLength(leaves.length)
    for (const [i, note] of given.checkpoints.entries()) {
      const { origin, size, root } = parseCheckpoint(openNote(note, keys))
      expect([origin, size, root.toString('hex')]).toEqual([
        'ron-kms/known-answers',
        i + 1,
        roots[i]?.toString('hex'),
      ])
    }
  })

  it('refuses a checkpoint in which anything was changed', () => {
    const note = given.checkpoints.at(-1) ?? ''
    for (const changed of [
      note.replace('\n1', '\n2'),
      note.replace('known', 'Known'),
      note.replace(/\n— .*\n/, '\n'),
      note.replace(/.(?==*\n$)/, last => (last === 'A' ? 'B' : 'A')),
    ]) {
      expect(changed).not.toBe(note)
      expect(() => openNote(changed, keys)).toThrow()
    }
  })

  it('is led from every record to the root of a checkpoint', () => {
    for (const [i, proof] of given.inclusion.entries()) {
      const { head, path, note } = parseProof(proof)
      expect(head).toEqual(['c2sp.org/tlog-proof@v1', `index ${i}`])
      const { size, root } = parseCheckpoint(openNote(note, keys))
      expect(rootOfPath(leaves[i] as Buffer, i, size, path)).toEqual(root)
      expect(rootOfPath(leafHash(Buffer.from('x')), i, size, path)).not.toEqual(root)
    }
  })

  it('is led from every earlier root to that of a checkpoint', () => {
    for (const [i, proof] of given.consistency.entries()) {
      const { head, path, note } = parseProof(proof)
      expect(head).toEqual([`old ${i + 1}`])
      const { size, root } = parseCheckpoint(openNote(note, keys))
      expect(rootsOfPrefix(i + 1, size, roots[i] as Buffer, path)).toEqual([roots[i], root])
    }
  })

  it('finds the leaf hash beside every record that is shown', () => {
    expect(given.records.map(({ json }) => json.leaf)).toEqual(leaves.map(leaf => leaf.toString('hex')))
  })
})

const go = part('go')

describe.skipIf(!go.available)('the packages that the go command trusts', () => {
  it('accept every checkpoint, record and prefix', { timeout: 120_000 }, () => {
    const dir = mkdtempSync(join(tmpdir(), 'ron-kms-go-'))
    try {
      const env = { ...process.env, GOFLAGS: '-mod=mod', GOPROXY: 'off', GOTOOLCHAIN: 'local', GOWORK: 'off' }
      const asked = execFileSync(go.path, ['env', 'GOROOT', 'GOVERSION'], { env }).toString().split('\n')
      const [root = '', version = ''] = asked
      // Their sources come with Go itself.
      const sumdb = join(root, 'src/cmd/vendor/golang.org/x/mod/sumdb')
      mkdirSync(join(dir, 'note'))
      for (const name of ['note', 'tlog']) cpSync(join(sumdb, name), join(dir, name), { recursive: true })
      // Older ones name the standard library's package by where it came from.
      const source = readFileSync(join(dir, 'note/note.go'), 'utf8')
      writeFileSync(
        join(dir, 'note/note.go'),
        source.replace('"golang.org/x/crypto/ed25519"', '"crypto/ed25519"'),
      )
      cpSync(at('fixtures/c2sp/main.go'), join(dir, 'main.go'))
      const language = /^go(\d+\.\d+)/.exec(version)?.[1]
      writeFileSync(join(dir, 'go.mod'), `module c2sp\n\ngo ${language}\n`)
      const printed = execFileSync(go.path, ['run', '.'], { cwd: dir, env, input: text }).toString()
      const count = leaves.length
      expect(printed).toBe(`accepted ${count} checkpoints, ${count} records, ${count} prefixes\n`)
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
})
