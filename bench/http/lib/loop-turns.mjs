// Loaded into a server with `--import`: how long its event loop was away, and how much of that it computed. On SIGUSR2 it
// writes what it saw since the last time as a line of JSON to the standard output.
import { openSync, readSync } from 'node:fs'

const SHOWN = 5
let schedstat
try {
  // Of this thread: nanoseconds on a processor, and nanoseconds that it waited for one.
  schedstat = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
} catch {
  // Not Linux.
}
const text = Buffer.alloc(64)

function computed() {
  if (schedstat === undefined) return { cpu: Number.NaN, waited: Number.NaN }
  const [cpu, waited] = text.toString('latin1', 0, readSync(schedstat, text, 0, text.length, 0)).split(' ')
  return { cpu: Number(cpu) / 1e6, waited: Number(waited) / 1e6 }
}

let longest = []
let ticks = 0
let [last, before] = [performance.now(), computed()]
setInterval(() => {
  const now = performance.now()
  const after = computed()
  const turn = {
    ms: now - last,
    cpu: after.cpu - before.cpu,
    waited: after.waited - before.waited,
    at: now,
  }
  last = now
  before = after
  ticks += 1
  const least = longest.at(-1)?.ms ?? 0
  if (longest.length < SHOWN || turn.ms > least) {
    longest = [...longest, turn].sort((a, b) => b.ms - a.ms).slice(0, SHOWN)
  }
}, 1).unref()

process.on('SIGUSR2', () => {
  process.stdout.write(`${JSON.stringify({ ticks, longest })}\n`)
  longest = []
  ticks = 0
})
