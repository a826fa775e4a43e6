// A token in worker threads and child processes: each has sessions of its own, or a typed error, and none shares a handle.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { part } from '../support/parts.js'
import { softToken } from '../support/softhsm.js'

const index = new URL('../../dist/index.js', import.meta.url).href
const softhsm = part('softhsm')
// Other loaders have no order of their own for a library.
const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } }
const isGlibc = header.glibcVersionRuntime !== undefined

describe.skipIf(!softhsm.available)('a token', () => {
  const dir = mkdtempSync(join(tmpdir(), 'ron-kms-token-threads-'))
  afterAll(() => rmSync(dir, { recursive: true }))

  /** Runs a module in a process of its own, with `open(name)` for a service on the token. */
  const run = (code: string, more: NodeJS.ProcessEnv = {}) => {
    const token = softToken(mkdtempSync(join(dir, 'token-')))
    const prelude = `
      const { Kms } = await import(${JSON.stringify(index)})
      const pkcs11 = ${JSON.stringify(token.options)}
      const open = name => Kms.open({ backend: 'pkcs11', pkcs11, store: { dir: ${JSON.stringify(`${dir}/`)} + name, create: true } })
      const wish = { tenant: 'core', purpose: 'x', alg: 'ed25519' }
      const message = new Uint8Array(8)
    `
    const env = { ...process.env, ...token.env, PRELUDE: prelude, ...more }
    return execFileSync(process.execPath, ['--input-type=module', '--eval', prelude + code], {
      env,
      encoding: 'utf8',
      timeout: 60_000,
    }).trim()
  }

  it('serves several threads of one process, each with sessions of its own', () => {
    const printed = run(`
      const { Worker } = await import('node:worker_threads')
      const body = process.env.PRELUDE + \`
        import { parentPort, workerData } from 'node:worker_threads'
        const kms = await open(workerData)
        const { kid } = await kms.createKey(wish)
        let right = 0
        await Promise.all(Array.from({ length: 50 }, async () => {
          if (kms.verify(kid, message, await kms.signAsync(kid, message))) right += 1
        }))
        parentPort.postMessage([kid, right])
        if (workerData === 'closes') kms.close()
      \`
      const source = new URL('data:text/javascript,' + encodeURIComponent(body))
      const kms = await open('main')
      const { kid } = await kms.createKey(wish)
      // One closes its service, and one ends without.
      const results = await Promise.all(['closes', 'leaves'].map(name => new Promise((resolve, reject) => {
        const worker = new Worker(source, { workerData: name })
        worker.on('error', reject)
        let said
        worker.on('message', message => { said = message })
        worker.on('exit', () => resolve(said))
      })))
      const still = kms.verify(kid, message, await kms.signAsync(kid, message))
      const kids = new Set([kid, ...results.map(([kid]) => kid)])
      console.log(kids.size, results.map(([, right]) => right).join(), still)
      kms.close()
    `)
    expect(printed).toBe('3 50,50 true')
  })

  it.runIf(isGlibc)('calls its own OpenSSL, not the one that Node exports', () => {
    const bindings = join(dir, 'bindings')
    run(
      `
        const kms = await open('bound')
        const { kid } = await kms.createKey(wish)
        await kms.signAsync(kid, message)
        kms.close()
      `,
      { LD_DEBUG: 'bindings', LD_DEBUG_OUTPUT: bindings },
    )
    const bound = readdirSync(dir)
      .filter(name => name.startsWith('bindings'))
      .flatMap(name => readFileSync(join(dir, name), 'utf8').split('\n'))
      .flatMap(line => /softhsm2\.so \[0\] to (\S+) \[0\]: normal symbol `(?:EVP|BN)_/.exec(line)?.[1] ?? [])
    expect(new Set(bound.map(library => basename(library).split('.')[0]))).toEqual(new Set(['libcrypto']))
  })

  it('may be left open when the process ends', () => {
    const printed = run(`
      const kms = await open('left')
      const { kid } = await kms.createKey(wish)
      for (let i = 0; i < 20; i += 1) void kms.signAsync(kid, message).catch(() => {})
      console.log((await kms.signAsync(kid, message)).length)
      process.exit(0)
    `)
    expect(printed).toBe('64')
  })

  it('is opened afresh by a child process', () => {
    const printed = run(`
      const { fork } = await import('node:child_process')
      const { once } = await import('node:events')
      const { writeFileSync } = await import('node:fs')
      const kms = await open('parent')
      const { kid } = await kms.createKey(wish)
      const file = ${JSON.stringify(join(dir, 'child.mjs'))}
      writeFileSync(file, process.env.PRELUDE + \`
        const kms = await open('child')
        const { kid } = await kms.createKey(wish)
        process.send(kms.verify(kid, message, await kms.signAsync(kid, message)))
        kms.close()
      \`)
      const [right] = await once(fork(file, { execArgv: [] }), 'message')
      console.log(right, kms.verify(kid, message, await kms.signAsync(kid, message)))
      kms.close()
    `)
    expect(printed).toBe('true true')
  })
})
