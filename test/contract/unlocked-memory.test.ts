// Where the operating system does not lock memory: reported, and fatal only where that is asked for.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { part } from '../support/parts.js'

const limit = part('memlock-limit')
const dist = new URL('../../dist/', import.meta.url)
const main = fileURLToPath(new URL('cli/main.js', dist))

/** Runs Node with at most so many KiB of locked memory. */
function node(kib: number, ...args: string[]) {
  const script = ['sh', '-c', `ulimit -l ${kib} && exec "$@"`, 'sh', process.execPath, ...args]
  const command = limit.path === 'sh' ? script : [limit.path, '--bounding-set=-ipc_lock', ...script]
  return spawnSync(command[0] as string, command.slice(1), { encoding: 'utf8', timeout: 20_000 })
}

const evaluate = (kib: number, code: string) =>
  node(kib, '--input-type=module', '--eval', `import { Kms, secretMemory } from '${dist}index.js'\n${code}`)

describe.skipIf(!limit.available)('where nothing can be locked', () => {
  it('a service that requires it does not start: exit code 78 and one line that says what to do', () => {
    const { status, stdout, stderr } = node(0, main, 'serve', '--dev', '--require-mlock')
    expect(status).toBe(78)
    expect(stdout).toBe('')
    expect(stderr).toMatch(
      /^\{"level":"INFO".*"event":"config_loaded".*\}\nconfig: security\.require_mlock = true: .*mlock: .*ulimit -l.*LimitMEMLOCK=.*\n$/,
    )
  })

  it('doctor says so, and is healthy', () => {
    const { status, stdout } = node(0, main, 'doctor')
    expect(status).toBe(0)
    expect(stdout).toMatch(/^secrets locked in RAM +no: mlock: /m)
    expect(stdout).toMatch(/^secrets wiped on fork +yes$/m)
  })

  it('the library goes on unlocked, or refuses to open, as it is told', () => {
    const { stdout } = evaluate(
      0,
      `const kms = await Kms.open({ backend: 'inmem' })
       const { kid } = await kms.createKey({ tenant: 'core', purpose: 'x', alg: 'ed25519' })
       const { lockedBytes, unlockedBytes } = secretMemory()
       const refused = await Kms.open({ backend: 'inmem', requireMlock: true }).catch(error => error)
       console.log(JSON.stringify([kms.sign(kid, new Uint8Array(3)).length, lockedBytes, unlockedBytes > 0,
         refused.code, refused.field, refused.retryable]))`,
    )
    expect(JSON.parse(stdout)).toEqual([64, 0, true, 'StoreUnavailable', 'requireMlock', false])
  })
})

describe.skipIf(!limit.available)('where little can be locked', () => {
  const GROW = `
    const made = []
    const grow = async () => {
      for (let i = 0; i < 2000; i++) made.push(await kms.createKey({ tenant: 'core', purpose: 'x', alg: 'ml-dsa' }))
    }
    const refused = await grow().catch(error => error)
    const works = made.length > 0 && kms.sign(made[0].kid, new Uint8Array(3)).length === 3309
    const { unlockedBytes } = secretMemory()
    kms.close()
    console.log(JSON.stringify([refused?.code, refused?.retryable, works, unlockedBytes > 0]))`

  it('and that is required, growth past it fails the operation, and what is held still works', () => {
    const { stdout, stderr } = evaluate(
      2048,
      `const kms = await Kms.open({ backend: 'inmem', requireMlock: true })${GROW}`,
    )
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual(['StoreUnavailable', false, true, false])
  })

  it('and that is not required, growth goes on unlocked', () => {
    const { stdout } = evaluate(2048, `const kms = await Kms.open({ backend: 'inmem' })${GROW}`)
    expect(JSON.parse(stdout)).toEqual([null, null, true, true])
  })
})
