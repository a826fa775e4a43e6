// Writes docs/openapi/ron-kms.json, the OpenAPI document of the routes, from what `npm run build` made. With --check it
// fails unless the committed file is that, and unless CHANGELOG.md changed no earlier than the file did.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { at, capture, fail } from './lib.mjs'

const FILE = 'docs/openapi/ron-kms.json'

const { apiDocument } = await import(at('dist/server/routes/documents.js'))
const text = `${JSON.stringify(apiDocument(), null, 2)}\n`
if (!process.argv.includes('--check')) {
  mkdirSync(at('docs/openapi'), { recursive: true })
  writeFileSync(at(FILE), text)
} else {
  if (readFileSync(at(FILE), 'utf8') !== text)
    fail(`${FILE} is not what the routes say: run \`node scripts/openapi.mjs\``)
  if (isUnannounced()) fail(`${FILE} changed after CHANGELOG.md did: say there what changed for callers`)
}

/** Whether the commit that changed the document last, and all after it, left the changelog alone. */
function isUnannounced() {
  if (capture('git', ['status', '--porcelain', '--', 'CHANGELOG.md'])) return false
  const changed = capture('git', ['rev-list', '-1', 'HEAD', '--', FILE])?.trim()
  if (!changed) return false
  // Where that commit has no parent here (the first one, a shallow clone) there is nothing to compare with.
  if (capture('git', ['rev-parse', '--verify', '--quiet', `${changed}^`]) === undefined) return false
  return capture('git', ['diff', '--name-only', `${changed}^`, 'HEAD', '--', 'CHANGELOG.md']) === ''
}
