import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { formatFault, show } from '../../src/config/faults.js'
import { formatAddress, socket } from '../../src/config/kinds.js'
import { loadConfig, type Sources } from '../../src/config/load.js'
import { type Config, KEYS, SCHEMA } from '../../src/config/schema.js'

const DEV: Sources = { dev: true, env: {} }
/** Needed without --dev. */
const ROOT_KEY = { 'capability.root_key_file': 'caps' } as const

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ron-kms-config-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

function config(sources: Partial<Sources>): Config {
  const loaded = loadConfig({ ...DEV, ...sources })
  expect(loaded.faults.map(formatFault)).toEqual([])
  return loaded.config as Config
}

function faults(sources: Partial<Sources>): string[] {
  const loaded = loadConfig({ ...DEV, ...sources })
  expect(loaded.config).toBeUndefined()
  return loaded.faults.map(formatFault)
}

describe('defaults', () => {
  it('are those of the table', () => {
    expect(config({})).toEqual({
      bind_addr: { host: '127.0.0.1', port: 9446 },
      metrics_addr: { host: '127.0.0.1', port: 9909 },
      workers: 1,
      max_conns: 1024,
      read_timeout: 5000,
      write_timeout: 5000,
      idle_timeout: 60_000,
      destroy: { min_delay: 86_400_000 },
      ed25519: { table_cache_bytes: 67_108_864 },
      limits: { max_body_bytes: 1_048_576, decompress_ratio_cap: 10 },
      tls: { enabled: false, cert_path: '', key_path: '', client_ca: '' },
      uds: { path: '', allow_uids: [] },
      pq: {
        produce_hybrid: true,
        verify_mode: 'and',
        rollout_percent: 100,
        legacy_grace: 0,
        tenants: {},
      },
      security: {
        verify_after_sign: true,
        require_mlock: false,
        allow_import: false,
        attest_require: 'if-available',
        time_skew_tolerance_ms: 2000,
        sign_rate_limit_rps: 0,
      },
      queue: { max_inflight_sign: 512, max_inflight_verify: 1024, tenant_share_min: 0.05 },
      capability: {
        root_key_file: '',
        root_key_env: '',
        revocation_file: '',
        trusted_proxies: [],
        read_may_verify: false,
        max_rps: 0,
        mint_per_minute: 60,
        max_active: 10_000,
        max_life: 86_400_000,
      },
      otel: { endpoint: '' },
      backends: {
        file: { dir: './kms-sealed', accept_older: false },
        pkcs11: {
          module_path: '',
          slot_label: 'RON-KMS',
          pin_env: '',
          max_sessions: 16,
          queue: 512,
          keep_alive: 30_000,
          idle_close: 300_000,
          trip_after: 5,
          backoff_first: 100,
          backoff_most: 5000,
          deadline: 2000,
          open_deadline: 10_000,
        },
      },
      root_key: { kind: 'key-file', file: '', env: '' },
      audit: {
        enabled: true,
        instance: 'main',
        dir: '',
        anchor: '',
        export: '',
        export_position: '',
        witnesses: {},
        durability: 'queued',
        on_full: 'reject',
        flush_interval: 100,
        checkpoint_interval: 10_000,
        checkpoint_interval_ops: 5000,
        verify: 'requests',
        accept_keys: false,
        accept_older: false,
        archive_dir: '',
        sealing: 'software',
        key_generation: 1,
        retain_records: 0,
        verify_cache_ttl_ms: 300_000,
      },
      service: {
        backend: 'inmem',
        amnesia: true,
        allowed_algs: ['ed25519', 'ml-dsa', 'x25519', 'ml-kem'],
        multi_backends: [],
        allow_sign_fallback: false,
      },
      log: { level: 'info', format: 'json' },
    })
  })

  it('lack only root keys, of keys and of capabilities, and say how they are made', () => {
    expect(faults({ dev: false })).toEqual([
      expect.stringMatching(
        /^config: root_key\.file = \(empty\): this or .* `ronctl root-key new FILE` makes one$/,
      ),
      expect.stringMatching(
        /^config: capability\.root_key_file = \(empty\): this or .* `ronctl cap root-key new FILE` makes one; or .*--dev$/,
      ),
    ])
    const both = { 'root_key.file': 'a', 'root_key.env': 'B' } as const
    expect(faults({ dev: false, flags: { ...both, ...ROOT_KEY } })).toHaveLength(1)
    const flags = { 'root_key.file': 'a', ...ROOT_KEY }
    expect(config({ dev: false, flags }).service.backend).toBe('file')
    const env = { RON_KMS_ROOT_KEY_ENV: 'B', RON_KMS_CAPABILITY_ROOT_KEY_ENV: 'C' }
    expect(config({ dev: false, env })).toMatchObject({
      root_key: { env: 'B' },
      capability: { root_key_env: 'C' },
    })
    expect(faults({ dev: false, flags, env: { RON_KMS_CAPABILITY_ROOT_KEY_ENV: 'C' } })).toHaveLength(1)
  })

  it('take a root key of capabilities with --dev too, from one place', () => {
    expect(config({ flags: ROOT_KEY }).capability.root_key_file).toBe('caps')
    expect(faults({ flags: { ...ROOT_KEY, 'capability.root_key_env': 'C' } })).toHaveLength(1)
  })

  it('leave amnesia off without --dev', () => {
    const flags = { 'service.backend': 'inmem', ...ROOT_KEY }
    expect(config({ dev: false, flags }).service.amnesia).toBe(false)
  })

  it('are frozen at every depth', () => {
    const frozen = config({})
    expect(Object.isFrozen(frozen)).toBe(true)
    expect(Object.isFrozen(frozen.limits)).toBe(true)
    expect(Object.isFrozen(frozen.bind_addr)).toBe(true)
    expect(Object.isFrozen(frozen.service.allowed_algs)).toBe(true)
  })
})

describe('precedence', () => {
  const toml = () => file('precedence.toml', 'max_conns = 10\n[limits]\nmax_body_bytes = "2KiB"\n')

  it('puts the file over defaults', () => {
    expect(config({ configPath: toml() }).max_conns).toBe(10)
  })

  it('puts the environment over the file', () => {
    expect(config({ configPath: toml(), env: { RON_KMS_MAX_CONNS: '20' } }).max_conns).toBe(20)
  })

  it('puts flags over the environment', () => {
    const merged = config({
      configPath: toml(),
      env: { RON_KMS_MAX_CONNS: '20' },
      flags: { max_conns: '30' },
    })
    expect(merged.max_conns).toBe(30)
    expect(merged.limits.max_body_bytes).toBe(2048)
  })

  it('puts --dev over environment and file, and a flag over --dev', () => {
    const path = file('backend.toml', '[service]\nbackend = "file"\n')
    expect(config({ configPath: path, env: { RON_KMS_BACKEND: 'tpm' } }).service.backend).toBe('inmem')
    const durable = config({ flags: { 'service.backend': 'file', 'root_key.file': 'a' } })
    expect(durable.service).toMatchObject({ backend: 'file', amnesia: false })
    expect(faults({ flags: { 'service.backend': 'tpm' } })).toEqual([
      expect.stringMatching(
        /^config: service\.backend = tpm: must be inmem, file or pkcs11.*\(from the command line\)$/,
      ),
    ])
    const both = { 'service.backend': 'file', 'service.amnesia': 'true', 'root_key.file': 'a' } as const
    expect(faults({ flags: both })).toEqual([
      'config: service.amnesia = true: contradicts service.backend = file',
    ])
  })

  it('takes the file from RON_KMS_CONFIG, and from --config before that', () => {
    const other = file('other.toml', 'max_conns = 11\n')
    expect(config({ env: { RON_KMS_CONFIG: other } }).max_conns).toBe(11)
    expect(config({ configPath: toml(), env: { RON_KMS_CONFIG: other } }).max_conns).toBe(10)
  })
})

describe('files', () => {
  it('may be JSON', () => {
    const path = file(
      'a.json',
      '{"read_timeout":"250ms","service":{"allowed_algs":["ed25519"]},"bind_addr":"[::1]:0"}',
    )
    expect(config({ configPath: path })).toMatchObject({
      read_timeout: 250,
      bind_addr: { host: '::1', port: 0 },
    })
  })

  it('answer for every unknown key and section without showing a value', () => {
    const path = file(
      'unknown.toml',
      'pin = "hunter2"\nlimits.nope = "hunter2"\n"limits.max_body_bytes" = "1MiB"\n[tpm]\nkey = "hunter2"\n',
    )
    const lines = faults({ configPath: path })
    expect(lines).toEqual([
      'config: pin = (not shown): is not a setting of this version',
      'config: limits.nope = (not shown): is not a setting of this version',
      'config: limits.max_body_bytes = (not shown): is not a setting of this version',
      'config: tpm = (not shown): is not a setting of this version',
    ])
  })

  it.each([
    ['a section that is no table', 'limits = "hunter2"', 'config: limits = (not shown): must be a table'],
    [
      'a number for a duration',
      'read_timeout = 5',
      /^config: read_timeout = 5: must be a duration .*\(from the file\)$/,
    ],
    [
      'a string for a boolean',
      'service.amnesia = "true"',
      /^config: service\.amnesia = true: must be true or false/,
    ],
    ['a table for a value', '[bind_addr]\nhost = "::1"', /^config: bind_addr = \(a table\): must be ip:port/],
    ['a string for a count', 'max_conns = "10"', /^config: max_conns = 10: must be a whole number/],
    ['a fraction', 'max_conns = 1.5', /^config: max_conns = 1\.5: must be a whole number/],
    [
      'an unknown algorithm',
      'service.allowed_algs = ["ed25519", "rsa"]',
      /^config: service\.allowed_algs = ed25519,rsa: /,
    ],
  ])('are refused for %s', (_name, text, line) => {
    const lines = faults({
      dev: false,
      flags: { 'service.backend': 'inmem' },
      configPath: file('bad.toml', text),
    })
    expect(lines).toEqual([typeof line === 'string' ? line : expect.stringMatching(line)])
  })

  it.each([
    ['missing.toml', undefined, 'cannot be read (ENOENT)'],
    ['settings.yaml', 'pin: hunter2', 'must name a file that ends in .toml or .json'],
    ['broken.toml', 'token = "hunter2\n', 'is not valid TOML (line 1, column 17)'],
    ['broken.json', '{"token":"hunter2"', 'is not valid JSON'],
    ['twice.json', '{"dev":true,"dev":"hunter2"}', 'has a name twice in one object'],
    ['list.json', '["hunter2"]', 'must hold a table of settings'],
  ])('are refused by name, never quoted: %s', (name, text, rule) => {
    const path = text === undefined ? join(folder, name) : file(name, text)
    const loaded = loadConfig({ ...DEV, configPath: path })
    expect(loaded.faults).toEqual([{ key: '--config', value: show(path), rule }])
  })
})

describe('the environment', () => {
  it('answers for every unknown variable with the prefix without showing a value', () => {
    expect(faults({ env: { RON_KMS_PASSWORD: 'hunter2', RON_KMS_TPM: '1', RON_KMSX: 'other' } })).toEqual([
      'config: RON_KMS_PASSWORD = (not shown): is not a variable of this version',
      'config: RON_KMS_TPM = (not shown): is not a variable of this version',
    ])
  })

  it('may hold the variables of clients and of the native core', () => {
    config({ env: { RON_KMS_TOKEN: 'x', RON_KMS_CPU_TIER: 'avx2' } })
  })

  it('may use the old names, which are reported, and the new ones win', () => {
    const loaded = loadConfig({
      ...DEV,
      env: {
        KMS_API_ADDR: '127.0.0.1:1',
        KMS_METRICS_ADDR: '127.0.0.1:2',
        RON_KMS_METRICS_ADDR: '127.0.0.1:3',
      },
    })
    expect(loaded.config?.bind_addr.port).toBe(1)
    expect(loaded.config?.metrics_addr.port).toBe(3)
    expect(loaded.aliases).toEqual([
      { old: 'KMS_API_ADDR', name: 'RON_KMS_BIND_ADDR' },
      { old: 'KMS_METRICS_ADDR', name: 'RON_KMS_METRICS_ADDR' },
    ])
  })

  it('names the file by the old name too', () => {
    const loaded = loadConfig({ ...DEV, env: { RON_CONFIG: file('old.toml', 'max_conns = 12\n') } })
    expect(loaded.config?.max_conns).toBe(12)
    expect(loaded.aliases).toEqual([{ old: 'RON_CONFIG', name: 'RON_KMS_CONFIG' }])
  })

  it('takes 1 and 0 for booleans and commas in lists', () => {
    const env = { RON_KMS_AMNESIA: '1', RON_KMS_BACKEND: 'inmem', RON_KMS_ALLOWED_ALGS: ' ed25519 ' }
    expect(config({ dev: false, env, flags: ROOT_KEY }).service).toMatchObject({
      backend: 'inmem',
      amnesia: true,
      allowed_algs: ['ed25519'],
    })
  })
})

describe('trusted proxies', () => {
  it('are addresses and networks, in text and in a file', () => {
    const value = (text: string) =>
      config({ flags: { 'capability.trusted_proxies': text } }).capability.trusted_proxies
    expect(value('')).toEqual([])
    expect(value('10.0.0.1, 10.0.0.0/8,2001:db8::/32,::1')).toEqual([
      '10.0.0.1',
      '10.0.0.0/8',
      '2001:db8::/32',
      '::1',
    ])
    const path = file('proxies.toml', '[capability]\ntrusted_proxies = ["10.0.0.1", "::/0"]\n')
    expect(config({ configPath: path }).capability.trusted_proxies).toEqual(['10.0.0.1', '::/0'])
  })

  it.each([
    '10.0.0',
    'proxy',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/8/8',
    '::1/129',
    'fe80::1%lo',
    ',',
    '10.0.0.1,',
  ])('are never %s', text => {
    expect(faults({ flags: { 'capability.trusted_proxies': text } })).toHaveLength(1)
  })
})

describe('values', () => {
  it.each([
    ['bind_addr', '0.0.0.0:0'],
    ['bind_addr', '[::]:65535'],
    ['max_conns', '4294967295'],
    ['read_timeout', '1ms'],
    ['read_timeout', '24h'],
    ['destroy.min_delay', '0ms'],
    ['destroy.min_delay', '87840h'],
    ['limits.max_body_bytes', '1KiB'],
    ['limits.max_body_bytes', '65536'],
    ['log.level', 'trace'],
    ['log.format', 'text'],
  ] as const)('%s may be %s', (key, value) => {
    config({ flags: { [key]: value } })
  })

  it.each([
    ['bind_addr', 'localhost:9446'],
    ['bind_addr', '127.0.0.1'],
    ['bind_addr', '127.0.0.1:65536'],
    ['bind_addr', '127.0.0.256:1'],
    ['bind_addr', '::1:80'],
    ['bind_addr', '[127.0.0.1]:80'],
    ['bind_addr', ''],
    ['max_conns', '0'],
    ['max_conns', '-1'],
    ['max_conns', '4294967296'],
    ['max_conns', '1e3'],
    ['read_timeout', '5'],
    ['read_timeout', '0s'],
    ['read_timeout', '25h'],
    ['read_timeout', '5 s'],
    ['write_timeout', '-5s'],
    ['idle_timeout', '1d'],
    ['destroy.min_delay', '87841h'],
    ['destroy.min_delay', '-1h'],
    ['destroy.min_delay', '0'],
    ['limits.max_body_bytes', '1023'],
    ['limits.max_body_bytes', '1GiB'],
    ['limits.max_body_bytes', '2000MiB'],
    ['service.allowed_algs', ''],
    ['service.allowed_algs', 'ed25519,ed25519'],
    ['service.allowed_algs', 'ed25519,rsa'],
    ['pq.verify_mode', 'none'],
    ['pq.rollout_percent', '101'],
    ['pq.legacy_grace', 'tomorrow'],
    ['pq.legacy_grace', '2027-01-31'],
    ['pq.tenants', '{"acme":{"verify_mode":"x"}}'],
    ['pq.tenants', '{"ac/me":{}}'],
    ['pq.tenants', '{"acme":{"nope":1}}'],
    ['pq.tenants', '[]'],
    ['service.amnesia', 'yes'],
    ['log.level', 'INFO'],
    ['log.format', 'xml'],
  ] as const)('%s may not be %j', (key, value) => {
    const lines = faults({ flags: { [key]: value } })
    const rule = SCHEMA[key].rule
    expect(lines).toEqual([`config: ${key} = ${value || '(empty)'}: ${rule} (from the command line)`])
  })

  it('may not put both listeners on one address', () => {
    expect(faults({ flags: { bind_addr: '127.0.0.1:7000', metrics_addr: '127.0.0.1:7000' } })).toEqual([
      'config: metrics_addr = 127.0.0.1:7000: must differ from bind_addr',
    ])
    config({ flags: { bind_addr: '127.0.0.1:0', metrics_addr: '127.0.0.1:0' } })
  })

  it('are all judged before anything is refused', () => {
    const lines = faults({
      flags: { max_conns: 'many' },
      env: { RON_KMS_READ_TIMEOUT: 'soon', RON_KMS_NOPE: '1' },
      configPath: file('all.toml', 'idle_timeout = "never"\nnope = 1\n'),
    })
    expect(lines.map(line => line.split(' = ')[0])).toEqual([
      'config: nope',
      'config: max_conns',
      'config: read_timeout',
      'config: idle_timeout',
      'config: RON_KMS_NOPE',
    ])
  })

  it('appear on one short line, whatever they hold', () => {
    const [line] = faults({ flags: { max_conns: `a\nb\u001b[31m\u2028${'x'.repeat(500)}` } })
    expect(line).toMatch(/^config: max_conns = a\?b\?\[31m\?x+…: must be/)
    expect(line?.length).toBeLessThan(200)
  })

  it('never fault anything but themselves', () => {
    fc.assert(
      fc.property(fc.constantFrom(...KEYS), fc.string(), (key, value) => {
        const loaded = loadConfig({ ...DEV, flags: { [key]: value } })
        for (const fault of loaded.faults) {
          expect(formatFault(fault).split('\n')).toHaveLength(1)
          expect(fault.key).toBe(key)
        }
      }),
    )
  })
})

describe('addresses', () => {
  it('print as they were read', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(65_535), (host, port) => {
        const text = formatAddress({ host, port })
        expect(socket.text(text)).toEqual({ host, port })
      }),
    )
  })
})

describe('the backend pkcs11', () => {
  const module = () => file('module.so', '')
  const flags = (more: Record<string, string> = {}) => ({
    'service.backend': 'pkcs11',
    'backends.pkcs11.module_path': module(),
    'backends.pkcs11.pin_env': 'RON_KMS_PIN',
    ...more,
  })
  const env = { RON_KMS_PIN: '1234' }

  it('takes the PIN from whatever variable is named, and needs no root key of its own', () => {
    const { service, root_key } = config({ flags: flags(), env })
    expect(service).toMatchObject({ backend: 'pkcs11', amnesia: false })
    expect(root_key.file).toBe('')
    expect(config({ flags: flags({ 'root_key.kind': 'hsm' }), env }).root_key.kind).toBe('hsm')
    expect(
      faults({ flags: flags({ 'backends.pkcs11.pin_env': 'OTHER' }), env: { ...env, OTHER: '1' } }),
    ).toEqual(['config: RON_KMS_PIN = (not shown): is not a variable of this version'])
  })

  it('names what cannot work, and never a value that may be a PIN', () => {
    const both = flags({ 'backends.pkcs11.module_path': 'module.so', 'backends.pkcs11.pin_env': '1234' })
    expect(faults({ flags: both })).toEqual([
      'config: backends.pkcs11.module_path = module.so: must be the absolute name of a file that is there',
      'config: backends.pkcs11.pin_env = (not shown): names no environment variable that is set',
    ])
    const contradiction = flags({ 'root_key.kind': 'hsm', 'root_key.file': '/root.key' })
    expect(faults({ flags: contradiction, env })).toEqual([
      'config: root_key.file = /root.key: contradicts root_key.kind = hsm',
    ])
    const delays = flags({ 'backends.pkcs11.backoff_first': '6s' })
    expect(faults({ flags: delays, env })[0]).toMatch(/^config: backends\.pkcs11\.backoff_first = 6000ms/)
    expect(faults({ flags: flags({ 'backends.pkcs11.pin_env': '' }) })[0]).toMatch(/pin_env = \(empty\)/)
  })

  it('is the first of several backends, of which only file can be another', () => {
    const listed = (list: string) => ({ flags: flags({ 'service.multi_backends': list }), env })
    expect(config(listed('pkcs11,file')).service.multi_backends).toEqual(['pkcs11', 'file'])
    expect(faults(listed('file,pkcs11'))[0]).toMatch(/must begin with service\.backend, which is pkcs11/)
    expect(faults(listed('pkcs11,inmem'))[0]).toMatch(/only file and pkcs11 can be together/)
    expect(faults(listed('pkcs11,tpm'))[0]).toMatch(/must name backends, each once/)
  })

  it('alone can attest', () => {
    const attest = { 'security.attest_require': 'required' }
    expect(config({ flags: flags(attest), env }).security.attest_require).toBe('required')
    expect(faults({ flags: attest })).toEqual([
      'config: security.attest_require = required: the backend inmem cannot attest: use pkcs11, or if-available',
    ])
    const software = { ...attest, 'service.backend': 'file', 'root_key.file': '/root.key' }
    expect(faults({ flags: software })[0]).toMatch(/the backend file cannot attest/)
    expect(faults({ flags: { 'root_key.kind': 'hsm', 'service.backend': 'file' } })[0]).toMatch(
      /needs service\.backend = pkcs11/,
    )
  })
})
