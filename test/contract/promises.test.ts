// Promises that the addon's threads keep, and the life of the process and of worker threads around them.
import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { addonStatus } from '../../src/cli/addon.js'

const index = new URL('../../dist/index.js', import.meta.url).href
const PRELUDE = `
  const { Kms } = await import(${JSON.stringify(index)})
  const message = new Uint8Array(32)
  const open = async () => {
    const kms = await Kms.open({ backend: 'inmem' })
    const { kid } = await kms.createKey({ tenant: 'core', purpose: 'x', alg: 'ed25519', signs: 'message' })
    const item = { kid, message, signature: kms.sign(kid, message) }
    return { kms, kid, batch: Array.from({ length: 200 }, () => item) }
  }
`

/** Runs a module in a process of its own, which must end by itself; what it printed. */
function run(code: string): string {
  return execFileSync(process.execPath, ['--input-type=module', '--eval', PRELUDE + code], {
    env: { ...process.env, PRELUDE },
    encoding: 'utf8',
    timeout: 60_000,
  }).trim()
}

describe.skipIf(!addonStatus().loaded)('a promise of the addon', () => {
  it('keeps the process alive until it is settled, and no longer', () => {
    const printed = run(`
      const { kms, kid, batch } = await open()
      for (let round = 1; round <= 3; round += 1) {
        await kms.verifyBatchAsync(batch)
        // A turn in which none is open.
        await new Promise(resolve => setImmediate(resolve))
      }
      kms.signAsync(kid, message).then(() => process.stdout.write('signed'))
    `)
    expect(printed).toBe('signed')
  })

  it('is settled for thousands at a time, each with its own answer', () => {
    const printed = run(`
      const { kms, kid, batch } = await open()
      const signed = await Promise.all(Array.from({ length: 5000 }, (_, i) =>
        kms.signAsync(kid, Buffer.from([i >> 8, i & 255])).then(it => kms.verify(kid, Buffer.from([i >> 8, i & 255]), it))))
      process.stdout.write(String(signed.filter(Boolean).length))
      // The last one is rejected, the others are not.
      const bad = [...batch.slice(1), { ...batch[0], kid: 'nothing' }]
      const settled = await Promise.allSettled([
        kms.verifyBatchAsync(batch),
        kms.signAsync('nothing', message),
        kms.verifyBatchAsync(bad),
      ])
      process.stdout.write(' ' + settled.map(it => it.status + ' ' + (it.reason?.code ?? '')).join(','))
    `)
    expect(printed).toBe('5000 fulfilled ,rejected BadRequest,fulfilled')
  })

  it('is given up with the thread that waits for it, and with no other', () => {
    const printed = run(`
      const { Worker } = await import('node:worker_threads')
      const source = new URL('data:text/javascript,' + encodeURIComponent(process.env.PRELUDE + \`
        import { parentPort, workerData } from 'node:worker_threads'
        const { kms, kid, batch } = await open()
        for (let i = 0; i < 200; i += 1) {
          kms.signAsync(kid, message).catch(() => {})
          kms.verifyBatchAsync(batch).catch(() => {})
        }
        if (workerData === 'exits') process.exit()
        parentPort.postMessage('busy')
      \`))
      const { kms, batch } = await open()
      const own = Promise.all(Array.from({ length: 500 }, () => kms.verifyBatchAsync(batch)))
      for (let round = 0; round < 8; round += 1) {
        const worker = new Worker(source, { workerData: round % 2 ? 'exits' : 'stays' })
        worker.on('error', error => { throw error })
        const ended = new Promise(resolve => worker.once('exit', resolve))
        worker.once('message', () => worker.terminate())
        await ended
      }
      const verdicts = await own
      process.stdout.write(String(verdicts.length) + ' ' + verdicts.every(it => it.every(verdict => verdict === 1)))
    `)
    expect(printed).toBe('500 true')
  })
})
