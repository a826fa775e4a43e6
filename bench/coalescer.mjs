// What does it bring to verify requests side by side that come at the same time, and what does it cost one that comes
// alone? The JSON requests of the HTTP API, in process: n of them in one turn of the event loop, with the coalescer
// and without, in turn. --rounds N: more are quieter.
import { parseArgs } from 'node:util'
import { Kms } from 'ron-kms'
import { Coalescer } from '../dist/coalescer.js'
import { machineFacts, machineLine } from './lib/machine.mjs'
import { median } from './lib/measure.mjs'

const { values: flags } = parseArgs({ options: { rounds: { type: 'string', default: '400' } } })
const rounds = Number(flags.rounds)
const SIZES = [1, 2, 4, 8, 16, 32, 64, 128]
const context = { requestId: 'bench', actor: 'bench' }

const kms = await Kms.open({ backend: 'inmem' })
const { kid } = await kms.createKey({ tenant: 'bench', purpose: 'verify', alg: 'ed25519', signs: 'message' })
const bodies = Array.from({ length: 128 }, (_, i) => {
  const message = Buffer.from(`message ${i}`)
  const signature = Buffer.from(kms.sign(kid, message)).toString('base64')
  const sigs = [{ alg: 'ed25519', signature_b64: signature }]
  return Buffer.from(JSON.stringify({ kid, message_b64: message.toString('base64'), sigs }))
})
const coalescer = new Coalescer(batch =>
  batch.length > 1
    ? kms.verifyCoalesced(batch)
    : [{ answer: kms.dispatch('verify', null, batch[0].body, context) }],
)
const ways = {
  // What the route would do without it: the work at once, the answer at the end of the turn.
  alone: async body => kms.dispatch('verify', null, body, context),
  together: body => coalescer.submit({ body, context }),
}

async function microsOf(way, count) {
  // Each in a turn of its own, as requests come.
  await new Promise(resolve => setImmediate(resolve))
  const since = process.hrtime.bigint()
  const answers = await Promise.all(bodies.slice(0, count).map(ways[way]))
  const micros = Number(process.hrtime.bigint() - since) / 1000
  if (!answers.every(answer => answer.startsWith('{"ok":true')))
    throw new Error('a good signature was refused')
  return micros / count
}

for (let i = 0; i < 20; i++) for (const way of Object.keys(ways)) await microsOf(way, 128)
console.log(machineLine(machineFacts()))
console.log('n requests in one turn: microseconds a request, medians')
console.log('    n   alone  together   alone over together')
for (const count of SIZES) {
  const times = { alone: [], together: [] }
  for (let round = 0; round < rounds; round++) {
    for (const way of round % 2 ? ['alone', 'together'] : ['together', 'alone']) {
      times[way].push(await microsOf(way, count))
    }
  }
  const [alone, together] = [median(times.alone), median(times.together)]
  const cells = [String(count).padStart(5), alone.toFixed(2).padStart(8), together.toFixed(2).padStart(10)]
  console.log(`${cells.join('')}${(alone / together).toFixed(2).padStart(10)}×`)
}
kms.close()
