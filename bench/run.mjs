// `npm run bench`: everything agrees, everything is timed, one table, one results file, one chart.
// --rounds N: more rounds are quieter. --only TEXT: the rows whose name contains it, and nothing is written.
import { mkdirSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { requireAgreement } from './lib/agree.mjs'
import { chart } from './lib/chart.mjs'
import { FLOORS } from './lib/floors.mjs'
import { implementations, isControl } from './lib/implementations.mjs'
import { machineFacts, machineLine } from './lib/machine.mjs'
import { measureRows } from './lib/measure.mjs'
import { rowsOf } from './lib/rows.mjs'
import { textTable, times } from './lib/table.mjs'

const BUDGET_MS = 25
const { values: flags } = parseArgs({
  options: { rounds: { type: 'string', default: '9' }, only: { type: 'string' } },
})
const rounds = Number(flags.rounds)
const since = performance.now()

const machine = machineFacts()
console.log(machineLine(machine))

const all = await implementations()
await requireAgreement(all)
console.log('every implementation gives the same signatures and the same verdicts')

const rows = await rowsOf(all, name => name.includes(flags.only ?? ''))
const results = await measureRows(rows, {
  rounds,
  budget: BUDGET_MS,
  onRound: round => showProgress(`round ${round + 1} of ${rounds}`),
})
showProgress('')

console.log(`\n${textTable(results)}\n`)
console.log('µs per signature (medians); ratio: how many times as fast as sodium-native in the same row')
console.log(`sodium-native, slowest round over fastest: ${controlSpread(results)}`)
for (const line of promises(results, machine.tier)) console.log(line)

if (!flags.only) {
  mkdirSync(new URL('results/', import.meta.url), { recursive: true })
  const write = (name, text) => writeFileSync(new URL(`results/${name}`, import.meta.url), text)
  write('latest.json', `${JSON.stringify({ machine, rounds, budget_ms: BUDGET_MS, results }, rounded, 2)}\n`)
  write('chart.svg', chart(machine, results))
  console.log('written: bench/results/latest.json, bench/results/chart.svg')
}
console.log(`took ${((performance.now() - since) / 1000).toFixed(0)} s`)

function showProgress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

function controlSpread(results) {
  const spreads = results.filter(isControl).map(({ spread }) => spread)
  return `${times(Math.min(...spreads))} to ${times(Math.max(...spreads))} within a row`
}

function promises(results, tier) {
  return FLOORS.filter(floor => floor.tier === tier).flatMap(({ row, label, ratio }) => {
    const result = results.find(it => it.row === row && it.label === label)
    if (!result) return []
    const verdict = result.ratio >= ratio ? 'kept' : 'NOT KEPT'
    return [`promise ${verdict}: ${row}, ${label}: ${times(result.ratio)}, at least ${times(ratio)}`]
  })
}

/** Four digits are more than a benchmark knows. */
function rounded(_key, value) {
  return typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value
}
