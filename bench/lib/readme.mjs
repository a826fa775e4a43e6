// The part of the project's README that comes from a results file.
import { machineLine } from './machine.mjs'
import { micro, times } from './table.mjs'

const START = '<!-- bench:start -->'
const END = '<!-- bench:end -->'

const ROWS = [
  { title: 'sign', row: 'sign', ours: 'dalek, by kid' },
  { title: 'verify one', row: 'verify', ours: 'auto, by kid' },
  { title: 'verify 64 under one key', row: 'batch 64, 1 key', ours: 'auto, by kid' },
  { title: 'verify 64 under 64 keys', row: 'batch 64, 64 keys', ours: 'auto, by kid' },
]
const PEERS = ['sodium-native', 'node:crypto', '@noble/curves']

const cell = result => (result ? `${micro(result.ns)} (${times(result.ratio)})` : '')

function tableRow(results, { title, row, ours }) {
  const inRow = results.filter(result => result.row === row)
  const peers = PEERS.map(name => cell(inRow.find(result => result.name === name)))
  return [title, `**${cell(inRow.find(({ label }) => label === ours))}**`, ...peers]
}

export function readmeTable({ machine, results }) {
  const line = cells => `| ${cells.join(' | ')} |`
  return [
    line(['µs per signature', 'ron-kms', ...PEERS]),
    line(['---', ...['', ...PEERS].map(() => '--:')]),
    ...ROWS.map(row => line(tableRow(results, row))),
    '',
    'In brackets: how many times as fast as sodium-native in the same run. Keys by kid, known for some time, 128-byte',
    `messages, one thread, medians; ${machineLine(machine)}. [How it is measured](bench/README.md),`,
    '[every row](bench/results/latest.json).',
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
