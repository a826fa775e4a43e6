// `node bench/http/profile.mjs`: where the microseconds of a request go, step by step, by V8's profiler in the server.
// Of signing also what the addon does, by calling it in this process without and with each step.
// --route sign|verify|verify_batch, --seconds N, --node PATH of another Node for the server, --functions N: the N that take most.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Kms } from 'ron-kms'
import { machineFacts, machineLine } from '../lib/machine.mjs'
import { median } from '../lib/measure.mjs'
import { load } from './lib/load.mjs'
import { prepare } from './lib/scenarios.mjs'
import { pinClient, startKms } from './lib/servers.mjs'

const { values: flags } = parseArgs({
  options: {
    route: { type: 'string', default: 'sign' },
    seconds: { type: 'string', default: '8' },
    node: { type: 'string', default: process.execPath },
    functions: { type: 'string', default: '0' },
  },
})
const CONNECTIONS = 32
const WARM_UP_S = 5

/** The first that fits. What has no address is native: of Node, of V8, or of the addon. */
const STEPS = [
  ['waiting for the client', ({ functionName }) => functionName === '(idle)'],
  ['garbage', ({ functionName }) => functionName === '(garbage collector)'],
  // V8 has one name for all functions of the addon.
  [
    'the addon: capability, operation, record',
    it => isNative(it, 'CallClock', 'dispatch', 'verifyCoalesced'),
  ],
  [
    'writing to the socket',
    it => isNative(it, 'writev', 'writeLatin1String', 'writeUtf8String', 'writeBuffer'),
  ],
  ['capability: its JavaScript', ({ url }) => /server\/(middleware\/(auth|peer)|token|scopes)\.js/.test(url)],
  [
    'the body',
    ({ url }) => /server\/middleware\/(body|pieces|deadlines|decode)\.js|server\/turns\.js/.test(url),
  ],
  [
    'turns of tenants, joining, handing over',
    ({ url }) => /(fair-queue|dispatch|coalescer|kms|addon)[\w-]*\.js/.test(url) && isOurs(url),
  ],
  ['ids and headers', ({ url }) => /(server\/middleware\/(ids|headers)|dist\/ids)\.js/.test(url)],
  ['metrics', ({ url }) => isOurs(url) && url.includes('/metrics/')],
  ['the handler, and connections', ({ url }) => isOurs(url)],
  ['Hono', ({ url }) => /node_modules\/hono\//.test(url)],
  ['@hono/node-server', ({ url }) => url.includes('/@hono/node-server/')],
  ["Node's HTTP, streams and sockets", ({ url }) => url.startsWith('node:')],
  ['native parts of Node, system calls', () => true],
]
const isNative = ({ url, functionName }, ...names) => url === '' && names.includes(functionName)
const isOurs = url => /\/dist\/(?!.*node_modules)/.test(url) && !url.includes('/node_modules/')

const machine = machineLine(machineFacts())
const dir = mkdtempSync(join(tmpdir(), 'ron-kms-profile-'))
const file = join(dir, 'profile.json')
process.env.BENCH_PROFILE = file
process.env.NODE_OPTIONS = `--import=${new URL('lib/profiled.mjs', import.meta.url)}`
const kms = await startKms(flags.node)
process.env.NODE_OPTIONS = ''
pinClient()
try {
  const request = (await prepare(kms, 'bench'))[flags.route]
  const run = async seconds => {
    const { kinds } = await load({ port: kms.port, connections: CONNECTIONS, seconds, next: () => request })
    return kinds[request.kind].accepted_per_second * seconds
  }
  await run(WARM_UP_S)
  process.kill(kms.pid, 'SIGUSR2')
  await new Promise(resolve => setTimeout(resolve, 200))
  const requests = await run(Number(flags.seconds))
  process.kill(kms.pid, 'SIGUSR2')
  show(await read(), requests)
  if (flags.route === 'sign') await inside()
} finally {
  await kms.stop()
  rmSync(dir, { recursive: true })
}

async function read() {
  for (;;) {
    try {
      return JSON.parse(readFileSync(file, 'utf8'))
    } catch {
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
}

function show({ nodes, samples, timeDeltas }, requests) {
  const own = new Map()
  for (const [i, id] of samples.entries()) own.set(id, (own.get(id) ?? 0) + timeDeltas[i])
  const steps = new Map(STEPS.map(([name]) => [name, 0]))
  const functions = new Map()
  for (const { id, callFrame } of nodes) {
    const micros = (own.get(id) ?? 0) / requests
    const [step] = STEPS.find(([, fits]) => fits(callFrame))
    steps.set(step, steps.get(step) + micros)
    const name = `${callFrame.functionName || '(anonymous)'} ${callFrame.url.replace(/^.*\/(dist|node_modules)\//, '$1/')}`
    functions.set(name, (functions.get(name) ?? 0) + micros)
  }
  const idle = steps.get('waiting for the client')
  const total = [...steps.values()].reduce((sum, micros) => sum + micros, 0) - idle
  console.log(`${machine}; ${flags.route}, ${Math.round(requests)} requests`)
  const line = (name, micros) =>
    console.log(
      `${name.padEnd(44)} ${micros.toFixed(1).padStart(7)} µs ${((100 * micros) / total).toFixed(0).padStart(4)} %`,
    )
  for (const [name, micros] of steps) if (micros >= 0.05 && micros !== idle) line(name, micros)
  line('a request', total)
  const most = [...functions].sort((a, b) => b[1] - a[1]).slice(0, Number(flags.functions))
  for (const [name, micros] of most) console.log(`  ${micros.toFixed(2).padStart(7)} ${name}`)
}

/** What signing comes to in the addon, one step more each time. */
async function inside() {
  const rootKey = { kind: 'key-file', file: join(dir, 'root.key') }
  writeFileSync(rootKey.file, Buffer.alloc(32, 1), { mode: 0o600 })
  const audit = { log: 'ron-kms/bench', dir: join(dir, 'audit'), anchor: join(dir, 'anchor'), rootKey }
  const options = [{}, { verifyAfterSign: true }, { verifyAfterSign: true, audit }]
  const services = await Promise.all(options.map(more => Kms.open({ backend: 'inmem', ...more })))
  const wish = { tenant: 'bench', purpose: 'sign', alg: 'ed25519', signs: 'digest' }
  const kids = await Promise.all(services.map(async service => (await service.createKey(wish)).kid))
  const context = { requestId: 'bench', actor: 'bench' }
  const bodies = kids.map(kid =>
    Buffer.from(JSON.stringify({ kid_or_set: { kid: kid.split('#')[0] }, payload_b3: '00'.repeat(32) })),
  )
  const message = new Uint8Array(32)
  const calls = [
    ['the signature', () => services[0].sign(kids[0], message)],
    ['JSON, limits, counters', () => services[0].dispatch('sign', null, bodies[0], context)],
    ['the signature verified', () => services[1].dispatch('sign', null, bodies[1], context)],
    ['its record', () => services[2].dispatch('sign', null, bodies[2], context)],
  ]
  const times = calls.map(() => [])
  for (let round = 0; round < 25; round += 1) {
    for (const [i, [, call]] of calls.entries()) {
      const since = performance.now()
      for (let n = 0; n < 1000; n += 1) call()
      times[i].push(performance.now() - since)
    }
  }
  let before = 0
  for (const [i, [name]] of calls.entries()) {
    const micros = median(times[i])
    console.log(`  of the addon's: ${name.padEnd(26)} ${(micros - before).toFixed(1).padStart(7)} µs`)
    before = micros
  }
  for (const service of services) service.close()
}
