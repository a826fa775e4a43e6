// Some rows in the tier that RON_KMS_CPU_TIER forces: started by run.mjs and gate.mjs (lib/tiers.mjs).
import { requireAgreement } from './lib/agree.mjs'
import { implementations, isControl, isOurs, label, only } from './lib/implementations.mjs'
import { cpuTier } from './lib/machine.mjs'
import { measureRows } from './lib/measure.mjs'
import { rowsOf } from './lib/rows.mjs'

const { rounds, budget, rows: names, labels } = JSON.parse(process.argv[2])

const dependsOnTier = it => isOurs(it) && it.lane === 'auto' && !it.slow
const wanted = it => isControl(it) || (dependsOnTier(it) && (!labels || labels.includes(label(it))))
const all = only(await implementations(), wanted)
await requireAgreement(all)

const results = await measureRows(await rowsOf(all, name => names.includes(name)), { rounds, budget })
process.send({ tier: cpuTier(), results })
