// `npm run bench`: everything agrees, everything is timed, one table, one results file of this machine's CPU tier, one chart, README's table.
// --rounds N: more rounds are quieter. --only TEXT: the rows whose name contains it, and nothing is written.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { requireAgreement } from './lib/agree.mjs'
import { chart } from './lib/chart.mjs'
import { inChild } from './lib/child.mjs'
import { floodLines } from './lib/flood-lines.mjs'
import { implementations, isControl } from './lib/implementations.mjs'
import { machineFacts, machineLine } from './lib/machine.mjs'
import { measureRows } from './lib/measure.mjs'
import { compared, promiseLines } from './lib/promises.mjs'
import { readmeTable, runs, withTable } from './lib/readme.mjs'
import { rowsOf } from './lib/rows.mjs'
import { textTable, times } from './lib/table.mjs'
import { measureTier, TIER_ROWS, tiersBelow } from './lib/tiers.mjs'

const BUDGET_MS = 25
const { values: flags } = parseArgs({
  options: { rounds: { type: 'string', default: '9' }, only: { type: 'string' } },
})
const rounds = Number(flags.rounds)
const wanted = name => name.includes(flags.only ?? '')
const since = performance.now()

const machine = machineFacts()
console.log(machineLine(machine))

const all = await implementations()
await requireAgreement(all)
console.log('every implementation gives the same signatures and the same verdicts')

const results = [...(await ofThisTier()), ...(await ofTiersBelow())]
const comparisons = compared(results, machine)
const flood = wanted('flood') ? await floodAlone() : undefined
showProgress('')

if (results.length > 0) console.log(`\n${textTable(results, machine)}\n`)
console.log('µs per signature (medians); ratio: how many times as fast as sodium-native in the same row')
if (results.length > 0) console.log(`sodium-native, slowest round over fastest: ${controlSpread(results)}`)
for (const line of promiseLines(results, comparisons, machine)) console.log(line)
for (const line of flood ? floodLines(flood) : []) console.log(line)

if (!flags.only) writeAll({ machine, rounds, budget_ms: BUDGET_MS, results, comparisons, flood })
console.log(`took ${((performance.now() - since) / 1000).toFixed(0)} s`)

async function ofThisTier() {
  const rows = await rowsOf(all, wanted)
  const onRound = round => showProgress(`round ${round + 1} of ${rounds}`)
  const measured = await measureRows(rows, { rounds, budget: BUDGET_MS, onRound })
  return measured.map(result => ({ ...result, tier: machine.tier }))
}

async function ofTiersBelow() {
  const rows = TIER_ROWS.filter(wanted)
  const results = []
  for (const tier of rows.length > 0 ? tiersBelow(machine.tier) : []) {
    showProgress(`tier ${tier}`)
    results.push(...(await measureTier(tier, { rounds, budget: BUDGET_MS, rows })))
  }
  return results
}

function floodAlone() {
  showProgress('flood')
  return inChild('flood.mjs', [])
}

function showProgress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

function controlSpread(results) {
  const spreads = results.filter(isControl).map(({ spread }) => spread)
  return `${times(Math.min(...spreads))} to ${times(Math.max(...spreads))} within a row`
}

function writeAll(run) {
  const text = `${JSON.stringify(run, forFile, 2)}\n`
  const page = new URL('../README.md', import.meta.url)
  const { tier } = run.machine
  mkdirSync(new URL('results/', import.meta.url), { recursive: true })
  writeFileSync(new URL(`results/${tier}.json`, import.meta.url), text)
  const [best] = runs()
  if (best.machine.tier === tier) writeFileSync(new URL('results/chart.svg', import.meta.url), chart(run))
  writeFileSync(page, withTable(readFileSync(page, 'utf8'), readmeTable(runs())))
  console.log(`written: bench/results/${tier}.json, and the chart and README's table where they are its own`)
}

/** Four digits are more than a benchmark knows; single rounds are nobody's business. */
function forFile(key, value) {
  if (key === 'rounds' && Array.isArray(value)) return undefined
  return typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value
}
