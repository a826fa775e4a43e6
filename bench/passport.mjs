// `npm run bench:passport`: passports in process beside jose and fast-jwt, and over HTTP beside a bare Hono echo.
// --rounds N: more are quieter; --only process|http; --seconds N: how long each HTTP row runs.
import { parseArgs } from 'node:util'
import { machineFacts, machineLine } from './lib/machine.mjs'
import { inProcess } from './passport/in-process.mjs'
import { issuing } from './passport/issuing.mjs'
import { overHttp } from './passport/over-http.mjs'

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '25' },
    only: { type: 'string', default: '' },
    seconds: { type: 'string', default: '1' },
  },
})

console.log(machineLine(machineFacts()))
let kept = true
if (flags.only !== 'http') {
  kept = (await inProcess(Number(flags.rounds))) && kept
  await issuing(Number(flags.rounds))
}
if (flags.only !== 'process') kept = (await overHttp(Number(flags.rounds), Number(flags.seconds))) && kept
process.exitCode = kept ? 0 : 1
