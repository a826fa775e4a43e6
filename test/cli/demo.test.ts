// `ron-kms demo`, in process and against a server in development mode.
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { httpClient, inProcessClient } from '../../src/cli/demo/client.js'
import { hashFile, listFiles } from '../../src/cli/demo/files.js'
import { runDemo } from '../../src/cli/demo/run.js'
import { KmsError } from '../../src/errors.js'
import { type Service, start, TOKEN } from '../server/support.js'

const FILES = 300
const dir = mkdtempSync(join(tmpdir(), 'ron-kms-demo-'))
mkdirSync(join(dir, 'sub', 'deep'), { recursive: true })
for (let i = 0; i < FILES; i++) writeFileSync(join(dir, i % 2 ? 'sub/deep' : '', `${i}.txt`), `file ${i}`)
writeFileSync(join(dir, 'empty'), '')
symlinkSync(dir, join(dir, 'loop'))
afterAll(() => rmSync(dir, { recursive: true }))

async function printed(work: () => Promise<boolean>): Promise<string> {
  const lines: string[] = []
  const { write } = process.stdout
  process.stdout.write = (text: string | Uint8Array) => lines.push(String(text)) > 0
  try {
    expect(await work()).toBe(true)
  } finally {
    process.stdout.write = write
  }
  return lines.join('')
}

function expectReport(report: string): void {
  expect(report).toContain(`files signed       ${FILES + 1} (0 passed over`)
  expect(report).toContain('versions used      #v1 #v2 #v3')
  expect(report).toContain(`verified           ${FILES + 1} of ${FILES + 1}`)
  expect(report).toContain('flipped bits       8, caught: 8, exactly those')
  expect(report).toMatch(
    /sign {15}[\d,]+\/s, a request of 64: p50 [\d.]+ ms, p99 [\d.]+ ms, longest [\d.]+ ms/,
  )
}

describe('the demo', () => {
  it('signs, rotates, verifies and catches exactly the flipped bits in process', async () => {
    const client = await inProcessClient()
    expectReport(await printed(() => runDemo(dir, client)))
    client.close()
  })

  it('passes over links and files that it cannot read', async () => {
    expect(await listFiles(dir)).toHaveLength(FILES + 1)
    expect(await hashFile(join(dir, 'gone'))).toBeUndefined()
    await expect(listFiles(join(dir, 'gone'))).rejects.toThrow('ENOENT')
  })

  it('refuses a directory without a file', async () => {
    const client = await inProcessClient()
    const empty = mkdtempSync(join(tmpdir(), 'ron-kms-demo-'))
    await expect(runDemo(empty, client)).rejects.toThrow('no file to sign')
    rmSync(empty, { recursive: true })
    client.close()
  })
})

describe('the demo over HTTP', () => {
  let service: Service
  beforeAll(async () => {
    service = await start()
  })
  afterAll(async () => {
    await service.close()
  })

  it('does the same', async () => {
    expectReport(await printed(() => runDemo(dir, httpClient(service.apiUrl, TOKEN))))
  })

  it('shows the error of the server, and says when there is none', async () => {
    await expect(runDemo(dir, httpClient(service.apiUrl, 'wrong'))).rejects.toMatchObject({
      code: 'NoCapability',
    })
    const nobody = httpClient('http://127.0.0.1:1', 'x')
    await expect(runDemo(dir, nobody)).rejects.toThrow('is the server running?')
    await expect(nobody.call('describe', 'x', {})).rejects.toBeInstanceOf(KmsError)
  })
})

describe('ron-kms demo', () => {
  const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
  const run = (...args: string[]) =>
    new Promise<{ code: number | null; stdout: string; stderr: string }>(resolve => {
      const env = { ...process.env, RON_KMS_TOKEN: '' }
      const child = execFile(process.execPath, [main, 'demo', ...args], { env }, (_, stdout, stderr) =>
        resolve({ code: child.exitCode, stdout, stderr }),
      )
    })

  it('exits 0 when all is as it must be', async () => {
    const { code, stdout, stderr } = await run(dir, '--in-process')
    expect(code).toBe(0)
    expectReport(stdout)
    expect(stderr).toContain(`[================================] ${FILES + 1}/${FILES + 1}`)
  })

  it('says what it needs', async () => {
    const { code, stderr } = await run(dir)
    expect(code).toBe(1)
    expect(stderr).toContain('RON_KMS_TOKEN')
    expect((await run('/nowhere', '--in-process')).stderr).toContain('ENOENT: /nowhere')
  })
})
