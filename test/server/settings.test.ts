// What a service does about its settings, from outside: one test for each thing that an operator may meet.
import { writeFileSync } from 'node:fs'
import { get } from 'node:https'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { certificate } from '../support/certificates.js'
import { ServiceProcess } from './process.js'
import { expectProblem, send } from './support.js'

let service: ServiceProcess
beforeEach(() => {
  service = new ServiceProcess()
  service.configure()
})
afterEach(() => service.end())

const ask = (body: string | Buffer, headers: Record<string, string> = {}) =>
  send(service.api, 'POST', '/v1/kms/sign', {
    body,
    headers: { authorization: `Bearer ${service.token}`, ...headers },
  })

async function rejected(reason: string): Promise<number> {
  const { text } = await send(service.ops, 'GET', '/metrics', { anonymous: true })
  return Number(new RegExp(`^rejected_total\\{reason="${reason}"\\} (\\d+)$`, 'm').exec(text)?.[1])
}

describe('a start', () => {
  it('without a file uses defaults and says so', async () => {
    service.file = false
    await service.start(['--bind', '127.0.0.1:0', '--metrics', '127.0.0.1:0'])
    expect(await service.event('config_loaded')).toMatchObject({
      level: 'INFO',
      file: 'none: defaults are used',
      given: ['bind_addr', 'metrics_addr', 'service.backend', 'service.amnesia'],
    })
  })

  it('with a file names it, and what is not a default', async () => {
    service.configure('max_conns = 7')
    await service.start()
    expect(await service.event('config_loaded')).toMatchObject({
      file: service.at('kms.toml'),
      given: ['bind_addr', 'metrics_addr', 'max_conns', 'service.backend', 'service.amnesia'],
    })
  })

  it.each<[string, string[], string]>([
    ['an address that is none', ['--bind', 'localhost:1'], 'bind_addr = localhost:1: must be ip:port'],
    ['TLS without its files', ['--tls'], 'tls.cert_path = (empty): is needed with tls.enabled = true'],
    [
      'TLS with files that are missing',
      ['--tls', '--tls-cert', 'none.pem', '--tls-key', 'none.pem'],
      'tls.cert_path = none.pem: cannot be read (ENOENT)',
    ],
    [
      'amnesia with keys that are kept',
      ['--backend', 'file', '--amnesia', '--root-key-file', 'root.key'],
      'service.amnesia = true: contradicts service.backend = file',
    ],
    ['an HSM without its PIN', ['--backend', 'pkcs11'], ''],
    [
      'attestation that there is none of',
      ['--attest', 'required'],
      'security.attest_require = required: the backend inmem cannot attest: use pkcs11, or if-available',
    ],
  ])('is refused with exit code 78 for %s', async (_name, flags, line) => {
    expect(await service.start(flags)).toBe(78)
    expect(service.plain.length).toBeGreaterThan(0)
    expect(service.plain[0]).toContain(`config: ${line}`)
    expect(service.log).toEqual([])
  })

  it('warns of old names', async () => {
    await service.start([], { KMS_ATTEST_REQUIRE: 'never' })
    expect(await service.event('config_alias')).toMatchObject({
      level: 'WARN',
      old: 'KMS_ATTEST_REQUIRE',
      name: 'RON_KMS_ATTEST_REQUIRE',
    })
  })
})

describe('a body', () => {
  it('over limits.max_body_bytes is 413', async () => {
    service.configure('[limits]', 'max_body_bytes = "2KiB"')
    await service.start()
    expectProblem(await ask(' '.repeat(2049)), 413, 'TooLarge')
  })

  it('that decodes to more than limits.decompress_ratio_cap times its size is 400, and counted', async () => {
    service.configure('[limits]', 'decompress_ratio_cap = 5')
    await service.start()
    const body = gzipSync(' '.repeat(5000))
    expectProblem(await ask(body, { 'content-encoding': 'gzip' }), 400, 'BadRequest')
    expect(await rejected('ratio_cap')).toBe(1)
  })
})

describe('TLS', () => {
  it('is on where it has its files', async () => {
    const { cert, key } = certificate('kms')
    writeFileSync(service.at('cert.pem'), cert)
    writeFileSync(service.at('key.pem'), key, { mode: 0o640 })
    service.configure(
      '[tls]',
      ...[
        'enabled = true',
        `cert_path = "${service.at('cert.pem')}"`,
        `key_path = "${service.at('key.pem')}"`,
      ],
    )
    await service.start()
    const port = new URL(service.api).port
    const status = await new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port, path: '/nope', ca: cert }, answer =>
        resolve(answer.resume().statusCode),
      ).on('error', reject)
    })
    expect(status).toBe(404)
    expect(await service.event('certificate_loaded')).toMatchObject({ level: 'INFO' })
    if (process.platform !== 'win32')
      expect(await service.event('tls_key_readable')).toMatchObject({ level: 'WARN', mode: '640' })
    expect(JSON.stringify(service.log)).not.toContain('PRIVATE KEY')
  })
})
