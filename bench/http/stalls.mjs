// `node bench/http/stalls.mjs`: for how long hostile bodies hold the event loop of a service up. Of the longest turns of the
// loop: how long they were, and how much of that the thread computed; the rest it waited for a processor, which on a busy
// machine is most. --service passport|kms, --connections 1,32,1000, --bodies NAME,NAME, --seconds N for each.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bodyOf, passports } from '../passport/data.mjs'
import { pinned } from './lib/servers.mjs'

const { values: flags } = parseArgs({
  options: {
    service: { type: 'string', default: 'passport' },
    connections: { type: 'string', default: '1,32,1000' },
    bodies: { type: 'string' },
    seconds: { type: 'string', default: '3' },
  },
})
const at = path => fileURLToPath(new URL(path, import.meta.url))
const on = (core, args) =>
  pinned ? ['taskset', '-c', String(core), process.execPath, ...args] : [process.execPath, ...args]

const SERVICES = {
  passport: {
    args: [at('../../dist/cli/passport-main.js'), 'serve', '--dev', '--bind', '127.0.0.1:0'],
    path: '/v1/passport/verify_batch',
    most: 4 * 2 ** 20,
    open: true,
  },
  kms: {
    args: [
      ...[at('../../dist/cli/main.js'), 'serve', '--dev', '--backend', 'inmem', '--bind', '127.0.0.1:0'],
      ...['--metrics', '127.0.0.1:0'],
    ],
    path: '/v1/kms/verify_batch',
    most: 2 ** 20,
    open: false,
  },
}
const service = SERVICES[flags.service]
const dir = mkdtempSync(join(tmpdir(), 'ron-kms-stalls-'))

/** `unit` as often as fits between the two. */
const filled = (before, unit, after) =>
  before + unit.repeat(Math.floor((service.most - before.length - after.length) / unit.length)) + after

async function bodies() {
  const { envelopes } = await passports(512, 1)
  const flip = sig => `${sig.slice(0, 10)}${sig[10] === 'A' ? 'B' : 'A'}${sig.slice(11)}`
  return {
    small: bodyOf(envelopes.slice(0, 1)),
    tampered: bodyOf(envelopes.map(item => ({ ...item, sig: flip(item.sig) }))),
    deep: filled('', '[', ''),
    duplicates: filled('[{', '"a":1,', '"a":1}]'),
    names: `[{${Array.from({ length: service.most / 12 }, (_, i) => `"${i}":1`).join(',')}}]`,
    values: filled('[', '1,', '1]'),
    halves: filled('[', '2.4703282292062327208299e-324,', '1]'),
    surrogates: filled('["', '\\ud800\\udc00', '\\ud800"]'),
    string: filled('["', 'a', '"]'),
  }
}

const [command, ...args] = on(0, [
  // Of a service that has one processor, as docs/transport.md advises: more threads of V8 would take turns with it.
  ...(pinned ? ['--v8-pool-size=1'] : []),
  '--import',
  at('lib/loop-turns.mjs'),
  ...service.args,
  '--log-level',
  'error',
])
const server = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'], cwd: dir })
const found = {}
const asked = []
createInterface(server.stdout).on('line', line => {
  if (line.startsWith('{"ticks"')) return asked.shift()?.(JSON.parse(line))
  found.port ??= /http:\S+?:(\d+)/.exec(line)?.[1]
  found.token ??= /Bearer ([\w.-]+)/.exec(line)?.[1]
})
while (!found.port || !found.token) await new Promise(resolve => setTimeout(resolve, 50))
const turns = () =>
  new Promise(resolve => {
    asked.push(resolve)
    server.kill('SIGUSR2')
  })

for (const connections of flags.connections.split(',').map(Number)) {
  for (const [name, body] of Object.entries(await bodies())) {
    if (flags.bodies && !flags.bodies.split(',').includes(name)) continue
    const file = join(dir, name)
    writeFileSync(file, body)
    const token = service.open ? undefined : found.token
    const asking = {
      port: found.port,
      connections,
      path: service.path,
      seconds: Number(flags.seconds),
      file,
      token,
    }
    await turns()
    const [node, ...rest] = on(1, [at('lib/hostile-client.mjs'), JSON.stringify(asking)])
    const client = spawn(node, rest, { stdio: ['ignore', 'pipe', 'inherit'] })
    let answers = ''
    client.stdout.on('data', chunk => {
      answers += chunk
    })
    await new Promise(resolve => client.on('exit', resolve))
    const { longest } = await turns()
    const shown = longest.slice(0, 3).map(({ ms, cpu }) => `${ms.toFixed(0)} (${cpu.toFixed(0)})`)
    console.log(
      `${String(connections).padStart(5)} ${name.padEnd(10)} ${shown.join(', ').padEnd(30)} ${answers.trim()}`,
    )
  }
}
server.kill('SIGTERM')
await new Promise(resolve => server.on('exit', resolve))
rmSync(dir, { recursive: true })
