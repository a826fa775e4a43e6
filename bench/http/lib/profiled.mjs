// Loaded into a server with `--import`: the first SIGUSR2 starts V8's profiler, the second writes what it saw to
// BENCH_PROFILE and says so on the standard output.
import { writeFileSync } from 'node:fs'
import { Session } from 'node:inspector/promises'

const SAMPLE_MICROS = 200
const file = process.env.BENCH_PROFILE
const session = new Session()
session.connect()
let running = false

process.on('SIGUSR2', async () => {
  if (running) {
    const { profile } = await session.post('Profiler.stop')
    writeFileSync(file, JSON.stringify(profile))
  } else {
    await session.post('Profiler.enable')
    await session.post('Profiler.setSamplingInterval', { interval: SAMPLE_MICROS })
    await session.post('Profiler.start')
  }
  running = !running
  process.stdout.write(`profiling: ${running}\n`)
})
