// `ronctl audit`, on logs that were written without our Rust.
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { slh_dsa_sha2_128f } from '@noble/post-quantum/slh-dsa.js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addonStatus } from '../../src/cli/addon.js'
import { barLine } from '../../src/cli/audit/bar.js'
import type { AuditReport } from '../../src/cli/audit/verify.js'
import { auditCommand } from '../../src/cli/audit.js'
import {
  checkpointNote,
  ed25519Of,
  ed25519Signer,
  LogWriter,
  mlDsaSigner,
  ORIGIN,
  type Track,
} from '../support/audit-log.js'
import { leafHash, openNote, parseProof, parseVkey, rootOfPath, rootsOfPrefix } from '../support/c2sp.js'
import { runCommandAsync } from '../support/command.js'

const ronctl = fileURLToPath(new URL('../../dist/cli/ronctl.js', import.meta.url))

let root: string
let dir: string
let children: ChildProcess[]

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'ron-kms-audit-'))
  dir = join(root, 'log')
  children = []
})

afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(root, { recursive: true })
})

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

function start(...argv: string[]) {
  const child = spawn(process.execPath, [ronctl, 'audit', ...argv], { stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  const out = { stdout: '', stderr: '' }
  child.stdout.on('data', chunk => {
    out.stdout += chunk
  })
  child.stderr.on('data', chunk => {
    out.stderr += chunk
  })
  const ended: Promise<Ended> = once(child, 'close').then(([code]) => ({ code, ...out }))
  return { child, ended, out }
}

/** In a process of its own, which commander may end. */
const spawned = (...argv: string[]) => start(...argv).ended

/** In this process. */
async function run(...argv: string[]): Promise<Ended> {
  const { status: code, ...written } = await runCommandAsync(auditCommand(), argv)
  return { code, ...written }
}

const verify = async (...argv: string[]) => {
  const { code, stdout, stderr } = await run('verify', dir, ...argv)
  const lines = stdout.trimEnd().split('\n')
  return { code, stderr, lines, last: lines.at(-1) ?? '' }
}

const report = async (...argv: string[]) =>
  JSON.parse((await run('verify', dir, '--json', ...argv)).stdout) as AuditReport

const jsonLines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as { seq: number; kind: string; request_id: string; leaf: string })

/** Two checkpoints, and `after` records that none covers yet. */
function log(records = 6, after = 2, signers = [ed25519Signer(1)]): LogWriter {
  const written = new LogWriter(signers)
  for (let i = 0; i < records; i++) {
    written.operation(`r-${i}`)
    if (i === 2) written.checkpoint()
  }
  written.checkpoint()
  for (let i = 0; i < after; i++) written.operation(`after-${i}`)
  written.write(dir)
  return written
}

function flip(file: string, offset: number): void {
  const path = join(dir, file)
  const bytes = readFileSync(path)
  bytes[offset] = (bytes[offset] ?? 0) ^ 1
  writeFileSync(path, bytes)
}

const native = describe.skipIf(!addonStatus().loaded)

native('ronctl audit verify', () => {
  it('finds a log intact that a stranger wrote, and says what is signed', async () => {
    const written = log(6, 2, [ed25519Signer(1), mlDsaSigner(2)])
    const { code, lines, last, stderr } = await verify()
    expect(code).toBe(0)
    expect(lines.slice(0, 2)).toEqual(written.signers.map(({ vkey }) => `signed by     ${vkey}`))
    const hash = written.root().toString('hex')
    expect(last).toBe(`intact: 9 records, 7 covered by the last of 2 checkpoints; root ${hash}`)
    expect(stderr).toBe('')
  })

  it('reads on through many segments', async () => {
    const written = new LogWriter([ed25519Signer(1)])
    for (let i = 0; i < 3000; i++) written.operation(`r-${i}`, 'x'.repeat(200))
    written.checkpoint()
    written.write(dir)
    expect(new Set(written.places.map(({ file }) => file)).size).toBeGreaterThan(3)
    expect(await report()).toMatchObject({ outcome: 'intact', size: 3001, covered: 3001, exit_code: 0 })
  })

  it('names the record in which a bit was changed, with its file and byte: 4', async () => {
    const { places } = log()
    for (const [seq, { file, offset }] of places.entries()) {
      flip(file, offset + 20)
      const { code, last } = await verify()
      expect(code).toBe(4)
      expect(last).toBe(
        `damaged: record ${seq} (${file}, byte ${offset}): the record is not as it was written`,
      )
      flip(file, offset + 20)
    }
    expect((await verify()).code).toBe(0)
  })

  it('tells a header, a missing segment and a record out of its place from each other: 4', async () => {
    const written = new LogWriter([ed25519Signer(1)])
    for (let i = 0; i < 2000; i++) written.operation(`r-${i}`, 'x'.repeat(200))
    written.checkpoint()
    written.write(dir)
    flip('log-00000001', 4090)
    expect((await report()).first_bad).toMatchObject({
      file: 'log-00000001',
      offset: 0,
      why: 'the segment header is not as it was written',
    })
    rmSync(join(dir, 'log-00000001'))
    expect((await report()).first_bad?.why).toBe('the segment after this one is missing')
    rmSync(join(dir, 'log-00000000'))
    expect((await verify()).code).toBe(4)

    const twice = new LogWriter([ed25519Signer(1)])
    twice.operation('a')
    twice.operation('b', 'test', 1)
    twice.write(dir)
    expect((await report()).first_bad).toMatchObject({ seq: 2, why: 'the record is out of sequence' })
  })

  it('tells a torn end, as a crash leaves it, from damage: 3', async () => {
    const { places } = log()
    const { file, offset } = places.at(-1) ?? { file: '', offset: 0 }
    truncateSync(join(dir, file), offset + 30)
    const { code, last } = await verify()
    expect(code).toBe(3)
    expect(last).toMatch(new RegExp(`^torn at its end: record 8 \\(${file}, byte ${offset}\\): `))
    truncateSync(join(dir, file), (places[3]?.offset ?? 0) + 30)
    expect((await verify()).code).toBe(4)
  })

  it('tells a torn checkpoint from a changed one: 3, and 4', async () => {
    log()
    const path = join(dir, 'checkpoints')
    truncateSync(path, statSync(path).size - 9)
    expect(await verify()).toMatchObject({ code: 3 })
    log()
    flip('checkpoints', 30)
    const { code, last } = await verify()
    expect([code, last]).toEqual([4, 'damaged: checkpoints, byte 0: the checkpoint is not as it was written'])
  })

  it('refuses checkpoints that say what the records do not: 5', async () => {
    const forged = async (change: (log: LogWriter) => void) => {
      const written = new LogWriter([ed25519Signer(1)])
      written.operation('a')
      change(written)
      written.write(dir)
      const { exit_code: code, first_bad: bad } = await report()
      return [code, bad?.why]
    }
    const zero = Buffer.alloc(32)
    const signers = [ed25519Signer(1)]
    expect(await forged(it => it.checkpoint(checkpointNote(signers, 2, zero)))).toEqual([
      5,
      'the checkpoint has another root than the records',
    ])
    expect(await forged(it => it.checkpoint(checkpointNote(signers, 3, zero)))).toEqual([
      5,
      'the checkpoint covers more records than there are',
    ])
    expect(await forged(it => it.checkpoint(checkpointNote([ed25519Signer(9)], 2, it.root())))).toEqual([
      5,
      'the checkpoint is not signed by the audit key',
    ])
    const other = 'ron-kms/other'
    const note = (it: LogWriter) => checkpointNote([ed25519Signer(1, other)], 2, it.root(), other)
    expect(await forged(it => it.checkpoint(note(it)))).toEqual([5, 'the checkpoint is of another log'])
  })

  it('holds the log to checkpoints that were kept: 5', async () => {
    const written = log()
    const file = (name: string, note: string) => {
      writeFileSync(join(root, name), note)
      return join(root, name)
    }
    const signers = [ed25519Signer(1)]
    const good = [3, 7].map(size => file(`${size}`, checkpointNote(signers, size, written.root(size))))
    const kept = good.flatMap(path => ['--checkpoint', path])
    expect(await verify(...kept)).toMatchObject({ code: 0 })
    const wrong = [
      [checkpointNote(signers, 3, written.root(4)), 'at 3 records the log has another root'],
      [checkpointNote(signers, 10, written.root()), 'it has 10 records, and the log 9'],
      [
        checkpointNote([ed25519Signer(2)], 3, written.root(3)),
        'the checkpoint is not signed by the audit key',
      ],
    ] as const
    for (const [note, why] of wrong) {
      const { code, last } = await verify(...kept, '--checkpoint', file('wrong', note))
      expect([code, last]).toEqual([5, `a checkpoint does not hold: kept checkpoint, byte 0: ${why}`])
    }
    expect((await verify('--checkpoint', file('no-note', 'x'))).code).toBe(2)
    expect((await verify('--checkpoint', join(root, 'missing'))).code).toBe(1)
  })

  it('finds a log that was rewritten whole only by what somebody kept', async () => {
    const before = log()
    writeFileSync(join(root, 'kept'), checkpointNote(before.signers, 7, before.root(7)))
    const seen = `9:${before.root().toString('hex')}`
    // The same key, as whoever stole it and the disk would have it.
    const other = new LogWriter([ed25519Signer(1)])
    for (let i = 0; i < 9; i++) other.operation('forged')
    other.checkpoint()
    other.write(dir)
    expect((await verify('--key', ed25519Signer(1).vkey)).code).toBe(0)
    expect((await verify('--checkpoint', join(root, 'kept'))).code).toBe(5)
    expect(await verify('--seen', seen)).toMatchObject({
      code: 7,
      last: "behind what was seen of it: record 9 (log-00000000, byte 0): another root at the anchor's size",
    })
  })

  it('holds the log to what was seen of it: 7', async () => {
    const written = log()
    const of = (size: number) => `${size}:${written.root(Math.min(size, 9)).toString('hex')}`
    expect((await verify('--seen', of(9))).code).toBe(0)
    expect((await verify('--seen', of(4))).code).toBe(0)
    expect(await verify('--seen', of(10))).toMatchObject({ code: 7 })
    for (const bad of ['9', '9:00', `x:${'0'.repeat(64)}`, `9:${'A'.repeat(64)}`, `${of(9)}:1`]) {
      expect((await verify('--seen', bad)).code).toBe(2)
    }
  })

  it('follows a change of audit keys, and trusts those before and those after it', async () => {
    const [old, next] = [ed25519Signer(1), ed25519Signer(2)]
    const written = new LogWriter([old])
    written.checkpoint()
    written.changeKeys([next])
    written.operation('a')
    written.checkpoint()
    written.write(dir)
    expect(await report()).toMatchObject({ outcome: 'intact', keys: [next.vkey] })
    expect((await verify('--key', old.vkey)).code).toBe(0)
    writeFileSync(join(root, 'keys'), `${next.vkey}\n\n`)
    expect((await verify('--keys', join(root, 'keys'))).code).toBe(0)
    expect(await verify('--key', ed25519Signer(3).vkey)).toMatchObject({
      code: 6,
      last: 'an audit key does not hold: record 0 (log-00000000, byte 4096): the first keys are not the pinned ones',
    })
    expect((await verify('--key', 'ron-kms/test+00000000+AA==')).code).toBe(2)
  })

  it('requires the line of a device from the record that names it to the one that ends it: 8', async () => {
    const [own, device] = [ed25519Signer(1), ed25519Signer(7, `${ORIGIN}#device`)]
    const sealed = (...lines: (typeof own)[][]) => {
      const written = new LogWriter([own])
      written.checkpoint()
      written.seal(device)
      for (const signers of lines) {
        written.operation('a')
        written.checkpoint(checkpointNote(signers, written.leaves.length, written.root()))
      }
      return written
    }
    sealed([own, device], [own, device]).write(dir)
    expect(await report()).toMatchObject({
      ...{ exit_code: 0, checkpoints: 3, keys: [own.vkey] },
      sealed_by: { key: device.vkey, since: 1, class: 'pkcs11-x', facts: { slot: '3' } },
    })
    expect((await verify('--key', device.vkey)).code).toBe(0)
    expect((await verify()).lines.slice(1, 3)).toEqual([
      `sealed by     ${device.vkey}`,
      'sealed by     pkcs11-x, slot 3; since record 1',
    ])

    sealed([own, device], [own]).write(dir)
    const { code, last } = await verify()
    expect([code, last]).toEqual([
      8,
      expect.stringMatching(
        /^not sealed by its device: checkpoints, byte \d+: the checkpoint lacks the line of the device that seals the log$/,
      ),
    ])

    const ended = sealed([own, device])
    ended.seal(undefined, [device])
    ended.checkpoint()
    ended.write(dir)
    expect(await report('--key', device.vkey)).toMatchObject({ exit_code: 0, sealed_by: null })

    const forged = sealed([own, device])
    forged.seal(undefined, [ed25519Signer(8, device.name)])
    forged.checkpoint()
    forged.write(dir)
    const found = await report()
    expect([found.exit_code, found.first_bad?.why]).toEqual([6, 'the device before did not sign the change'])

    log()
    expect((await report('--key', device.vkey)).exit_code).toBe(8)
  })

  it('refuses a change of audit keys that the keys before did not sign: 6', async () => {
    const written = new LogWriter([ed25519Signer(1)])
    written.changeKeys([ed25519Signer(2)], [new Uint8Array(64)])
    written.write(dir)
    expect(await report()).toMatchObject({
      exit_code: 6,
      first_bad: { seq: 1, why: 'the keys before did not sign this change' },
    })
  })

  it('lets an unsigned change pass with a remark, and not against pinned keys: 6', async () => {
    const [stolen, thief] = [ed25519Signer(1), ed25519Signer(2)]
    const written = new LogWriter([stolen])
    written.changeKeys([thief], [])
    written.write(dir)
    // No checkpoint covers the change yet.
    expect((await verify('--key', thief.vkey)).code).toBe(6)
    written.checkpoint()
    written.write(dir)
    const { outcome, remarks } = await report()
    expect([outcome, remarks]).toEqual([
      'intact',
      ['record 1: keys changed without a signature by those before'],
    ])
    expect((await verify('--key', stolen.vkey)).code).toBe(6)
    // Who trusts the keys of today trusts what they signed, the change with all before it.
    expect((await verify('--key', thief.vkey)).code).toBe(0)
    expect((await verify('--key', stolen.vkey)).code).toBe(6)
  })

  it('takes nothing for signed by pinned keys without a checkpoint by them: 5', async () => {
    const written = new LogWriter([ed25519Signer(1)])
    written.operation('a')
    written.write(dir)
    const { code, lines } = await verify()
    expect([code, lines.some(line => line.includes('nobody signed any of it'))]).toEqual([0, true])
    expect((await verify('--key', ed25519Signer(1).vkey)).code).toBe(5)
    rmSync(join(dir, 'checkpoints'))
    expect((await verify('--key', ed25519Signer(1).vkey)).code).toBe(5)
  })

  it('says what it could not read: 1, and how it is called: 2', async () => {
    const nothing = await run('verify', join(root, 'nowhere'))
    expect([nothing.code, nothing.stderr]).toEqual([
      1,
      expect.stringMatching(/^ronctl: audit log: list the directory: No such file/),
    ])
    for (const argv of [['verify'], ['verify', dir, '--what'], ['nonsense'], ['proof', dir, '-1']]) {
      expect((await spawned(...argv)).code).toBe(2)
    }
    expect((await spawned('verify', dir)).code).toBe(1)
    const help = await spawned('verify', '--help')
    expect(help.code).toBe(0)
    for (const code of [0, 1, 2, 3, 4, 5, 6, 7]) expect(help.stdout).toMatch(new RegExp(`^ {2}${code} `, 'm'))
  })

  it('draws records, percent, rate and the time that is left', () => {
    const half = { records: 5_000_000, bytes: 500, ofBytes: 1000 }
    expect(barLine(half, 4000)).toBe(
      '[============            ]  50 %  5,000,000 records, 1,250,000/s, 4 s left',
    )
    expect(barLine({ records: 0, bytes: 0, ofBytes: 0 }, 0)).toBe(
      '[                        ]   0 %  0 records, 0/s',
    )
    expect(barLine({ records: 9, bytes: 1, ofBytes: 100 }, 2000)).toContain(', 3 min 18 s left')
  })
})

const uuid = '0b2e7c1e-1111-4222-8333-444455556666'

/** A version of a key of one kind: its public halves, and how it signs. */
interface Version {
  public: Track[]
  sign(message: Uint8Array, kid: string): Track[]
}

const classical = (seed: number): Version => {
  const key = ed25519Of(seed)
  const track = (bytes: Uint8Array) => [{ alg: 'ed25519', bytes }]
  return { public: track(key.publicKey), sign: message => track(key.sign(message)) }
}

const alone = (
  alg: string,
  scheme: {
    keygen(seed: Uint8Array): { publicKey: Uint8Array; secretKey: Uint8Array }
    sign(message: Uint8Array, secretKey: Uint8Array): Uint8Array
  },
  seed: Uint8Array,
): Version => {
  const { publicKey, secretKey } = scheme.keygen(seed)
  return {
    public: [{ alg, bytes: publicKey }],
    sign: message => [{ alg, bytes: scheme.sign(message, secretKey) }],
  }
}

const hybrid = (seed: number): Version => {
  const ed25519 = ed25519Of(seed)
  const { publicKey, secretKey } = ml_dsa65.keygen(new Uint8Array(32).fill(seed))
  return {
    public: [
      { alg: 'ed25519', bytes: ed25519.publicKey },
      { alg: 'ml-dsa', bytes: publicKey },
    ],
    sign(message, kid) {
      const tied = createHash('sha256').update(kid).update(ed25519.publicKey).update(publicKey).digest()
      const context = Buffer.concat([Buffer.from('ron-kms/hybrid/v1'), tied])
      return [
        { alg: 'ed25519', bytes: ed25519.sign(message) },
        { alg: 'ml-dsa', bytes: ml_dsa65.sign(message, secretKey, { context: Uint8Array.from(context) }) },
      ]
    },
  }
}

native('a log whose first records are pruned', () => {
  /** Gone with the first segment: the keys that it began with. */
  const pruned = (change: (log: LogWriter) => void = () => {}) => {
    const written = new LogWriter([ed25519Signer(1)])
    for (let i = 0; i < 2000; i++) {
      written.operation(`r-${i}`, 'x'.repeat(200))
      if (i % 400 === 0) written.checkpoint()
    }
    const first = written.places.findIndex(({ file }) => file === 'log-00000001')
    written.dropped(0, first)
    change(written)
    written.checkpoint()
    written.write(dir)
    rmSync(join(dir, 'log-00000000'))
    return { written, first }
  }

  it('is intact by the hashes that are left, and by the keys of today', async () => {
    const { written, first } = pruned()
    const { exit_code: code, size, root: found, remarks } = await report()
    expect([code, size, found]).toEqual([0, 2002, written.root().toString('hex')])
    expect(remarks).toEqual(['the first keys were pruned with their record'])
    expect((await verify()).lines).toContain(`pruned        ${first} records, of which only hashes are left`)
    expect((await verify('--key', ed25519Signer(1).vkey)).code).toBe(0)
    expect((await verify('--key', ed25519Signer(2).vkey)).code).toBe(5)
    flip('hashes-00', 40)
    expect((await verify()).code).toBe(5)
    flip('hashes-00', 40)
    flip('hashes-00', 32 * (first - 1))
    expect((await report()).first_bad?.file).toBe('hashes-00')
  })

  it('is proved from by them too', async () => {
    const { written } = pruned()
    const { head, path } = parseProof((await run('proof', dir, '3')).stdout)
    expect(head[1]).toBe('index 3')
    expect(rootOfPath(written.leaves[3] as Buffer, 3, 2002, path)).toEqual(written.root())
    expect(JSON.parse((await run('proof', dir, '3', '--json')).stdout).record).toBe(null)
  })

  it('is trusted by the keys after a change that cannot be checked any more', async () => {
    const [, next] = [ed25519Signer(1), ed25519Signer(2)]
    pruned(it => {
      it.checkpoint()
      it.changeKeys([next])
      it.operation('a')
    })
    const { exit_code: code, remarks } = await report()
    expect([code, remarks]).toEqual([
      0,
      [
        'the first keys were pruned with their record',
        'record 2002: a change of keys was not checked: those before are pruned',
        'the signers of the first checkpoints are unknown',
      ],
    ])
    expect((await verify('--key', next.vkey)).code).toBe(0)
    expect((await verify('--key', ed25519Signer(1).vkey)).code).toBe(0)
    expect((await verify('--key', ed25519Signer(3).vkey)).code).toBe(6)
  })

  it('is damaged where no record says what was pruned: 4', async () => {
    pruned()
    const written = new LogWriter([ed25519Signer(1)])
    for (let i = 0; i < 2000; i++) written.operation(`r-${i}`, 'x'.repeat(200))
    written.write(dir)
    rmSync(join(dir, 'log-00000000'))
    expect((await report()).first_bad?.why).toBe('records are missing that no record says were dropped')
  })
})

native('the proofs of rotations', () => {
  const of = (alg: string, from: number) => ({
    ...{ tenant: 'core', purpose: 'audit', alg, uuid },
    ...{ from, to: from + 1 },
  })
  const rotated = (alg: string, ...versions: Version[]) => {
    const written = new LogWriter([ed25519Signer(1)])
    for (const [i, version] of versions.slice(0, -1).entries()) {
      const next = versions[i + 1] as Version
      written.continuity(of(alg, i + 1), version.public, next.public, version.sign)
    }
    written.checkpoint()
    written.write(dir)
    return written
  }

  it('hold for every kind of key, each following from the one before', async () => {
    const kinds: [string, Version[]][] = [
      ['ed25519', [classical(1), classical(2), hybrid(3), hybrid(4)]],
      ['ml-dsa', [1, 2, 3].map(seed => alone('ml-dsa', ml_dsa65, new Uint8Array(32).fill(seed)))],
      ['ml-dsa-87', [1, 2].map(seed => alone('ml-dsa-87', ml_dsa87, new Uint8Array(32).fill(seed)))],
      [
        'slh-dsa-sha2-128f',
        [1, 2].map(seed => alone('slh-dsa-sha2-128f', slh_dsa_sha2_128f, new Uint8Array(48).fill(seed))),
      ],
    ]
    for (const [alg, versions] of kinds) {
      rotated(alg, ...versions)
      const proofs = versions.length - 1
      expect(await report(), alg).toMatchObject({
        exit_code: 0,
        continuity: { valid: proofs, linked: proofs - 1, unchecked: 0 },
      })
    }
    rotated('ed25519', classical(1), classical(2), classical(3))
    expect((await verify()).lines).toContain(
      'rotations     2 proofs hold, 1 of them follow from earlier ones',
    )
  })

  it('are refused by name where a signature is not by the version before: 4', async () => {
    const thief = { ...classical(1), sign: classical(9).sign }
    rotated('ed25519', classical(5), { ...thief, public: classical(6).public }, classical(7))
    const { exit_code: code, first_bad: bad } = await report()
    expect([code, bad?.seq, bad?.why]).toEqual([
      4,
      2,
      'the continuity proof is not signed by the version before',
    ])
  })

  it('are refused where one half did not sign, or signed for another version: 4', async () => {
    const key = hybrid(1)
    const half = { ...key, sign: (message: Uint8Array, kid: string) => key.sign(message, kid).slice(0, 1) }
    const moved = { ...key, sign: (message: Uint8Array) => key.sign(message, 'another') }
    const wrong = { ...classical(1), public: hybrid(1).public }
    for (const version of [half, moved, wrong]) {
      rotated('ed25519', version, hybrid(2))
      expect((await report()).exit_code).toBe(4)
    }
    rotated('x25519', classical(1), classical(2))
    expect((await report()).exit_code).toBe(4)
  })

  it('are refused where another public half appears for a version that the log has shown: 4', async () => {
    const written = new LogWriter([ed25519Signer(1)])
    const [one, two, three] = [classical(1), classical(2), classical(3)]
    written.continuity(of('ed25519', 1), one.public, two.public, one.sign)
    written.continuity(of('ed25519', 1), three.public, one.public, three.sign)
    written.checkpoint()
    written.write(dir)
    expect((await report()).first_bad).toMatchObject({
      seq: 2,
      why: 'the continuity proof is by another public key than the log showed before',
    })
  })

  it('are counted, and not believed, by algorithms that nobody knows', async () => {
    const unknown = { public: [{ alg: 'rsa', bytes: Buffer.alloc(9) }], sign: classical(1).sign }
    rotated('ed25519', unknown, classical(1), classical(2))
    expect((await report()).continuity).toEqual({ valid: 1, linked: 0, unchecked: 1 })
  })
})

native('ronctl audit proof', () => {
  it('convinces a stranger that any record is in the log', async () => {
    const written = log(6, 2, [ed25519Signer(1), mlDsaSigner(2)])
    const keys = written.signers.map(({ vkey }) => parseVkey(vkey))
    for (const [seq, size] of [
      [0, 7],
      [6, 7],
      [2, 4],
    ] as const) {
      const argv = size === 7 ? [] : ['--size', String(size)]
      const { code, stdout } = await run('proof', dir, String(seq), ...argv)
      expect(code).toBe(0)
      const { head, path, note } = parseProof(stdout)
      expect(head).toEqual(['c2sp.org/tlog-proof@v1', `index ${seq}`])
      expect(openNote(note, keys)).toBe(`${ORIGIN}\n${size}\n${written.root(size).toString('base64')}\n`)
      expect(rootOfPath(written.leaves[seq] as Buffer, seq, size, path)).toEqual(written.root(size))
      const json = JSON.parse((await run('proof', dir, String(seq), '--json', ...argv)).stdout)
      expect(leafHash(Buffer.from(json.record, 'hex'))).toEqual(written.leaves[seq])
      expect(json).toMatchObject({ seq, size, checkpoint: note, path: path.map(it => it.toString('hex')) })
    }
  })

  it('convinces a stranger that the log of then is a prefix of the log of now', async () => {
    const written = log()
    const { code, stdout } = await run('proof', dir, '--from', '4')
    expect(code).toBe(0)
    const { head, path, note } = parseProof(stdout)
    expect(head).toEqual(['old 4'])
    openNote(note, [parseVkey(ed25519Signer(1).vkey)])
    expect(rootsOfPrefix(4, 7, written.root(4), path)).toEqual([written.root(4), written.root(7)])
    const json = JSON.parse((await run('proof', dir, '--from', '4', '--to', '7', '--json')).stdout)
    expect(json).toMatchObject({ from: 4, to: 7, checkpoint: note })
    expect(json.old_checkpoint).toContain(`${ORIGIN}\n4\n`)
  })

  it('refuses what cannot be proved: 1, and what makes no sense: 2', async () => {
    log()
    const code = async (...argv: string[]) => (await run('proof', dir, ...argv)).code
    // No checkpoint covers record 7 yet.
    expect(await code('7')).toBe(1)
    expect(await code('0', '--size', '5')).toBe(1)
    expect(await code('--from', '8')).toBe(1)
    expect(await code()).toBe(2)
    expect(await code('0', '--from', '4')).toBe(2)
    expect(await code('--size', '7')).toBe(2)
    flip('log-00000000', 4096 + 20)
    expect(await code('1')).toBe(1)
  })

  it('gives no proof for a checkpoint that the records do not have', async () => {
    const written = log()
    written.checkpoint(checkpointNote(written.signers, 9, Buffer.alloc(32)))
    written.write(dir)
    const { code, stdout, stderr } = await run('proof', dir, '0')
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain('verify the log')
  })
})

native('ronctl audit tail', () => {
  it('prints the last records as JSON lines', async () => {
    const written = log()
    const { code, stdout } = await run('tail', dir, '-n', '3')
    expect(code).toBe(0)
    const lines = jsonLines(stdout)
    expect(lines.map(({ seq }) => seq)).toEqual([6, 7, 8])
    expect(lines.map(({ leaf }) => leaf)).toEqual(written.leaves.slice(6).map(leaf => leaf.toString('hex')))
    expect(jsonLines((await run('tail', dir, '-n', '99')).stdout)).toHaveLength(9)
  })

  it('says where a torn or damaged record ends it: 3, and 4', async () => {
    const { places } = log()
    const { file, offset } = places.at(-1) ?? { file: '', offset: 0 }
    flip(file, offset + 20)
    const damaged = await run('tail', dir)
    expect([damaged.code, jsonLines(damaged.stdout)]).toMatchObject([4, { length: 8 }])
    expect(damaged.stderr).toContain(`record 8 (${file}, byte ${offset})`)
    truncateSync(join(dir, file), offset + 30)
    expect((await run('tail', dir)).code).toBe(3)
  })

  it('follows a log across its segments while it grows, and ends with 0 at Ctrl-C', async () => {
    const written = new LogWriter([ed25519Signer(1)])
    written.write(dir)
    const { child, ended, out } = start('tail', dir, '-f')
    const seen = async (count: number) => {
      while (out.stdout.split('\n').length <= count) await once(child.stdout as NodeJS.EventEmitter, 'data')
    }
    await seen(1)
    for (let batch = 1; batch <= 3; batch++) {
      for (let i = 0; i < 700; i++) written.operation(`r-${batch}-${i}`, 'x'.repeat(200))
      grow(written)
      await seen(1 + batch * 700)
    }
    expect(written.places.at(-1)?.file).not.toBe('log-00000000')
    child.kill('SIGINT')
    const { code, stdout, stderr } = await ended
    expect([code, stderr]).toEqual([0, ''])
    expect(jsonLines(stdout).map(({ seq }) => seq)).toEqual(written.leaves.map((_, seq) => seq))
  })

  it('ends with 0 when nobody reads any more', async () => {
    const written = new LogWriter([ed25519Signer(1)])
    for (let i = 0; i < 3000; i++) written.operation(`r-${i}`, 'x'.repeat(200))
    written.write(dir)
    const { child, ended } = start('tail', dir, '-n', '3000')
    child.stdout?.once('data', () => child.stdout?.destroy())
    const { code, stderr } = await ended
    expect([code, stderr]).toEqual([0, ''])
  })
})

/** Writes what is new into the files that are there, segments in their order, as a service does. */
function grow(written: LogWriter): void {
  const next = join(root, 'next')
  rmSync(next, { recursive: true, force: true })
  written.write(next)
  const names = (at: string) => [...new Set(written.places.map(({ file }) => join(at, file)))]
  for (const [i, path] of names(dir).entries()) {
    const bytes = readFileSync(names(next)[i] as string)
    if (!existsSync(path)) {
      writeFileSync(path, bytes)
      continue
    }
    const handle = openSync(path, 'r+')
    writeSync(handle, bytes, 0, bytes.length, 0)
  }
}

native('ronctl audit export', () => {
  it('prints every record from a place on', async () => {
    log()
    const all = await run('export', dir)
    expect([all.code, jsonLines(all.stdout).map(({ seq }) => seq)]).toEqual([0, [0, 1, 2, 3, 4, 5, 6, 7, 8]])
    expect(jsonLines((await run('export', dir, '--from', '7')).stdout)).toHaveLength(2)
    expect((await run('export', dir, '--from', '99')).stdout).toBe('')
  })

  it('goes on from where it was, and forgets nothing in between', async () => {
    const written = log()
    const position = join(root, 'position')
    const more = () => run('export', dir, '--from', '2', '--position-file', position)
    const first = await more()
    expect(jsonLines(first.stdout).map(({ seq }) => seq)).toEqual([2, 3, 4, 5, 6, 7, 8])
    expect(readFileSync(position, 'utf8')).toBe('9\n')
    expect((await more()).stdout).toBe('')
    written.operation('later')
    written.write(dir)
    expect(jsonLines((await more()).stdout)).toMatchObject([{ seq: 9, request_id: 'later' }])
    appendFileSync(position, 'x')
    expect((await more()).code).toBe(2)
  })

  it('says which records were pruned before it came to them', async () => {
    const written = new LogWriter([ed25519Signer(1)])
    for (let i = 0; i < 2000; i++) written.operation(`r-${i}`, 'x'.repeat(200))
    written.write(dir)
    const first = written.places.findIndex(({ file }) => file === 'log-00000001')
    rmSync(join(dir, 'log-00000000'))
    const { code, stdout, stderr } = await run('export', dir, '--from', '5')
    expect([code, jsonLines(stdout)[0]?.seq]).toEqual([0, first])
    expect(stderr).toBe(`ronctl: records 5 to ${first - 1} are pruned\n`)
  })
})
