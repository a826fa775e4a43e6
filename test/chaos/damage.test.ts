// Files that are not as they were written: a bit flipped, an end cut off, a file gone, swapped or put back from an older copy.
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, relative } from 'node:path'
import { type FileStoreOptions, Kms, type KmsError } from 'ron-kms'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { addonStatus } from '../../src/cli/addon.js'
import { asked, random, sample } from './cases.js'
import { Place } from './place.js'
import { isLeftOut, say } from './report.js'

const HOUR_MS = 3_600_000
const message = new TextEncoder().encode('a message')
const WISH = { tenant: 'core', purpose: 'damage', alg: 'ed25519' } as const
const OP_ID = '0b2e7c1e-5a1c-4a5e-9d58-0d4a4a0b2e7c'
/** Cases of each kind of damage in the short form. */
const FEW = 30

/** What a store is, to whoever uses it. */
type Seen = readonly (readonly [kid: string, publicKey: string, signature: string])[]

const cannotRun = !addonStatus().loaded || process.platform === 'win32'

describe.skipIf(cannotRun || isLeftOut('a damaged key store'))('a damaged key store', () => {
  let template: Place
  /** An hour ago, when it had one version less. */
  let older: Place
  let kids: string[]
  let before: Seen
  let files: readonly string[]

  beforeAll(async () => {
    template = Place.make()
    const kms = await open(template)
    kids = []
    for (let n = 0; n < 3; n++)
      kids.push((await kms.createKey({ ...WISH, opId: `${OP_ID.slice(0, -1)}${n}` })).kid)
    const gone = await kms.createKey(WISH)
    await kms.scheduleDestroy(gone.kid.split('#')[0] as string, { delayMs: 0 })
    kms.close()
    older = template.copy()
    const again = await open(template)
    kids.push((await again.rotateKey((kids[0] as string).split('#')[0] as string)).kid)
    again.close()
    before = await look(template)
    files = [...filesBelow(template, 'store'), ...filesBelow(template, 'beside')].filter(
      file => basename(file) !== 'lock',
    )
  })
  afterAll(() => {
    template.remove()
    older.remove()
  })

  /** The store of a copy, or why it is not opened or a key is not used. */
  async function look(place: Place): Promise<Seen> {
    const kms = await open(place)
    try {
      const seen: [string, string, string][] = []
      for (const kid of kids) {
        const { publicKey } = await kms.describeKey(kid)
        const isHead = kid !== kids[0]
        seen.push([kid, hex(publicKey), isHead ? hex(kms.sign(kid, message)) : ''])
      }
      return seen
    } finally {
      kms.close()
    }
  }

  /** What comes of a store that was damaged in this way: the message of the refusal, or `undefined` if nothing was noticed. */
  async function after(damage: (place: Place) => void): Promise<string | undefined> {
    const place = template.copy()
    try {
      damage(place)
      expect(await look(place)).toEqual(before)
      return undefined
    } catch (error) {
      const { code, message } = error as KmsError
      if (code === undefined) throw error
      expect(['Internal', 'StoreUnavailable'], message).toContain(code)
      expect(message).toMatch(/^[^\n]{10,200}$/)
      return message
    } finally {
      place.remove()
    }
  }

  /** Runs each case, and shows those after which nothing was noticed. */
  async function unnoticed<T>(
    title: string,
    all: readonly T[],
    damage: (place: Place, it: T) => void,
  ): Promise<readonly T[]> {
    const since = performance.now()
    const cases = asked.long ? all : sample(all, FEW, random(asked.seed))
    const missed: T[] = []
    for (const it of cases) if ((await after(place => damage(place, it))) === undefined) missed.push(it)
    say(`${title}: ${cases.length} of ${all.length} cases, ${missed.length} unnoticed`, since)
    return missed
  }

  it('has files of every kind', () => {
    const kinds = new Set(files.map(kindOf))
    expect([...kinds].sort()).toEqual(
      ['anchor', 'anchor.tombstones', 'answer', 'head', 'key', 'store', 'version'].sort(),
    )
  })

  it(
    'is refused after any flipped bit, and never gives another key',
    async () => {
      const next = random(asked.seed)
      const cases = files.flatMap(file =>
        Array.from(readFileSync(template.at(file)).keys(), byte => ({
          file,
          byte,
          bit: Math.floor(next() * 8),
        })),
      )
      const flip = (place: Place, { file, byte, bit }: (typeof cases)[number]) => {
        const bytes = readFileSync(place.at(file))
        bytes[byte] = (bytes[byte] as number) ^ (1 << bit)
        writeFileSync(place.at(file), bytes)
      }
      expect(await unnoticed('a flipped bit', cases, flip)).toEqual([])
    },
    HOUR_MS,
  )

  it(
    'is refused when a file is cut off anywhere',
    async () => {
      const cases = files.flatMap(file =>
        Array.from({ length: statSync(template.at(file)).size }, (_, length) => ({ file, length })),
      )
      const cut = (place: Place, { file, length }: (typeof cases)[number]) =>
        writeFileSync(place.at(file), readFileSync(place.at(file)).subarray(0, length))
      expect(await unnoticed('a file cut off', cases, cut)).toEqual([])
    },
    HOUR_MS,
  )

  it('is refused when a file is missing', async () => {
    // Not the answers: without its file an op_id was never used, which whoever can delete files can bring about.
    const cases = files.filter(file => kindOf(file) !== 'answer')
    expect(await unnoticed('a file missing', cases, (place, file) => rmSync(place.at(file)))).toEqual([])
  })

  it('is refused when two files of a kind change places', async () => {
    const pairs = files.flatMap(one =>
      files.filter(two => one < two && kindOf(one) === kindOf(two)).map(two => [one, two] as const),
    )
    expect(pairs.length).toBeGreaterThan(3)
    const swap = (place: Place, [one, two]: readonly [string, string]) => {
      const [first, second] = [readFileSync(place.at(one)), readFileSync(place.at(two))]
      writeFileSync(place.at(one), second)
      writeFileSync(place.at(two), first)
    }
    expect(await unnoticed('files swapped', pairs, swap)).toEqual([])
  })

  it('is refused when single files are put back from an older copy', async () => {
    const changed = files.filter(file => {
      const then = filesBelow(older, 'store').includes(file) || filesBelow(older, 'beside').includes(file)
      return then && !readFileSync(older.at(file)).equals(readFileSync(template.at(file)))
    })
    expect(changed.map(kindOf)).toContain('head')
    const unseen = await unnoticed('older files', changed, (place, file) =>
      cpSync(older.at(file), place.at(file)),
    )
    // An older anchor alone does no harm: it says less, and is brought up to date.
    expect(unseen.filter(file => kindOf(file) !== 'anchor')).toEqual([])
  })
})

async function open(place: Place): Promise<Kms> {
  const store = place.store() as unknown as FileStoreOptions
  return Kms.open({ backend: 'file', store: { ...store, create: true }, minDestroyDelayMs: 0 })
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

function filesBelow(place: Place, name: string): readonly string[] {
  const entries = readdirSync(place.at(name), { recursive: true, withFileTypes: true })
  return entries
    .filter(entry => entry.isFile())
    .map(entry => relative(place.dir, `${entry.parentPath}/${entry.name}`))
}

function kindOf(file: string): string {
  if (file.includes('/answers/')) return 'answer'
  return /\/v\d+$/.test(file) ? 'version' : basename(file)
}
