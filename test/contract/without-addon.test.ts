// What is left where no native binary loads: public primitives in pure JavaScript, and plain words.
import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { ML_KEM, mlDsaSigner, SLH_DSA_FAST } from '../support/post-quantum.js'

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

  it('post-quantum verbs verify and encapsulate in lane noble', async () => {
    const { set, publicKey, sign } = mlDsaSigner('ml-dsa-65')
    const message = new TextEncoder().encode('a message')
    const context = Uint8Array.of(1)
    const encoded = [publicKey, message, context, sign(message, context)].map(bytes =>
      Buffer.from(bytes).toString('base64'),
    )
    const scheme = SLH_DSA_FAST['slh-dsa-sha2-128f']
    const { publicKey: hashKey, secretKey: hashSecret } = scheme.keygen(new Uint8Array(48))
    const hashSigned = scheme.sign(message, hashSecret)
    const kem = ML_KEM['ml-kem-768'].keygen()
    const given = {
      set,
      encoded,
      hash: [hashKey, hashSigned].map(bytes => Buffer.from(bytes).toString('base64')),
    }
    const program = join(copy, 'post-quantum.mjs')
    writeFileSync(
      program,
      `
      import { mlDsa, mlKem, slhDsa, x25519 } from 'ron-kms/primitives'
      const { set, encoded, hash } = ${JSON.stringify(given)}
      const bytes = text => Buffer.from(text, 'base64')
      const [publicKey, message, context, signature] = encoded.map(bytes)
      const [hashKey, hashSigned] = hash.map(bytes)
      const refused = call => { try { call(); return 'not refused' } catch ({ code, field }) { return code + ' ' + field } }
      const key = mlDsa.importKey(set, publicKey)
      const { ciphertext, sharedSecret } = mlKem.encapsulate('ml-kem', bytes('${Buffer.from(kem.publicKey).toString('base64')}'))
      console.log(JSON.stringify({
        lanes: [mlDsa.lanes(), mlKem.lanes(), slhDsa.lanes()],
        verdicts: [
          mlDsa.verify(set, publicKey, message, signature, { context }),
          mlDsa.verify(set, key, message, signature, { context }),
          mlDsa.verify(set, key, message, signature),
          mlDsa.verifyMu(set, key, new Uint8Array(64), signature),
          slhDsa.verify('slh-dsa-sha2-128f', hashKey, message, hashSigned),
          slhDsa.verify('slh-dsa-sha2-128f', hashKey, context, hashSigned),
        ],
        refusals: [
          refused(() => mlDsa.verify(set, publicKey.subarray(1), message, signature)),
          refused(() => mlDsa.verify(set, publicKey, message, signature, { context: new Uint8Array(256) })),
          refused(() => mlDsa.verify(set, publicKey, message, signature, { lane: 'aws-lc' })),
          refused(() => mlKem.checkPublicKey('ml-kem', new Uint8Array(1184).fill(255))),
          refused(() => mlKem.encapsulate('ml-kem', new Uint8Array(1184).fill(255))),
          refused(() => x25519.checkPublicKey(new Uint8Array(32))),
          refused(() => x25519.checkPublicKey(new Uint8Array(32).fill(9))),
        ],
        ciphertext: Buffer.from(ciphertext).toString('base64'),
        sharedSecret: Buffer.from(sharedSecret).toString('base64'),
      }))`,
    )
    const { stdout, stderr } = await node(program)
    expect(stderr).toBe('')
    const { lanes, verdicts, refusals, ciphertext, sharedSecret } = JSON.parse(stdout)
    expect(lanes).toEqual(Array(3).fill(['auto', 'noble']))
    expect(verdicts).toEqual([true, true, false, false, true, false])
    expect(refusals).toEqual([
      'BadRequest publicKey',
      'BadRequest context',
      'BadRequest lane',
      'BadRequest publicKey',
      'BadRequest publicKey',
      'BadRequest publicKey',
      'not refused',
    ])
    const received = ML_KEM['ml-kem-768'].decapsulate(Buffer.from(ciphertext, 'base64'), kem.secretKey)
    expect(Buffer.from(received).toString('base64')).toBe(sharedSecret)
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
