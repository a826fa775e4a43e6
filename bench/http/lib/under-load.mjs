// What an operator counts on when there is more to do than can be done: latency at half of what the server can do, a
// tenant beside another that floods, ten times the capacity, and memory over a million requests.
import { readFileSync } from 'node:fs'
import { median } from '../../lib/measure.mjs'
import { load, requestBytes } from './load.mjs'
import { prepare } from './scenarios.mjs'

const CONNECTIONS = 32
/** Of what is measured at half of saturation; the median counts. */
const ROUNDS = 5
/** Of each tenant's share, where it keeps to it. */
const WITHIN_SHARE = 0.8

/** Measures and prints; what was found, and whether each promise holds. */
export async function underLoad(kms, echo, { seconds, requests }) {
  const tokens = await Promise.all(['a', 'b'].map(tenant => minted(kms, tenant)))
  const [a, b] = [
    await prepare({ ...kms, token: tokens[0] }, 'a'),
    await prepare({ ...kms, token: tokens[1] }, 'b'),
  ]
  const run = (request, options) =>
    one({ port: kms.port, connections: CONNECTIONS, seconds, ...options }, request)
  const promises = []
  const promise = (name, found, most, unit, figures) => {
    const holds = found !== null && found <= most
    promises.push({ name, found, most, holds, ...figures })
    const text = found === null ? '-' : found.toFixed(2)
    console.log(
      `${name.padEnd(58)} ${text.padStart(8)} ${unit} (at most ${most}: ${holds ? 'holds' : 'MISSED'})`,
    )
  }

  for (const [name, request, most] of [
    ['Ed25519 sign, p95 at half of saturation', a.sign, 1],
    ['hybrid sign, p95 at half of saturation', a.sign_hybrid, 10],
  ]) {
    const bytes = requestBytes({ port: echo.port, path: '/echo', body: request.body })
    const nothing = { kind: 'echo', bytes }
    for (const [port, warm] of [
      [kms.port, request],
      [echo.port, nothing],
    ])
      await run(warm, { port, seconds: 2 })
    const rounds = []
    for (let i = 0; i < ROUNDS; i += 1) {
      const { accepted_per_second: saturation } = await run(request)
      const half = await run(request, { rate: saturation / 2 })
      // As many requests a second of a server that does nothing: what is the machine's, and the client's.
      const echoed = await run(nothing, { port: echo.port, rate: saturation / 2 })
      rounds.push({ saturation, half, echoed })
    }
    const middle = of => median(rounds.map(of))
    const figures = {
      p50_ms: middle(({ half }) => half.p50_ms),
      p99_ms: middle(({ half }) => half.p99_ms),
      saturation_per_second: middle(({ saturation }) => saturation),
      echo_p95_ms: middle(({ echoed }) => echoed.p95_ms),
    }
    const found = middle(({ half }) => half.p95_ms)
    promise(name, found, most, 'ms', figures)
    const rate = (figures.saturation_per_second / 2).toFixed(0)
    console.log(`  an echo of as many requests (${rate}/s): p95 ${figures.echo_p95_ms.toFixed(2)} ms`)
  }

  const { accepted_per_second: capacity } = await run(a.sign)
  const share = (capacity / 2) * WITHIN_SHARE
  const [, alone] = await Promise.all([run(a.sign, { rate: share }), run(b.sign, { rate: share })])
  const [flood, beside] = await Promise.all([
    run(a.sign, { rate: 5 * capacity }),
    run(b.sign, { rate: share }),
  ])
  promise(
    'tenant beside one at 10 times its share: p95 over before',
    beside.p95_ms / alone.p95_ms,
    2,
    'times',
    {
      before_ms: alone.p95_ms,
      beside_ms: beside.p95_ms,
      statuses: { flood: flood.statuses, beside: beside.statuses },
    },
  )

  const over = await load({
    port: kms.port,
    connections: 1000,
    seconds,
    rate: 10 * capacity,
    next: () => a.sign,
  })
  const { statuses, p99_ms } = over.kinds.sign
  const faults = Object.entries(statuses).filter(([status]) => Number(status) >= 500)
  promise(
    '10 times the capacity: answers of 500 and above',
    faults.reduce((sum, [, n]) => sum + n, 0),
    0,
    '',
    {
      statuses,
      accepted_p99_ms: p99_ms,
      without_retry_after: over.kinds.sign.refused_without_retry_after ?? 0,
    },
  )
  console.log(`  ${JSON.stringify(statuses)}, connections lost: ${over.broken}`)

  const sizes = []
  for (let done = 0; done < requests; ) {
    const { accepted_per_second } = await run(a.sign, { seconds: 10 })
    done += accepted_per_second * 10
    sizes.push({ requests: done, mib: residentMib(kms.pid) })
  }
  const last = sizes.at(-1)
  promise(`resident memory after ${last.requests.toLocaleString('en')} requests`, last.mib, 200, 'MiB', {
    sizes,
  })
  const middle = sizes[sizes.length >> 1].mib
  promise('its growth in the second half', Math.max(0, last.mib / middle - 1) * 100, 5, '%')
  return promises
}

async function one(options, request) {
  const { kinds } = await load({ ...options, next: () => request })
  return kinds[request.kind]
}

/** A capability for one tenant. */
async function minted({ call }, tenant) {
  const scopes = 'kms:rotate,kms:sign,kms:verify,kms:wrap,kms:read'
  const caveats = [`scope = ${scopes}`, `tenant = ${tenant}`]
  return (await call('/capabilities', { name: `bench-${tenant}`, caveats, ttl_s: 86_400 })).token
}

/** What the process has in memory, without the pages of files that it shares with others. */
function residentMib(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024)
}
