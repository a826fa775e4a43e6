import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import { part } from './support/parts.js'

const run = promisify(execFile)
const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

interface Snippet {
  language: string
  /** The heading above it. */
  heading: string
  lines: string[]
}

/** The fenced blocks of a page that name a language, in order. */
function snippetsOf(page: string): Snippet[] {
  const found: Snippet[] = []
  let heading = ''
  let open: Snippet | undefined
  for (const line of readFileSync(at(page), 'utf8').split('\n')) {
    if (open) {
      if (line === '```') open = undefined
      else open.lines.push(line)
    } else if (line.startsWith('#')) {
      heading = line.replace(/^#+ /, '')
    } else if (/^```\w+$/.test(line)) {
      open = { language: line.slice(3), heading, lines: [] }
      found.push(open)
    }
  }
  return found
}

const snippets = snippetsOf('../README.md')

describe('the JavaScript of the README', () => {
  const scripts = snippets.filter(({ language }) => language === 'js')

  it('is there', () => {
    expect(scripts.length).toBeGreaterThanOrEqual(2)
  })

  // Inside the checkout, so that the package's own name means what was built to dist/.
  mkdirSync(at('.parts/'), { recursive: true })
  for (const [i, { heading, lines }] of scripts.entries()) {
    it(`${i + 1} (${heading}) prints what its comments say`, async () => {
      const file = at(`.parts/readme-${i + 1}.mjs`)
      writeFileSync(file, lines.join('\n'))
      const { stdout } = await run(process.execPath, [file])
      const printed = stdout.trimEnd().split('\n')
      const comments = lines.flatMap(line => /console\.log\(.*\) \/\/ (.*)$/.exec(line)?.[1] ?? [])
      expect(printed).toHaveLength(comments.length)
      // A comment may go on after the value: `true: every lane agrees`.
      for (const [n, comment] of comments.entries()) expect(comment.startsWith(printed[n] ?? '?')).toBe(true)
    })
  }
})

describe('the curl lines of the README', () => {
  const curl = part('curl')
  let server: ChildProcess | undefined

  afterEach(async () => {
    if (!server || server.exitCode !== null) return
    server.kill('SIGTERM')
    await once(server, 'exit')
  })

  it.skipIf(!curl.available)('sign and verify against a server in development mode', async () => {
    const shell = snippets.find(({ heading, language }) => heading === 'HTTP' && language === 'sh')
    const flags = ['serve', '--dev', '--bind', '127.0.0.1:0', '--metrics', '127.0.0.1:0']
    server = spawn(process.execPath, [at('../dist/cli/main.js'), ...flags], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const { address, token } = await readBanner(server)
    const script = shell?.lines
      .join('\n')
      .replace('TOKEN=…', `TOKEN=${token}`)
      .replace('http://127.0.0.1:9446', address)
    const { stdout } = await run('sh', ['-euc', script ?? 'exit 1'])
    const [signed = '', verified = ''] = stdout.trim().split('\n')
    expect(JSON.parse(signed)).toMatchObject({
      kid: expect.stringMatching(/^core\/audit\/ed25519\/[0-9a-f-]{36}#v1$/),
      sigs: [{ alg: 'ed25519', signature_b64: expect.any(String) }],
    })
    expect(JSON.parse(verified)).toMatchObject({ ok: true })
  })
})

/** Waits for the address and the token that the server prints. */
async function readBanner(server: ChildProcess): Promise<{ address: string; token: string }> {
  let address: string | undefined
  if (server.stdout) {
    for await (const line of createInterface(server.stdout)) {
      address ??= /^API +(http:\/\/[^/]+)/.exec(line)?.[1]
      const token = /Bearer (\S+)/.exec(line)?.[1]
      if (address && token) return { address, token }
    }
  }
  throw new Error('the server ended without printing its address and token')
}
