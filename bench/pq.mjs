// `npm run bench:pq`: post-quantum keys in both lanes beside node:crypto of Node 24 or newer and @noble/post-quantum.
// --rounds N: more rounds are quieter. --only TEXT: the rows whose name contains it, and nothing is written.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { isNewerNode, NEWER_NODE, newerNode } from '../scripts/newer-node.mjs'
import { micro, times } from './lib/table.mjs'

const BUDGET_MS = 30
const { values: flags } = parseArgs({
  options: { rounds: { type: 'string', default: '25' }, only: { type: 'string' } },
})

// All of it runs in one process of the newer Node, so that every candidate has the same V8 and its turn in every round.
if (!isNewerNode()) {
  const newer = newerNode()
  if (!newer) {
    console.error(`${NEWER_NODE} is needed, and cannot be had from the registry: its crypto is the control`)
    process.exit(1)
  }
  const script = fileURLToPath(import.meta.url)
  process.exit(spawnSync(newer, [script, ...process.argv.slice(2)], { stdio: 'inherit' }).status ?? 1)
}

const { machineFacts, machineLine } = await import('./lib/machine.mjs')
const { measurePq } = await import('./lib/pq-measure.mjs')
const { halves, pqPromiseLines } = await import('./lib/pq-promises.mjs')
const { pqRows } = await import('./lib/pq-rows.mjs')

const rounds = Number(flags.rounds)
const since = performance.now()
const manifest = new URL('../node_modules/@noble/post-quantum/package.json', import.meta.url)
const machine = {
  ...machineFacts(),
  '@noble/post-quantum': JSON.parse(readFileSync(manifest, 'utf8')).version,
}
console.log(`${machineLine(machine)}, OpenSSL ${machine.openssl}`)

const rows = (await pqRows()).filter(({ name }) => name.includes(flags.only ?? ''))
console.log('every implementation verifies and opens what every other one made')
const results = await measurePq(rows, { rounds, budget: BUDGET_MS, onRound: showRound })
if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')

const compared = halves(results)
console.log(`\n${table(results)}\n`)
console.log(
  'µs per call: means over fresh messages; ratio: how many times as fast as node:crypto in the same row',
)
console.log('ours decapsulates in unwrap only, which also finds the key, derives one and decrypts;')
console.log('inside unwrap: the part of it that is the decapsulation, as its metrics have it')
for (const line of pqPromiseLines(results, compared)) console.log(line)
if (!flags.only) {
  const run = { machine, rounds, budget_ms: BUDGET_MS, results, halves: compared }
  mkdirSync(new URL('results/', import.meta.url), { recursive: true })
  const digits = (_key, value) =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value
  writeFileSync(new URL('results/pq.json', import.meta.url), `${JSON.stringify(run, digits, 2)}\n`)
  console.log('written: bench/results/pq.json')
}
console.log(`took ${((performance.now() - since) / 1000).toFixed(0)} s`)

function showRound(round) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round + 1} of ${rounds}`)
}

function table(results) {
  const lines = [['row', 'implementation', 'lane', 'how', 'µs', 'messages', 'ratio', 'by rounds']]
  for (const [i, { row, name, lane = '', how, ns, messages, ratio, ratio_by_rounds }] of results.entries()) {
    const again = results[i - 1]?.row === row
    if (!again) lines.push(Array(8).fill(''))
    const ratios = [ratio, ratio_by_rounds].map(each => (each === undefined ? '' : times(each)))
    lines.push([again ? '' : row, name, lane, how, micro(ns), String(messages), ...ratios])
  }
  const widths = lines[0].map((_, column) => Math.max(...lines.map(line => line[column].length)))
  const pad = (cell, i) => (i > 3 ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))
  return lines.map(line => line.map(pad).join('  ').trimEnd()).join('\n')
}
