// `npm run bench:custody`: what the audit log costs signing, how many signatures a second wait for a disk, and whether a
// key that was rotated 10,000 times is as quick to rotate as a new one. --dir D: on which disk; --rotations N: fewer.
import { createHash } from 'node:crypto'
import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Kms } from 'ron-kms'
import { machineFacts, machineLine } from './lib/machine.mjs'
import { median } from './lib/measure.mjs'

const { values: flags } = parseArgs({
  options: {
    dir: { type: 'string', default: tmpdir() },
    rotations: { type: 'string', default: '10000' },
    rounds: { type: 'string', default: '15' },
  },
})

/** What is promised. */
const QUEUED_SHARE = 0.8
const DURABLE_A_SECOND = 40_000
const DISK_SHARE = 0.8
/** The last thousand rotations may take this much longer than the first, and write this much more. */
const FLAT = 1.2

const CALLERS = 64
const RECORD = 256
const ROUND_MS = 300
const DURABLE_MS = 1_000

const dir = mkdtempSync(join(flags.dir, 'ron-kms-bench-'))
const rootKey = { kind: 'key-file', file: join(dir, 'root.key') }
writeFileSync(rootKey.file, createHash('sha256').update('bench').digest(), { mode: 0o600 })
const wish = { tenant: 'bench', purpose: 'sign', alg: 'ed25519', signs: 'message' }
const message = new Uint8Array(128)

/** A service with keys in memory, and its log in files where `name` is given. */
async function serviceWith(name, options = {}) {
  const files = name && { dir: join(dir, name), rootKey, anchor: join(dir, `${name}.anchor`), ...options }
  const kms = await Kms.open({
    backend: 'inmem',
    ...(files && { audit: { log: 'ron-kms/bench', ...files } }),
  })
  return { kms, kid: (await kms.createKey(wish)).kid }
}

/** Signatures a second on this thread. */
function signFor(ms, { kms, kid }) {
  const since = performance.now()
  let count = 0
  while (performance.now() - since < ms) {
    for (let i = 0; i < 64; i += 1) kms.sign(kid, message)
    count += 64
  }
  return (count * 1000) / (performance.now() - since)
}

/** Signatures a second of callers that each wait for theirs. */
async function signTogether(ms, { kms, kid }) {
  const since = performance.now()
  let count = 0
  const caller = async () => {
    while (performance.now() - since < ms) {
      await kms.signAsync(kid, message)
      count += 1
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, caller))
  return (count * 1000) / (performance.now() - since)
}

/** Records a second that a group commit of as many callers could have on this disk, with nothing else to do. */
function groupCommit(ms) {
  const path = join(dir, 'disk')
  const file = openSync(path, 'w')
  const group = new Uint8Array(CALLERS * RECORD)
  writeSync(file, new Uint8Array(16 * 2 ** 20))
  fdatasyncSync(file)
  const since = performance.now()
  let count = 0
  for (let at = 0; performance.now() - since < ms; at += group.length) {
    writeSync(file, group, 0, group.length, at % (16 * 2 ** 20 - group.length))
    fdatasyncSync(file)
    count += CALLERS
  }
  const rate = (count * 1000) / (performance.now() - since)
  closeSync(file)
  return rate
}

/** Bytes of the files below a directory. */
function bytesIn(path) {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0)
}

async function queued() {
  const [off, on] = [await serviceWith(), await serviceWith('queued')]
  const shares = []
  const rates = []
  for (let round = -2; round < Number(flags.rounds); round += 1) {
    // Who begins changes, so that drift hits both alike.
    const order = round % 2 === 0 ? [off, on] : [on, off]
    const [first, second] = order.map(each => signFor(ROUND_MS, each))
    const [without, with_] = round % 2 === 0 ? [first, second] : [second, first]
    if (round < 0) continue
    shares.push(with_ / without)
    rates.push(with_)
  }
  for (const { kms } of [off, on]) kms.close()
  return { share: median(shares), rate: median(rates) }
}

async function durable() {
  const service = await serviceWith('fsync', { durability: 'fsync' })
  const [rates, disks] = [[], []]
  for (let round = -1; round < 5; round += 1) {
    const [rate, disk] = [await signTogether(DURABLE_MS, service), groupCommit(DURABLE_MS)]
    if (round >= 0) {
      rates.push(rate)
      disks.push(disk)
    }
  }
  service.kms.close()
  return { rate: median(rates), disk: median(disks) }
}

async function rotated(times) {
  mkdirSync(join(dir, 'store-parent'))
  const store = {
    dir: join(dir, 'store-parent/store'),
    rootKey,
    anchor: join(dir, 'store.anchor'),
    create: true,
  }
  const kms = await Kms.open({ backend: 'file', store })
  const [key] = (await kms.createKey(wish)).kid.split('#')
  const part = Math.max(1, Math.floor(times / 10))
  const marks = []
  let [since, bytes] = [performance.now(), bytesIn(store.dir)]
  for (let i = 1; i <= times; i += 1) {
    await kms.rotateKey(key)
    if (i % part !== 0) continue
    const [now, grown] = [performance.now(), bytesIn(store.dir)]
    marks.push({ ms: (now - since) / part, bytes: (grown - bytes) / part })
    ;[since, bytes] = [performance.now(), grown]
  }
  const versions = (await kms.describeKey(key)).versions.length
  kms.close()
  if (versions !== times + 1) throw new Error(`there are ${versions} versions`)
  return marks
}

const said = (kept, text) => console.log(`${kept ? 'kept    ' : 'NOT KEPT'} ${text}`)
const round = number => Math.round(number).toLocaleString('en')
try {
  console.log(machineLine(machineFacts()))
  const { share, rate } = await queued()
  said(
    share >= QUEUED_SHARE,
    `signing with the log, queued: ${share.toFixed(3)} of signing without it, at least ${QUEUED_SHARE}; ${round(rate)}/s`,
  )
  const { rate: durableRate, disk } = await durable()
  const enough = durableRate >= DURABLE_A_SECOND || durableRate >= DISK_SHARE * disk
  said(
    enough,
    `durable signatures, ${CALLERS} callers: ${round(durableRate)}/s, at least ${round(DURABLE_A_SECOND)} or ${DISK_SHARE} of the disk's own group commit of ${CALLERS} records (${round(disk)}/s)`,
  )
  const marks = await rotated(Number(flags.rotations))
  const [first, last] = [marks[0], marks.at(-1)]
  const flat = last.ms <= FLAT * first.ms && last.bytes <= FLAT * first.bytes
  said(
    flat,
    `${round(Number(flags.rotations))} rotations of one key, a tenth at a time: ms each ${marks.map(({ ms }) => ms.toFixed(2)).join(' ')}; bytes each ${marks.map(({ bytes }) => Math.round(bytes)).join(' ')}; at most ${FLAT} times the first tenth`,
  )
} finally {
  rmSync(dir, { recursive: true })
}
