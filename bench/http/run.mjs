// `npm run bench:http`: requests a second beside an echo of the same body, and the mixes of an operator's day.
// --seconds N for each measurement, --only throughput|mixes|load, --requests N for the memory of a server, --node PATH of another Node for the servers, --quick.
// --awake keeps the servers' core from sleeping between requests.
// --workers N measures nothing but what N threads bring, without pinning: the client needs cores, too.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { machineFacts, machineLine } from '../lib/machine.mjs'
import { median } from '../lib/measure.mjs'
import { load, requestBytes } from './lib/load.mjs'
import { mixed, named, prepare } from './lib/scenarios.mjs'
import { keepAwake, pinClient, pinned, startEcho, startKms } from './lib/servers.mjs'
import { underLoad } from './lib/under-load.mjs'

const { values: flags } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string' },
    requests: { type: 'string', default: '1000000' },
    node: { type: 'string', default: process.execPath },
    quick: { type: 'boolean', default: false },
    awake: { type: 'boolean', default: false },
    workers: { type: 'string' },
  },
})
const seconds = flags.quick ? 1 : Number(flags.seconds)
const rounds = flags.quick ? 1 : Number(flags.rounds)
const CONNECTIONS = 32

/** What is promised: the share of the echo's requests, and verifications a second. */
const PROMISES = { sign: 0.45, verify: 0.6 }
const VERIFICATIONS = 100_000

const machine = machineFacts()
if (flags.workers !== undefined) {
  await scaling(Number(flags.workers))
  process.exit()
}
pinClient()
const nodeVersion = execFileSync(flags.node, ['--version'], { encoding: 'utf8' }).trim()
const facts = { ...machine, server: nodeVersion, pinned }
console.log(`${machineLine(facts)}; servers on ${nodeVersion}${pinned ? ', one core' : ', not pinned'}`)

const results = { machine: facts, seconds, connections: CONNECTIONS, awake: flags.awake }
const letSleep = flags.awake ? keepAwake() : () => {}
const asked = name => flags.only === undefined || flags.only === name
if (asked('throughput')) results.throughput = await throughput()
if (asked('mixes')) results.mixes = await mixes()
if (flags.only === 'load') results.load = await promises()
letSleep()
if (!flags.quick) {
  const file = new URL(
    `../results/http-${nodeVersion.split('.')[0]}${flags.only ? `-${flags.only}` : ''}${flags.awake ? '-awake' : ''}.json`,
    import.meta.url,
  )
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`)
}

/** The routes, and the echo of their bodies, in turn: both see the same machine. */
async function throughput() {
  const rows = {}
  const [echo, kms] = [await startEcho(flags.node), await startKms(flags.node)]
  try {
    const requests = await prepare(kms, 'bench')
    for (const route of ['sign', 'verify', 'verify_batch']) {
      const { body } = requests[route]
      const echoed = { kind: 'echo', bytes: requestBytes({ port: echo.port, path: '/echo', body }) }
      const one = async (port, request) => {
        const { kinds } = await load({ port, connections: CONNECTIONS, seconds, next: () => request })
        const { statuses, accepted_per_second, p95_ms } = kinds[request.kind]
        if (Object.keys(statuses).join() !== '200') throw new Error(`${route}: ${JSON.stringify(statuses)}`)
        return { rate: accepted_per_second, p95_ms }
      }
      const measured = { echo: [], kms: [] }
      for (let i = 0; i <= rounds; i += 1) {
        const pair = { echo: await one(echo.port, echoed), kms: await one(kms.port, requests[route]) }
        // The first one warms up, where there is another.
        if (i > 0 || rounds === 1) for (const name of ['echo', 'kms']) measured[name].push(pair[name])
      }
      const rate = name => Math.round(median(measured[name].map(it => it.rate)))
      const row = {
        echo_per_second: rate('echo'),
        per_second: rate('kms'),
        share: rate('kms') / rate('echo'),
        p95_ms: median(measured.kms.map(it => it.p95_ms)),
        ...(route === 'verify_batch' && { verifications_per_second: 64 * rate('kms') }),
      }
      rows[route] = { ...row, promised: PROMISES[route] ?? VERIFICATIONS }
      const share = `${(100 * row.share).toFixed(0)} % of an echo`
      const batch = row.verifications_per_second ? `, ${row.verifications_per_second} verifications/s` : ''
      console.log(
        `${route.padEnd(14)} ${row.per_second} requests/s, ${share} (${row.echo_per_second})${batch}`,
      )
    }
    rows.memory_mib = rssMib(kms.pid)
  } finally {
    await Promise.all([echo.stop(), kms.stop()])
  }
  return rows
}

/** The mixes, at a pace: half of what the server can do is steady, ten times that is a burst. */
async function mixes() {
  const out = {}
  const kms = await startKms(flags.node)
  const { port } = kms
  try {
    const [a, b] = [await prepare(kms, 'a'), await prepare(kms, 'b')]
    const steady = mixed([
      [a.sign, 0.7],
      [a.verify, 0.2],
      [a.wrap, 0.1],
    ])
    const most = await load({ port, connections: CONNECTIONS, seconds, next: steady })
    const capacity = Object.values(most.kinds).reduce((sum, it) => sum + it.accepted_per_second, 0)
    const half = Math.max(1, Math.round(capacity / 2))
    const run = async (name, options) => {
      out[name] = await load({ port, connections: CONNECTIONS, seconds, ...options })
      for (const [kind, { p50_ms, p95_ms, p99_ms, statuses }] of Object.entries(out[name].kinds)) {
        const ms = [p50_ms, p95_ms, p99_ms].map(it => (it === null ? '-' : it.toFixed(2))).join(' / ')
        console.log(`${name.padEnd(14)} ${kind.padEnd(8)} p50/p95/p99 ${ms} ms  ${JSON.stringify(statuses)}`)
      }
    }
    out.capacity_per_second = capacity
    await run('steady', { next: steady, rate: half })
    await run('burst', { next: steady, rate: 10 * half, connections: 4 * CONNECTIONS })
    await run('rotate_flood', {
      next: mixed([
        [a.sign, 0.45],
        [a.verify, 0.2],
        [a.rotate, 0.35],
      ]),
      rate: half / 2,
    })
    const tenants = share =>
      mixed([
        [named('tenant a', a.sign), share],
        [named('tenant b', b.sign), 1 - share],
      ])
    await run('tenants_even', { next: tenants(0.5), rate: half })
    await run('tenants_80_20', { next: tenants(0.8), rate: half })
    out.memory_mib = rssMib(kms.pid)
  } finally {
    await kms.stop()
  }
  return out
}

/** What is promised under load. */
async function promises() {
  const [echo, kms] = [await startEcho(flags.node), await startKms(flags.node)]
  try {
    return await underLoad(kms, echo, { seconds, requests: Number(flags.requests) })
  } finally {
    await Promise.all([echo.stop(), kms.stop()])
  }
}

/** One thread that serves beside several, in turn. */
async function scaling(workers) {
  console.log(`${machineLine(machine)}; servers and client share its cores`)
  const counts = [1, workers]
  const servers = []
  for (const count of counts) servers.push(await startKms(flags.node, ['--workers', String(count)], false))
  try {
    const prepared = []
    for (const kms of servers) prepared.push(await prepare(kms, 'bench'))
    for (const route of ['sign', 'verify', 'verify_batch']) {
      const rates = counts.map(() => [])
      const costs = counts.map(() => [])
      for (let i = 0; i < rounds; i += 1) {
        for (const [index, { port, pid }] of servers.entries()) {
          const request = prepared[index][route]
          const before = cpuMicros(pid)
          const { kinds } = await load({ port, connections: CONNECTIONS, seconds, next: () => request })
          const rate = kinds[request.kind].accepted_per_second
          rates[index].push(rate)
          costs[index].push((cpuMicros(pid) - before) / (rate * seconds))
        }
      }
      const [one, many] = rates.map(each => Math.round(median(each)))
      const more = `${workers} threads ${many}/s, ${(many / one).toFixed(2)} times as many`
      const micros = costs.map(each => `${median(each).toFixed(0)} µs`).join(' and ')
      console.log(`${route.padEnd(14)} 1 thread ${one}/s, ${more}; of CPU a request takes ${micros}`)
    }
    console.log(`memory         ${servers.map(({ pid }) => `${rssMib(pid)} MiB`).join(', ')}`)
  } finally {
    await Promise.all(servers.map(kms => kms.stop()))
  }
}

/** What a process has used of the processors; 0 where /proc does not say. */
function cpuMicros(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
    return (Number(fields[11]) + Number(fields[12])) * 10_000
  } catch {
    return 0
  }
}

function rssMib(pid) {
  try {
    const kib = execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })
    return Math.round(Number(kib) / 1024)
  } catch {
    return null
  }
}
