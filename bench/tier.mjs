// Some rows in the tier that RON_KMS_CPU_TIER forces: started by run.mjs and gate.mjs (lib/tiers.mjs).
import { requireAgreement } from './lib/agree.mjs'
import { implementations, isControl, isOurs, only } from './lib/implementations.mjs'
import { cpuTier } from './lib/machine.mjs'
import { measureRows } from './lib/measure.mjs'
import { rowsOf } from './lib/rows.mjs'

const { rounds, budget, rows: names, labels } = JSON.parse(process.argv[2])

const dependsOnTier = ({ lane, slow }) => lane === 'auto' && !slow
const all = only(await implementations(), it => isControl(it) || (isOurs(it) && dependsOnTier(it)))
await requireAgreement(all)

const rows = await rowsOf(all, name => names.includes(name))
const wanted = candidate => isControl(candidate) || !labels || labels.includes(candidate.label)
const results = await measureRows(
  rows.map(row => ({ ...row, candidates: row.candidates.filter(wanted) })),
  { rounds, budget },
)
process.send({ tier: cpuTier(), results })
