// `npm run bench` and `npm run bench:gate`: builds, then runs bench/run.mjs or bench/gate.mjs with the given flags.
import { build } from './build.mjs'
import { runNode, step } from './lib.mjs'

const [which = 'run', ...args] = process.argv.slice(2)
await build()
await step(`bench/${which}.mjs`, () => runNode(`bench/${which}.mjs`, args))
