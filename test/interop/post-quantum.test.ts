// Runs the script beside this file under a Node whose own crypto is a stranger to ours.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { part } from '../support/parts.js'

const run = promisify(execFile)
const script = fileURLToPath(new URL('post-quantum.mjs', import.meta.url))

describe('node:crypto of a newer Node and @noble/post-quantum', () => {
  const node = part('newer-node')

  it.skipIf(!node.available)(
    'agree with us on signatures and envelopes, both ways',
    { timeout: 120_000 },
    async () => {
      const { stdout } = await run(node.path, [script]).catch((error: { stdout?: string }) => ({
        stdout: error.stdout ?? String(error),
      }))
      const lines = stdout.trimEnd().split('\n')
      expect(lines.filter(line => !line.startsWith('ok '))).toEqual([
        expect.stringMatching(/^note: no mlDsa in ron-kms\/primitives/),
        expect.stringMatching(/^\d{3} facts hold, 0 do not$/),
      ])
      // Of each kind something was checked.
      for (const what of [
        /node:crypto of Node \d+\S+ verifies our ml-dsa-65 \(aws-lc\)/,
        /@noble\/post-quantum verifies our ml-dsa-87 \(rustcrypto\)/,
        /verifies the ML-DSA half of our hybrid signatures/,
        /we open an envelope from outside: x-wing, aes-256-gcm/,
        /a stranger opens our envelope: ml-kem-768, chacha20-poly1305, psk/,
      ]) {
        expect(lines.some(line => line.startsWith('ok ') && what.test(line))).toBe(true)
      }
    },
  )
})
