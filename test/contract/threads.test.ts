// The addon in worker threads and child processes.
import { execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'

const dist = new URL('../../dist/', import.meta.url).href
const run = promisify(execFile)

/** Opens a key service, makes keys and prints what must be unique. */
const MAKE_KEYS = `
  const { Kms } = await import(${JSON.stringify(`${dist}index.js`)})
  const kms = await Kms.open({ backend: 'inmem' })
  const keys = []
  for (let i = 0; i < 50; i++) keys.push(await kms.createKey({ tenant: 'core', purpose: 'x', alg: 'ed25519' }))
  const made = keys.flatMap(({ kid, publicKey }) => [kid, Buffer.from(publicKey).toString('hex')])
`

describe('workers', () => {
  it('load the addon again and again, and keys and ids never repeat', async () => {
    const code = `import { parentPort } from 'node:worker_threads'; ${MAKE_KEYS}; parentPort.postMessage(made)`
    const source = new URL(`data:text/javascript,${encodeURIComponent(code)}`)
    const seen = new Set<string>()
    let count = 0
    for (let round = 0; round < 10; round++) {
      const workers = [new Worker(source), new Worker(source), new Worker(source)]
      for (const [made] of await Promise.all(workers.map(worker => once(worker, 'message')))) {
        for (const value of made as string[]) seen.add(value)
        count += made.length
      }
      await Promise.all(workers.map(worker => worker.terminate()))
    }
    expect(seen.size).toBe(count)
  })

  it('may be terminated with work under way', async () => {
    const code = `
      import { ed25519 } from ${JSON.stringify(`${dist}primitives.js`)}
      import { parentPort } from 'node:worker_threads'
      const n = 2000
      const packed = {
        publicKeys: new Uint8Array(32 * n).fill(3), signatures: new Uint8Array(64 * n),
        messages: new Uint8Array(n), offsets: Uint32Array.from({ length: n + 1 }, (_, i) => i),
      }
      const again = () => ed25519.verifyBatchAsync(packed).then(again)
      for (let i = 0; i < 8; i++) again()
      parentPort.postMessage('busy')
    `
    const source = new URL(`data:text/javascript,${encodeURIComponent(code)}`)
    for (let round = 0; round < 10; round++) {
      const worker = new Worker(source)
      await once(worker, 'message')
      expect(await worker.terminate()).toBe(1)
    }
  })
})

describe('child processes', () => {
  it('make keys of their own', async () => {
    const program = `${MAKE_KEYS}; console.log(JSON.stringify(made))`
    const children = Array.from({ length: 3 }, () =>
      run(process.execPath, ['--input-type=module', '--eval', program]),
    )
    const made = (await Promise.all(children)).flatMap(({ stdout }) => JSON.parse(stdout) as string[])
    expect(new Set(made).size).toBe(made.length)
  })

  it('that are forked after the parent used the addon load it afresh', async () => {
    const child = fork(fileURLToPath(new URL('fixtures/forked.mjs', import.meta.url)), [dist])
    const [answer] = (await once(child, 'message')) as [string]
    expect(answer).toBe('signed')
    child.kill()
  })
})
