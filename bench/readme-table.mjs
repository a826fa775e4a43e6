// Writes the table of the committed results into README.md.
// --check: writes nothing, exit code 1 if README.md is not current. --file PATH: another page.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { readmeTable, runs, withTable } from './lib/readme.mjs'

const at = path => fileURLToPath(new URL(path, import.meta.url))
const { values: flags } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    file: { type: 'string', default: at('../README.md') },
  },
})

const before = readFileSync(flags.file, 'utf8')
const after = withTable(before, readmeTable(runs()))
if (before === after) {
  console.log('the benchmark table is current')
} else if (flags.check) {
  console.error('the benchmark table is not that of bench/results: node bench/readme-table.mjs')
  process.exitCode = 1
} else {
  writeFileSync(flags.file, after)
  console.log('the benchmark table was written')
}
