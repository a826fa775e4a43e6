import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import type { SecretMemory } from '../../index.js'
import { KEYS, SCHEMA } from '../config/schema.js'
import { Kms } from '../kms.js'
import { native } from '../native.js'
import { ed25519, mlDsa, type PostQuantumLane, type VerifyLane } from '../primitives.js'
import { VERSION } from '../server/version.js'
import { ADDON_HELP, type AddonStatus, addonStatus } from './addon.js'

/** The state of one lane: its self test passed, failed, or it cannot run here. */
interface LaneReport {
  readonly lane: string
  readonly state: 'ok' | 'failed' | 'unavailable'
}

interface Report {
  readonly version: string
  readonly node: string
  readonly platform: string
  readonly addon: AddonStatus
  /** Lanes of Ed25519. */
  readonly lanes: readonly LaneReport[]
  /** Lanes of ML-DSA and ML-KEM. */
  readonly pq_lanes: readonly LaneReport[]
  readonly rng_ok: boolean
  /** Absent without the addon, which holds all secrets. */
  readonly secret_memory?: SecretMemory
  readonly limits: Readonly<Record<string, string>>
  readonly healthy: boolean
}

const LANES: readonly VerifyLane[] = ['simd', 'dalek', 'dalek-batch', 'aws-lc', 'ring', 'noble']
const PQ_LANES: readonly PostQuantumLane[] = ['auto', 'aws-lc', 'rustcrypto', 'noble']

// RFC 8032 section 7.1, test 1: the empty message.
const TEST_1 = {
  publicKey: Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex'),
  message: new Uint8Array(0),
  signature: Buffer.from(
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    'hex',
  ),
}

/** `ron-kms doctor`. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('say what works on this machine')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const report = await examine()
      process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : toText(report))
      process.exitCode = report.healthy ? 0 : 1
    })
}

async function examine(): Promise<Report> {
  const addon = addonStatus()
  const lanes = LANES.map(selfTest)
  const pqLanes = await Promise.all(PQ_LANES.map(pqSelfTest))
  const rng = randomWorks()
  return {
    version: VERSION,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    addon,
    lanes,
    pq_lanes: pqLanes,
    rng_ok: rng,
    ...(native && { secret_memory: native.secretMemory() }),
    limits: { ...systemLimits(), ...defaultLimits() },
    healthy: addon.loaded && rng && [...lanes, ...pqLanes].every(({ state }) => state === 'ok'),
  }
}

/** A valid signature must pass and the same one with a bit flipped must not. */
function selfTest(lane: VerifyLane): LaneReport {
  if (!ed25519.lanes().includes(lane)) return { lane, state: 'unavailable' }
  const forged = Buffer.from(TEST_1.signature)
  forged[0] = (forged[0] ?? 0) ^ 1
  try {
    const verdicts = ed25519.verifyBatch([TEST_1, { ...TEST_1, signature: forged }], { lane })
    return { lane, state: verdicts[0] === 1 && verdicts[1] === 0 ? 'ok' : 'failed' }
  } catch {
    return { lane, state: 'failed' }
  }
}

/**
 * A key of each kind is made and used: what a lane signs must pass there and in the pure JavaScript lane, and not with a
 * bit flipped; what it wraps must unwrap.
 */
async function pqSelfTest(lane: PostQuantumLane): Promise<LaneReport> {
  if (!native || !mlDsa.lanes().includes(lane)) return { lane, state: 'unavailable' }
  const kms = Kms.open({ backend: 'inmem', lanes: { pq: lane === 'noble' ? 'auto' : lane } })
  try {
    const works = (await signs(await kms, lane)) && (await wraps(await kms))
    return { lane, state: works ? 'ok' : 'failed' }
  } catch {
    return { lane, state: 'failed' }
  } finally {
    ;(await kms).close()
  }
}

async function signs(kms: Kms, lane: PostQuantumLane): Promise<boolean> {
  const key = await kms.createKey({ tenant: 'doctor', purpose: 'self-test', alg: 'ml-dsa' })
  const message = randomBytes(32)
  const signature = kms.sign(key.kid, message)
  const forged = Uint8Array.from(signature)
  forged[0] = (forged[0] ?? 0) ^ 1
  const verdicts = [lane, 'noble' as const].flatMap(verifier =>
    [signature, forged].map(it => mlDsa.verify('ml-dsa', key.publicKey, message, it, { lane: verifier })),
  )
  return verdicts.join() === 'true,false,true,false'
}

async function wraps(kms: Kms): Promise<boolean> {
  const { kid } = await kms.createKey({ tenant: 'doctor', purpose: 'kem', alg: 'hybrid' })
  const dataKey = randomBytes(32)
  const { wrapped } = await kms.wrap(kid, dataKey)
  return dataKey.equals((await kms.unwrap(wrapped)).dataKey)
}

/** Asks the generator that keys come from; without the addon there are no keys, and Node's is asked. */
function randomWorks(): boolean {
  try {
    return native ? native.rngOk() : randomBytes(32).length === 32
  } catch {
    return false
  }
}

/** The soft limits of the process that matter here, where /proc shows them. */
function systemLimits(): Record<string, string> {
  try {
    const text = readFileSync('/proc/self/limits', 'utf8')
    const soft = (name: string) => new RegExp(`^${name} +(\\S+)`, 'm').exec(text)?.[1] ?? 'unknown'
    return { open_files: soft('Max open files'), locked_memory: soft('Max locked memory') }
  } catch {
    return {}
  }
}

function defaultLimits(): Record<string, string> {
  const keys = KEYS.filter(key => key === 'max_conns' || key.startsWith('limits.'))
  return Object.fromEntries(keys.map(key => [key, SCHEMA[key].default]))
}

/** One row a protection: whether secrets have it, and else what the system said. */
function protections(memory: SecretMemory): [string, string][] {
  const { lockedBytes, unlockedBytes, dontdump, wipeonfork, lastErrors } = memory
  const why = (call: string) => lastErrors.find(error => error.startsWith(call)) ?? 'not on this system'
  const locked = unlockedBytes === 0 ? `yes: ${lockedBytes / 1024} KiB` : `no: ${why('mlock')}`
  return [
    ['secrets locked in RAM', locked],
    ['secrets not in core dumps', dontdump ? 'yes' : `no: ${why('MADV_DONTDUMP')}`],
    ['secrets wiped on fork', wipeonfork ? 'yes' : `no: ${why('MADV_WIPEONFORK')}`],
  ]
}

function toText(report: Report): string {
  const { version, node, platform, addon, lanes, pq_lanes: pqLanes, rng_ok: rng, limits, healthy } = report
  const { secret_memory: memory } = report
  const row = (name: string, value: string) => `${name.padEnd(26)}${value}`
  return [
    row('ron-kms', version),
    row('node', `${node} on ${platform}`),
    row('native core', addon.loaded ? 'loaded' : `missing: ${addon.reason}`),
    row('CPU tier', addon.loaded ? addon.cpuTier : 'none: only the pure JavaScript lane runs'),
    ...lanes.map(({ lane, state }) => row(`Ed25519 ${lane}`, state)),
    ...pqLanes.map(({ lane, state }) => row(`post-quantum ${lane}`, state)),
    row('random numbers', rng ? 'ok' : 'failed'),
    ...(memory ? protections(memory) : []).map(([name, value]) => row(name, value)),
    ...Object.entries(limits).map(([name, value]) => row(name, value)),
    row('verdict', healthy ? 'healthy' : 'not healthy'),
    ...(addon.loaded ? [] : ['', ADDON_HELP]),
    '',
  ].join('\n')
}
