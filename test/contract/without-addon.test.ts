// What is left where no native binary loads: public primitives in pure JavaScript, and plain words.
import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
// The package without its addon.
const copy = mkdtempSync(join(tmpdir(), 'ron-kms-no-addon-'))
cpSync(join(root, 'dist'), join(copy, 'dist'), { recursive: true })
cpSync(join(root, 'package.json'), join(copy, 'package.json'))
symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
afterAll(() => rmSync(copy, { recursive: true }))

function node(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise(resolve => {
    const child = execFile(process.execPath, args, { cwd: copy }, (_, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    )
  })
}

const evaluate = (program: string) => node('--input-type=module', '--eval', program)

describe('without the addon', () => {
  it('primitives verify in lane noble', async () => {
    const { stdout, stderr } = await evaluate(`
      import { ed25519, blake3 } from 'ron-kms/primitives'
      const publicKey = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex')
      const signature = Buffer.from('e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b', 'hex')
      const key = ed25519.importKey(publicKey)
      const message = new Uint8Array(0)
      console.log(JSON.stringify({
        lanes: ed25519.lanes(),
        verdicts: [
          ed25519.verify(publicKey, message, signature),
          ed25519.verify(key, Uint8Array.of(1), signature),
          ...ed25519.verifyBatch([{ publicKey: key, message, signature }]),
          ...(await ed25519.verifyBatchAsync([{ publicKey, message, signature }])),
        ],
        digest: Buffer.from(blake3(Buffer.from('hello world'))).toString('hex').slice(0, 8),
      }))`)
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual({
      lanes: ['auto', 'noble'],
      verdicts: [true, false, 1, 1],
      digest: 'd74981ef',
    })
  })

  it('a native lane and a key service refuse, and say what to install', async () => {
    const { stdout } = await evaluate(`
      import { Kms } from 'ron-kms'
      import { ed25519 } from 'ron-kms/primitives'
      const refuse = async call => { try { await call() } catch ({ code, message }) { console.log(code, message) } }
      await refuse(() => Kms.open({ backend: 'inmem' }))
      await refuse(() => ed25519.verify(new Uint8Array(32), new Uint8Array(0), new Uint8Array(64), { lane: 'dalek' }))`)
    const [opened, verified] = stdout.trim().split('\n')
    expect(opened).toMatch(/^Unsupported no native addon: .*install the package ron-kms-/)
    expect(verified).toMatch(/^BadRequest no such lane/)
  })

  it('doctor and serve say so', async () => {
    const doctor = await node('dist/cli/main.js', 'doctor', '--json')
    expect(doctor.code).toBe(1)
    const { addon, lanes } = JSON.parse(doctor.stdout)
    expect(addon.loaded).toBe(false)
    expect(lanes).toContainEqual({ lane: 'noble', state: 'ok' })
    expect(lanes).toContainEqual({ lane: 'dalek', state: 'unavailable' })
    const serve = await node('dist/cli/main.js', 'serve', '--dev')
    expect(serve.code).toBe(1)
    expect(serve.stderr).toContain('native core is missing')
  })
})
