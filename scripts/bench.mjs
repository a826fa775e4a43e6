// `npm run bench`, `bench:gate`, `bench:pq`: builds, then runs bench/run.mjs, gate.mjs or pq.mjs with the given flags.
import { build } from './build.mjs'
import { runNode, step } from './lib.mjs'

const [which = 'run', ...args] = process.argv.slice(2)
await build()
await step(`bench/${which}.mjs`, () => runNode(`bench/${which}.mjs`, args))
