// Writes docs/configuration.md from the table of settings; `--check` only compares. Needs what `npm run build` made.
import { readFileSync, writeFileSync } from 'node:fs'
import { at, fail } from './lib.mjs'

const { settingsPage } = await import('../dist/config/document.js')
const path = 'docs/configuration.md'
const page = settingsPage()
if (!process.argv.includes('--check')) writeFileSync(at(path), page)
else if (readFileSync(at(path), 'utf8') !== page) fail(`${path} is stale: run node scripts/settings-page.mjs`)
