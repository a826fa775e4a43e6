// The rows on all threads, in a process that did nothing before: started by run.mjs. What a long run leaves behind (a
// heap of pooled buffers, tables of a hundred thousand keys) costs a burst of copies on two cores a tenth of its speed.
import { requireAgreement } from './lib/agree.mjs'
import { implementations } from './lib/implementations.mjs'
import { measureRows } from './lib/measure.mjs'
import { rowsOf } from './lib/rows.mjs'

const { rounds, budget, rows: names } = JSON.parse(process.argv[2])

const all = await implementations()
await requireAgreement(all)
process.send(await measureRows(await rowsOf(all, name => names.includes(name)), { rounds, budget }))
