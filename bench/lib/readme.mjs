// The part of the project's README that comes from the results files: one of each CPU tier, of a machine that has it.
import { existsSync, readFileSync } from 'node:fs'
import { machineLine } from './machine.mjs'
import { micro, times } from './table.mjs'

const START = '<!-- bench:start -->'
const END = '<!-- bench:end -->'

/** `ours`: the call that is quoted. `tier`: one below the CPU's own, which a run forces. */
const ROWS = [
  { title: 'sign', row: 'sign', ours: 'auto, by kid' },
  { title: 'sign, each signature verified', row: 'sign', ours: 'auto, by kid, verified' },
  { title: 'sign 64', row: 'sign 64, 1 key', ours: 'auto, by kid' },
  { title: 'verify one', row: 'verify', ours: 'auto, by kid' },
  { title: 'verify 64 under one key', row: 'batch 64, 1 key', ours: 'auto, by kid' },
  { title: 'verify 64 under 64 keys', row: 'batch 64, 64 keys', ours: 'auto, by kid' },
  { title: 'verify 64 under keys never seen', row: 'batch 64, keys never seen', ours: 'auto, items' },
  { title: 'verify 64 under one key, AVX2', row: 'batch 64, 1 key', ours: 'auto, by kid', tier: 'avx2' },
  {
    title: 'verify 64 under one key, no vectors',
    ...{ row: 'batch 64, 1 key', ours: 'auto, by kid', tier: 'scalar' },
  },
]
const PEERS = ['sodium-native', 'node:crypto', '@noble/curves']

const cell = result => (result ? `${micro(result.ns)} (${times(result.ratio)})` : '')

/** The highest first. */
const TIERS = ['avx512', 'avx2', 'scalar']

/** What was measured, of the highest tier first. */
export const runs = () =>
  TIERS.map(tier => new URL(`../results/${tier}.json`, import.meta.url))
    .filter(file => existsSync(file))
    .map(file => JSON.parse(readFileSync(file, 'utf8')))

function tableRow([best, ...others], { title, row, ours, tier: forced }) {
  const tier = forced ?? best.machine.tier
  if (forced === best.machine.tier) return []
  // Of a machine that has no more, where there is one.
  const { results } = others.find(({ machine }) => machine.tier === tier) ?? best
  const inRow = results.filter(result => result.row === row && result.tier === tier)
  const own = inRow.find(({ label }) => label === ours)
  const peers = PEERS.map(name => cell(inRow.find(result => result.name === name)))
  return own ? [[title, `**${cell(own)}**`, ...peers]] : []
}

/** `all`: what {@link runs} gives. */
export function readmeTable(all) {
  const [{ machine }, ...others] = all
  const line = cells => `| ${cells.join(' | ')} |`
  return [
    line(['µs per signature', 'ron-kms', ...PEERS]),
    line(['---', ...['', ...PEERS].map(() => '--:')]),
    ...ROWS.flatMap(row => tableRow(all, row)).map(line),
    '',
    'In brackets: how many times as fast as sodium-native in the same run. Keys by kid, known for some time, except those',
    'never seen; 128-byte messages, one thread, medians; the last rows without faster instructions.',
    `${machineLine(machine)} ([every row](bench/results/${machine.tier}.json)).`,
    ...others.map(
      ({ machine: it }) =>
        `Its rows of ${it.tier.toUpperCase()}: ${machineLine(it)} ([every row](bench/results/${it.tier}.json)).`,
    ),
    '[How it is measured](bench/README.md).',
    '',
    '![Times as fast as sodium-native, by lane](bench/results/chart.svg)',
  ].join('\n')
}

/** The page with what is between the markers replaced. */
export function withTable(page, table) {
  const [start, end] = [page.indexOf(START), page.indexOf(END)]
  if (start < 0 || end < start) throw new Error(`the page lacks ${START} … ${END}`)
  return `${page.slice(0, start + START.length)}\n${table}\n${page.slice(end)}`
}
