// One core for the server, another for the client: batches, and single requests with coalescing on and off, beside a
// bare Hono app that parses JSON of the same size and answers it.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { median } from '../lib/measure.mjs'
import { load, lone } from './client.mjs'
import { AUDIENCE, WISH } from './data.mjs'
import { atLeast, atMost } from './promises.mjs'

const CONNECTIONS = [1, 8, 64, 256]
const SIZES = [1, 8, 64, 256, 512]

/** Measures and prints; whether what is promised holds. */
export async function overHttp(rounds, seconds) {
  const servers = {
    'coalescing on': await start('passport', 'true'),
    'coalescing off': await start('passport', 'false'),
    echo: await start('echo'),
  }
  const few = Math.ceil(rounds / 5)
  try {
    const batch = await batches(servers['coalescing on'], 1, few, seconds)
    const share = await singles(servers, few, seconds)
    const ratio = await alone(servers, rounds)
    await issued(servers['coalescing on'], seconds)
    // The last: it leaves the key with as many versions.
    await batches(servers['coalescing on'], 64, 1, seconds)
    console.log('')
    return [
      atLeast('verify_batch of 64 over HTTP, envelopes a second', batch, 120_000, 200_000),
      atLeast('verify at 64 connections, part of a bare echo', share, 0.65, 0.8),
      atMost('p50 of a lone request, coalescing on over off', ratio, 1.05),
    ].every(Boolean)
  } finally {
    for (const { child } of Object.values(servers)) child.kill('SIGTERM')
  }
}

async function batches(server, keyCount, rounds, seconds) {
  const keys = keyCount === 1 ? 'one key' : `${keyCount} keys`
  console.log(
    `\nverify_batch over HTTP, ${keys}, 8 connections: envelopes a second, and server CPU microseconds of each`,
  )
  const items = []
  for (let i = 0; i < Math.max(...SIZES); i++) {
    if (keyCount > 1 && i < keyCount) await rotate(server)
    items.push(i < keyCount || keyCount === 1 ? await issue(server) : items[i % keyCount])
  }
  let of64 = 0
  for (const size of SIZES) {
    const body = JSON.stringify(items.slice(0, size).map(item => ({ ...item, audience: AUDIENCE })))
    const rates = []
    const costs = []
    for (let round = 0; round < rounds; round++) {
      const { rate, cpu } = await load({
        ...server,
        path: '/v1/passport/verify_batch',
        body,
        connections: 8,
        seconds,
      })
      rates.push(rate * size)
      costs.push(cpu / size)
    }
    const rate = Math.round(median(rates)).toLocaleString('en')
    console.log(`${String(size).padStart(5)} ${rate.padStart(12)} ${median(costs).toFixed(1).padStart(9)}`)
    if (size === 64) of64 = median(rates)
  }
  return of64
}

async function singles(servers, rounds, seconds) {
  console.log('\nverify over HTTP: requests a second, p50 in milliseconds, server CPU microseconds of each')
  console.log(
    'connections  coalescing on             coalescing off            echo                       on over echo: rate, CPU',
  )
  let share = 0
  // So that each has been compiled.
  const first = await bodiesOf(servers)
  for (const name of Object.keys(servers)) {
    const path = name === 'echo' ? '/' : '/v1/passport/verify'
    await load({ ...servers[name], path, body: first[name], connections: 64, seconds: 2 })
  }
  for (const connections of CONNECTIONS) {
    const results = {}
    const bodies = await bodiesOf(servers)
    for (let round = 0; round < rounds; round++) {
      const names = Object.keys(servers)
      for (let i = 0; i < names.length; i++) {
        const name = names[(i + round) % names.length]
        const path = name === 'echo' ? '/' : '/v1/passport/verify'
        results[name] ??= []
        results[name].push(await load({ ...servers[name], path, body: bodies[name], connections, seconds }))
      }
    }
    const cell = name => {
      const rate = median(results[name].map(result => result.rate))
      const p50 = median(results[name].map(result => result.p50))
      const cpu = median(results[name].map(result => result.cpu)).toFixed(1)
      return `${Math.round(rate).toLocaleString('en').padStart(8)} ${p50.toFixed(3).padStart(8)} ${cpu.padStart(6)}  `
    }
    const ratios = results['coalescing on'].map(({ rate }, i) => rate / results.echo[i].rate)
    const over = median(ratios)
    const cells = Object.keys(servers).map(cell).join(' ')
    const costs = median(results['coalescing on'].map(({ cpu }, i) => results.echo[i].cpu / cpu))
    const percent = share => `${(share * 100).toFixed(0).padStart(5)} %`
    console.log(`${String(connections).padStart(11)} ${cells} ${percent(over)} ${percent(costs)}`)
    if (connections === 64) share = over
  }
  return share
}

/** A lone request must not wait for company. */
async function alone(servers, rounds) {
  const bodies = await bodiesOf(servers)
  const times = { 'coalescing on': [], 'coalescing off': [] }
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 ? Object.keys(times) : Object.keys(times).reverse()) {
      times[name].push(
        await lone({ ...servers[name], path: '/v1/passport/verify', body: bodies[name], count: 200 }),
      )
    }
  }
  const [on, off] = Object.values(times)
  const ratio = median(on.map((time, i) => time / off[i]))
  console.log(
    `\na lone request: p50 ${median(on).toFixed(3)} ms with coalescing, ${median(off).toFixed(3)} without`,
  )
  console.log(`with over without: ${ratio.toFixed(3)}`)
  return ratio
}

async function issued(server, seconds) {
  const body = JSON.stringify(WISH)
  const { rate, p50, cpu } = await load({
    ...server,
    path: '/v1/passport/issue',
    body,
    connections: 64,
    seconds,
  })
  const cells = [
    Math.round(rate).toLocaleString('en'),
    `p50 ${p50.toFixed(3)} ms`,
    `${cpu.toFixed(1)} µs of CPU`,
  ]
  console.log(`\nissue over HTTP, 64 connections: ${cells.join(', ')}`)
}

async function bodiesOf(servers) {
  const entries = Object.entries(servers).map(async ([name, server]) => {
    const from = name === 'echo' ? servers['coalescing on'] : server
    return [name, JSON.stringify({ ...(await issue(from)), audience: AUDIENCE })]
  })
  return Object.fromEntries(await Promise.all(entries))
}

const issue = server => post(server, '/v1/passport/issue', WISH)
const rotate = server => post(server, '/admin/rotate', { publish_ahead_s: 0 })

async function post({ port, token }, path, body) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${path} answers ${response.status}`)
  return response.json()
}

async function start(what, ...args) {
  const script = fileURLToPath(new URL('server.mjs', import.meta.url))
  const command = [process.execPath, script, what, ...args]
  // The server has a core of its own, where that can be arranged.
  const pinned = process.platform === 'linux' ? ['taskset', '-c', '0', ...command] : command
  const child = spawn(pinned[0], pinned.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  for await (const chunk of child.stdout) {
    text += chunk
    const port = /127\.0\.0\.1:(\d+)\/v1\/passport$/m.exec(text)?.[1] ?? /"port":(\d+)/.exec(text)?.[1]
    const token = /^Authorization: Bearer (\S+)$/m.exec(text)?.[1]
    if (port && (token || what === 'echo')) return { child, port: Number(port), token }
  }
  throw new Error(`${what} did not start`)
}
