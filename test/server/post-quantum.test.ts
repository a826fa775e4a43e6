// Hybrid and post-quantum keys, wrapping and derivation over HTTP.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ALGORITHMS_AT_ZERO } from '../../src/metrics/catalog.js'
import { type Answer, expectProblem, HELLO_B3, type Service, start } from './support.js'

let service: Service
beforeAll(async () => {
  service = await start()
})
afterAll(() => service.close())

const post = (path: string, body?: unknown, own = service) => own.ask('POST', `/v1/kms${path}`, { body })
const base64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString('base64')
const keyOf = (kid: string) => kid.replace(/#.*/, '')
const message_b64 = base64('a message')

async function newKey(alg: string, more: object = {}, own = service): Promise<string> {
  const wish = { tenant: 'acme', purpose: 'audit', alg, signs: 'message', ...more }
  const { status, json } = await post('/keys', wish, own)
  expect(status).toBe(200)
  return json.kid
}
const newKem = (alg: string, more: object = {}) => newKey(alg, { purpose: 'kem', signs: undefined, ...more })

interface Sig {
  alg: string
  signature_b64: string
}

async function sign(kid: string, more: object = {}, own = service): Promise<Sig[]> {
  const { status, json } = await post('/sign', { kid_or_set: { kid }, message_b64, ...more }, own)
  expect(status).toBe(200)
  return json.sigs
}

async function verdict(kid: string, sigs: Sig[], more: object = {}, own = service) {
  const { status, json } = await post('/verify', { kid, message_b64, sigs, ...more }, own)
  expect(status).toBe(200)
  expect(json.ok).toBe(json.details.satisfied_mode !== null)
  return json as { ok: boolean; details: { checked: string[]; satisfied_mode: string | null } }
}

describe('POST /keys', () => {
  it('answers both tracks of a hybrid key, as GET /keys/{kid} does', async () => {
    for (const [purpose, algs, lengths] of [
      ['audit', ['ed25519', 'ml-dsa'], [32, 1952]],
      ['kem', ['x25519', 'ml-kem'], [32, 1184]],
    ] as const) {
      const { json } = await post('/keys', { tenant: 'acme', purpose, alg: 'hybrid' })
      expect(json.kid).toMatch(new RegExp(`^acme/${purpose}/${algs[0]}/[0-9a-f-]{36}#v1$`))
      const { alg, pubkey_b64, pq } = json.public
      expect([alg, pq.alg]).toEqual(algs)
      expect([pubkey_b64, pq.pubkey_b64].map(text => Buffer.from(text, 'base64').length)).toEqual(lengths)
      const shown = await service.ask('GET', `/v1/kms/keys/${keyOf(json.kid)}`)
      expect(shown.json).toMatchObject({ kid: json.kid, alg: algs[0], public: json.public })
    }
  })

  it('names the algorithm and the hint that are at fault', async () => {
    const wish = { tenant: 'acme', purpose: 'audit', alg: 'hybrid' }
    expectProblem(await post('/keys', { ...wish, alg: 'rsa' }), 400, 'Unsupported', 'alg')
    expectProblem(await post('/keys', { ...wish, alg: 'x-wing' }), 400, 'Unsupported', 'alg')
    for (const [name, value] of Object.entries({ verify_mode: 'none', wrap_outside: 1, aead: 'rot13' })) {
      const answer = await post('/keys', { ...wish, policy_hints: { [name]: value } })
      expectProblem(answer, 400, 'BadRequest', `policy_hints.${name}`)
    }
  })
})

describe('POST /sign and /verify', () => {
  it.each([
    ['ed25519', 64],
    ['ml-dsa-44', 2420],
    ['ml-dsa', 3309],
    ['ml-dsa-87', 4627],
    ['slh-dsa-sha2-128f', 17_088],
  ])('take keys of %s, whose signatures have %i bytes', async (alg, length) => {
    const kid = await newKey(alg)
    const sigs = await sign(keyOf(kid))
    expect(sigs.map(sig => [sig.alg, Buffer.from(sig.signature_b64, 'base64').length])).toEqual([
      [alg, length],
    ])
    expect(await verdict(kid, sigs)).toEqual({ ok: true, details: { checked: [alg], satisfied_mode: 'and' } })
    expect((await verdict(kid, sigs, { message_b64: base64('b') })).ok).toBe(false)
    expect((await verdict(kid, [{ alg, signature_b64: base64(new Uint8Array(length)) }])).ok).toBe(false)
    expect((await verdict(kid, [{ alg, signature_b64: '' }])).ok).toBe(false)
  })

  it('take two signatures of a hybrid key, in any order, and want both', async () => {
    const kid = await newKey('hybrid')
    const sigs = await sign(kid)
    const [classical, pq] = sigs as [Sig, Sig]
    expect(sigs.map(({ alg }) => alg)).toEqual(['ed25519', 'ml-dsa'])
    expect((await verdict(kid, sigs)).details).toEqual({
      checked: ['ed25519', 'ml-dsa'],
      satisfied_mode: 'and',
    })
    expect((await verdict(kid, [pq, classical])).ok).toBe(true)
    expect((await verdict(kid, [classical])).ok).toBe(false)
    expect((await verdict(kid, [pq])).ok).toBe(false)
    const [, theirs] = (await sign(await newKey('hybrid'))) as [Sig, Sig]
    expect((await verdict(kid, [classical, theirs])).ok).toBe(false)
    const body = { kid, message_b64 }
    const twice = await post('/verify', { ...body, sigs: [classical, classical] })
    expectProblem(twice, 400, 'BadRequest', 'sigs[1]')
    const foreign = await post('/verify', { ...body, sigs: [classical, { ...pq, alg: 'ml-dsa-44' }] })
    expectProblem(foreign, 400, 'BadRequest', 'sigs[1].alg')
    const unknown = await post('/verify', { ...body, sigs: [{ ...pq, alg: 'hybrid' }] })
    expectProblem(unknown, 400, 'Unsupported', 'sigs[0].alg')
  })

  it('take payload_b3 for keys that sign digests', async () => {
    const kid = await newKey('hybrid', { signs: undefined })
    const payload = { payload_b3: HELLO_B3, message_b64: undefined }
    const sigs = await sign(kid, payload)
    expect((await verdict(kid, sigs, payload)).ok).toBe(true)
    expectProblem(
      await post('/sign', { kid_or_set: { kid }, message_b64 }),
      400,
      'Unsupported',
      'message_b64',
    )
  })

  it('take a context of at most 255 bytes', async () => {
    const context_b64 = base64('invoice')
    for (const alg of ['ml-dsa', 'hybrid']) {
      const kid = await newKey(alg)
      const sigs = await sign(kid, { context_b64 })
      expect((await verdict(kid, sigs, { context_b64 })).ok).toBe(true)
      expect((await verdict(kid, sigs, { context_b64: base64('receipt') })).ok).toBe(false)
      expect((await verdict(kid, sigs)).ok).toBe(false)
      const longest = base64(new Uint8Array(255))
      expect(
        (await verdict(kid, await sign(kid, { context_b64: longest }), { context_b64: longest })).ok,
      ).toBe(true)
      const bodies = { '/sign': { kid_or_set: { kid } }, '/verify': { kid, sigs } }
      for (const [path, body] of Object.entries(bodies)) {
        for (const bad of [base64(new Uint8Array(256)), '*', 'YQ', 'YR==']) {
          const answer = await post(path, { ...body, message_b64, context_b64: bad })
          expectProblem(answer, 400, 'BadRequest', 'context_b64')
        }
      }
    }
    const kid = await newKey('ed25519')
    const refused = await post('/sign', { kid_or_set: { kid }, message_b64, context_b64 })
    expectProblem(refused, 400, 'Unsupported', 'context_b64')
  })

  it('take a policy that may only ask for more', async () => {
    const own = await start({ 'pq.produce_hybrid': 'false', 'pq.verify_mode': 'or' })
    const kid = await newKey('hybrid', {}, own)
    expect((await sign(kid, {}, own)).map(({ alg }) => alg)).toEqual(['ed25519'])
    const sigs = await sign(kid, { policy: { produce_hybrid: true } }, own)
    expect(sigs.map(({ alg }) => alg)).toEqual(['ed25519', 'ml-dsa'])
    const [classical, pq] = [sigs.slice(0, 1), sigs.slice(1)]
    const modes: [Sig[], string | undefined, string | null][] = [
      [classical, undefined, 'or'],
      [classical, 'or', 'or'],
      [classical, 'and', null],
      [classical, 'pq_only', null],
      [pq, 'or', 'or'],
      [pq, 'and', null],
      [pq, 'pq_only', 'pq_only'],
      [sigs, 'and', 'and'],
    ]
    for (const [given, mode, satisfied] of modes) {
      const policy = mode === undefined ? {} : { policy: { mode } }
      expect((await verdict(kid, given, policy, own)).details.satisfied_mode).toBe(satisfied)
    }
    await own.close()
    // Under the default policy neither asks for less.
    const strict = await newKey('hybrid')
    const both = await sign(strict, { policy: { produce_hybrid: false } })
    expect(both).toHaveLength(2)
    expect((await verdict(strict, both.slice(0, 1), { policy: { mode: 'or' } })).ok).toBe(false)
  })

  it('name what is at fault in a policy', async () => {
    const kid = await newKey('hybrid')
    const sigs = await sign(kid)
    const signing = (policy: unknown) => post('/sign', { kid_or_set: { kid }, message_b64, policy })
    const verifying = (policy: unknown) => post('/verify', { kid, message_b64, sigs, policy })
    expectProblem(await signing({ produce_hybrid: 'yes' }), 400, 'BadRequest', 'policy.produce_hybrid')
    expectProblem(await signing({ mode: 'and' }), 400, 'BadRequest', 'policy.mode')
    expectProblem(await verifying({ mode: 'all' }), 400, 'BadRequest', 'policy.mode')
    expectProblem(await verifying({ produce_hybrid: true }), 400, 'BadRequest', 'policy.produce_hybrid')
    expectProblem(await verifying([]), 400, 'BadRequest', 'policy')
  })

  it('take a set of keys of several algorithms, all or none', async () => {
    const kids = [await newKey('hybrid'), await newKey('ml-dsa'), await newKey('ed25519')]
    const { json } = await post('/sign', { kid_or_set: { kid_set: kids }, message_b64 })
    expect(json.sigs.map(({ kid, alg }: { kid: string; alg: string }) => [kid, alg])).toEqual([
      [kids[0], 'ed25519'],
      [kids[0], 'ml-dsa'],
      [kids[1], 'ml-dsa'],
      [kids[2], 'ed25519'],
    ])
    expect((await post('/verify', { message_b64, sigs: json.sigs })).json.ok).toBe(true)
    const halved = json.sigs.slice(1)
    expect((await post('/verify', { message_b64, sigs: halved })).json.ok).toBe(false)
    const kem = await newKem('x25519')
    const refused = await post('/sign', { kid_or_set: { kid_set: [kids[0], kem] }, message_b64 })
    expectProblem(refused, 400, 'Unsupported', 'kid_or_set.kid_set[1]')
  })

  it('have batches, in which a hybrid item has two signatures', async () => {
    const algs = ['hybrid', 'ml-dsa', 'ed25519']
    const kids = await Promise.all(algs.map(alg => newKey(alg)))
    const kem = await newKem('hybrid')
    const items = [...kids, kem].map((kid, i) => ({ kid_or_set: { kid }, message_b64, reference: `${i}` }))
    const { json } = await post('/sign_batch', items)
    expect(json.map(({ sigs }: { sigs?: Sig[] }) => sigs?.map(({ alg }) => alg))).toEqual([
      ['ed25519', 'ml-dsa'],
      ['ml-dsa'],
      ['ed25519'],
      undefined,
    ])
    expect(json[3]).toMatchObject({ reference: '3', error: { code: 'Unsupported', field: 'kid_or_set.kid' } })
    const checks = kids.map((kid, i) => ({ kid, message_b64, sigs: json[i].sigs, reference: `${i}` }))
    const classical = { ...checks[0], sigs: json[0].sigs.slice(0, 1), reference: 'half' }
    const verified = await post('/verify_batch', [...checks, classical])
    expect(verified.json.map(({ ok }: { ok: boolean }) => ok)).toEqual([true, true, true, false])
    expect(verified.json[3].reference).toBe('half')
  })

  it('that come together are verified side by side, hybrid ones among them', async () => {
    const algs = ['ed25519', 'hybrid', 'ml-dsa']
    const kids = await Promise.all(algs.map(alg => newKey(alg)))
    const requests = await Promise.all(kids.map(async kid => ({ kid, message_b64, sigs: await sign(kid) })))
    const forged = requests.map(request => ({ ...request, message_b64: base64('b') }))
    const answers = await Promise.all([...requests, ...forged].map(request => post('/verify', request)))
    expect(answers.map(({ json }) => json.ok)).toEqual([true, true, true, false, false, false])
  })

  it('that take long are verified elsewhere, alone and in company', async () => {
    const kid = await newKey('slh-dsa-sha2-128f')
    const quick = await newKey('ed25519')
    const good = { kid: quick, message_b64, sigs: await sign(quick) }
    // Short, so that only the algorithm tells.
    const short = { kid, message_b64, sigs: [{ alg: 'slh-dsa-sha2-128f', signature_b64: 'AAAA' }] }
    for (let i = 0; i < 5; i++) {
      const answers = await Promise.all([short, good, short, good].map(request => post('/verify', request)))
      expect(answers.map(({ json }) => json.ok)).toEqual([false, true, false, true])
      expect((await post('/verify', short)).json.ok).toBe(false)
    }
  })
})

describe('a slow key', () => {
  it('does not hold the event loop up, whatever is asked of it', async () => {
    const threaded: string[] = []
    const own = await start({}, kms => ({
      dispatchAsync: (...call) => {
        threaded.push(call[0])
        return kms.dispatchAsync(...call)
      },
    }))
    // Of 128s a signature takes a tenth of a second or more.
    const kid = await newKey('slh-dsa', {}, own)
    const fast = await newKey('ed25519', {}, own)
    let longest = 0
    let last = performance.now()
    const watch = setInterval(() => {
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
    }, 1)
    const item = { kid_or_set: { kid }, message_b64 }
    const started = performance.now()
    const slow = Promise.all([
      post('/sign', item, own),
      post('/sign_batch', [item], own),
      post(`/keys/${keyOf(kid)}/derive`, { context: 'c' }, own),
    ]).then(answers => {
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
      return performance.now() - started
    })
    // Meanwhile others are served.
    let served = 0
    let done = false
    const all = slow.finally(() => {
      done = true
    })
    while (!done) {
      await sign(fast, {}, own)
      served += 1
    }
    const took = await all
    clearInterval(watch)
    expect(longest).toBeLessThan(took / 2)
    expect(served).toBeGreaterThan(10)
    expect(threaded).toEqual(['create', 'sign', 'sign_batch', 'derive'])
    await own.close()
  })
})

describe('POST /wrap, /unwrap and /rewrap', () => {
  it.each([
    ['x25519', 'classical'],
    ['ml-kem-512', 'pq'],
    ['ml-kem', 'pq'],
    ['ml-kem-1024', 'pq'],
    ['hybrid', 'hybrid'],
  ])('wrap, rotate, rewrap and unwrap under a key of %s', async (alg, kem_mode) => {
    const kid = await newKem(alg)
    const key = keyOf(kid)
    const plaintext_key_b64 = base64('a data key')
    const wrapped = await post('/wrap', { kid: key, plaintext_key_b64, kem_mode })
    expect(wrapped.json).toEqual({ wrapped_b64: expect.any(String), alg, kid })
    const { wrapped_b64 } = wrapped.json
    const opened = { plaintext_key_b64, alg, kid }
    expect((await post('/unwrap', { kid, wrapped_b64 })).json).toEqual(opened)
    await post(`/keys/${key}/rotate`)
    expect((await post('/unwrap', { kid: key, wrapped_b64 })).json).toEqual(opened)
    expectProblem(await post('/wrap', { kid, plaintext_key_b64 }), 409, 'Conflict', 'kid')
    const moved = await post('/rewrap', { kid: key, wrapped_b64 })
    expect(moved.json).toEqual({ wrapped_b64: expect.any(String), alg, kid: `${key}#v2` })
    const again = await post('/unwrap', { kid: `${key}#v2`, wrapped_b64: moved.json.wrapped_b64 })
    expect(again.json).toEqual({ ...opened, kid: `${key}#v2` })
    const other = ['classical', 'pq', 'hybrid'].find(mode => mode !== kem_mode)
    const refused = await post('/wrap', { kid: key, plaintext_key_b64, kem_mode: other })
    expectProblem(refused, 400, 'Unsupported', 'kem_mode')
  })

  it('make data keys, and show them only where it is asked for', async () => {
    const kid = await newKem('ml-kem')
    const silent = (await post('/wrap', { kid, size: 32 })).json
    expect(Object.keys(silent).sort()).toEqual(['alg', 'kid', 'wrapped_b64'])
    const told = (await post('/wrap', { kid, size: 32, return_plaintext: true })).json
    const { json } = await post('/unwrap', { kid, wrapped_b64: told.wrapped_b64 })
    expect(json.plaintext_key_b64).toBe(told.plaintext_key_b64)
    expect(Buffer.from(json.plaintext_key_b64, 'base64')).toHaveLength(32)
    for (const size of [1, 512]) expect((await post('/wrap', { kid, size })).status).toBe(200)
  })

  it('are strict about their bodies, and name what is at fault', async () => {
    const kid = await newKem('hybrid')
    const plaintext_key_b64 = base64('k')
    const { wrapped_b64 } = (await post('/wrap', { kid, plaintext_key_b64 })).json
    const cases: [string, unknown, string][] = [
      ['/wrap', { kid, plaintext_key_b64, size: 32 }, 'size'],
      ['/wrap', { kid }, 'plaintext_key_b64'],
      ['/wrap', { kid, plaintext_key_b64, extra: 1 }, 'extra'],
      ['/wrap', { plaintext_key_b64 }, 'kid'],
      ['/wrap', { kid: 7, plaintext_key_b64 }, 'kid'],
      ['/wrap', { kid: 'x', plaintext_key_b64 }, 'kid'],
      ['/wrap', { kid, plaintext_key_b64: '' }, 'plaintext_key_b64'],
      ['/wrap', { kid, plaintext_key_b64: 'aw' }, 'plaintext_key_b64'],
      ['/wrap', { kid, plaintext_key_b64: 'ax==' }, 'plaintext_key_b64'],
      ['/wrap', { kid, plaintext_key_b64: '-_==' }, 'plaintext_key_b64'],
      ['/wrap', { kid, plaintext_key_b64: base64(new Uint8Array(4097)) }, 'plaintext_key_b64'],
      ['/wrap', { kid, size: 0 }, 'size'],
      ['/wrap', { kid, size: 513 }, 'size'],
      ['/wrap', { kid, size: -1 }, 'size'],
      ['/wrap', { kid, size: 1.5 }, 'size'],
      ['/wrap', { kid, size: '32' }, 'size'],
      ['/wrap', { kid, size: null }, 'size'],
      ['/wrap', { kid, size: 32, return_plaintext: 'yes' }, 'return_plaintext'],
      ['/wrap', { kid, plaintext_key_b64, kem_mode: 'both' }, 'kem_mode'],
      ['/wrap', '{', '(body)'],
      ['/wrap', `{"kid":"${kid}","size":1,"size":2}`, 'size'],
      ['/unwrap', { wrapped_b64 }, 'kid'],
      ['/unwrap', { kid }, 'wrapped_b64'],
      ['/unwrap', { kid, wrapped_b64, extra: 1 }, 'extra'],
      ['/unwrap', { kid, wrapped_b64: '*' }, 'wrapped_b64'],
      ['/unwrap', { kid: 'x', wrapped_b64 }, 'kid'],
      ['/rewrap', { kid }, 'wrapped_b64'],
      ['/rewrap', { kid, wrapped_b64, size: 1 }, 'size'],
      ['/rewrap', [], '(body)'],
    ]
    for (const [path, body, field] of cases) expectProblem(await post(path, body), 400, 'BadRequest', field)
    const signer = await newKey('hybrid')
    expectProblem(await post('/wrap', { kid: signer, plaintext_key_b64 }), 400, 'Unsupported', 'kid')
    const missing = kid.replace('#v1', '#v9')
    expectProblem(await post('/wrap', { kid: missing, plaintext_key_b64 }), 404, 'NotFound', 'kid')
    expectProblem(
      await post('/sign', { kid_or_set: { kid }, message_b64 }),
      400,
      'Unsupported',
      'kid_or_set.kid',
    )
  })

  it('fail alike for every reason that an envelope does not open', async () => {
    const kid = await newKem('hybrid')
    const other = await newKem('hybrid')
    const signer = await newKey('ed25519')
    const { wrapped_b64 } = (await post('/wrap', { kid, size: 32 })).json
    const envelope = Buffer.from(wrapped_b64, 'base64')
    const flipped = (at: number) => {
      const bytes = Buffer.from(envelope)
      bytes[at] = (bytes[at] ?? 0) ^ 1
      return bytes
    }
    const { json: theirs } = await post('/wrap', { kid: other, size: 32 })
    const bad: [string, string][] = [
      ...[0, 3, 5, 9, 10, 11, 13, 120, 1190, envelope.length - 1].map((at): [string, string] => [
        kid,
        base64(flipped(at)),
      ]),
      [kid, ''],
      [kid, base64('x')],
      [kid, base64(envelope.subarray(1))],
      [kid, base64(Buffer.concat([envelope, Buffer.of(0)]))],
      [kid, theirs.wrapped_b64],
      [other, wrapped_b64],
      [signer, wrapped_b64],
    ]
    for (const path of ['/unwrap', '/rewrap']) {
      const seen = new Set<string>()
      for (const [named, text] of bad) {
        const answer: Answer = await post(path, { kid: named, wrapped_b64: text })
        expectProblem(answer, 400, 'BadRequest', 'wrapped_b64')
        const { ts: _ts, request_id: _id, ...rest } = answer.json.error
        seen.add(JSON.stringify(rest))
      }
      expect(seen.size).toBe(1)
    }
  })

  it('answer nothing that a cache may keep, and log no data key', async () => {
    const kid = await newKem('x25519')
    const secret = base64('a data key that nobody logs')
    const { headers, json } = await post('/wrap', { kid, plaintext_key_b64: secret, return_plaintext: true })
    expect(headers['cache-control']).toBe('no-store')
    await post('/unwrap', { kid, wrapped_b64: `${json.wrapped_b64.slice(0, -4)}AAAA` })
    await post('/unwrap', { kid, wrapped_b64: json.wrapped_b64 })
    const log = JSON.stringify(service.log)
    expect(log).not.toContain(secret)
    expect(log).not.toContain(json.wrapped_b64.slice(0, 64))
    expect(log).not.toContain(keyOf(kid))
    expect((await service.ops('GET', '/metrics')).text).not.toContain(keyOf(kid))
  })
})

describe('POST /keys/{kid}/derive', () => {
  it('takes both notations of the kid, with its version or without, and answers the same key', async () => {
    for (const alg of ['ed25519', 'ml-dsa', 'hybrid']) {
      const kid = await newKey(alg)
      const paths = [kid, keyOf(kid)].flatMap(each => [encodeURIComponent(each), each.replace('#', '%23')])
      const answers = []
      for (const path of paths) answers.push(await post(`/keys/${path}/derive`, { context: 'db/users' }))
      const [first] = answers
      expect(first?.status).toBe(200)
      for (const { json } of answers) expect(json).toEqual(first?.json)
      const child = first?.json.kid as string
      expect(keyOf(child)).not.toBe(keyOf(kid))
      expect((await verdict(child, await sign(child))).ok).toBe(true)
      expect((await post(`/keys/${keyOf(kid)}/derive`, { context: 'db/orders' })).json.kid).not.toBe(child)
    }
  })

  it('names what is at fault', async () => {
    const key = keyOf(await newKey('ed25519'))
    const derive = (body: unknown) => post(`/keys/${key}/derive`, body)
    for (const context of ['', 'a\nb', 'x'.repeat(257), 7, null]) {
      expectProblem(await derive({ context }), 400, 'BadRequest', 'context')
    }
    expectProblem(await derive({}), 400, 'BadRequest', 'context')
    expectProblem(await derive({ context: 'c', alg: 'ml-dsa' }), 400, 'BadRequest', 'alg')
    expectProblem(await post(`/keys/${key}%23v9/derive`, { context: 'c' }), 404, 'NotFound', 'kid')
    const wrong = await service.ask('GET', `/v1/kms/keys/${key}/derive`)
    expectProblem(wrong, 405, 'Unsupported')
    expect(wrong.headers.allow).toBe('POST')
  })
})

describe('/metrics', () => {
  it('has the series of every family from the start, at zero', async () => {
    const own = await start()
    const { text } = await own.ops('GET', '/metrics')
    for (const [op, algs] of Object.entries(ALGORITHMS_AT_ZERO)) {
      for (const alg of algs)
        expect(text).toContain(`\nkms_ops_total{op="${op}",alg="${alg}",result="ok"} 0\n`)
    }
    expect(text).toContain('\nkms_reject_total{reason="pq_policy"} 0\n')
    expect(text).toContain('\nkms_pq_mode{mode="or"} 0\n')
    expect(text).toContain('\nkms_pq_mode{mode="and"} 1\n')
    expect(text).toContain('\nkms_pq_mode{mode="pq_only"} 0\n')
    expect(text).toContain('\nkms_pq_rollout_percent 100\n')
    expect(text).toContain('\nkms_pq_phase{tenant="*",phase="2"} 1\n')
    await own.close()
  })

  it('counts by algorithm, hybrid keys as one', async () => {
    const own = await start()
    const kid = await newKey('hybrid', {}, own)
    const sigs = await sign(kid, {}, own)
    await verdict(kid, sigs, {}, own)
    await verdict(kid, sigs.slice(0, 1), {}, own)
    const kem = await newKey('ml-kem', { purpose: 'kem', signs: undefined }, own)
    const { json } = await post('/wrap', { kid: kem, size: 32 }, own)
    await post('/unwrap', { kid: kem, wrapped_b64: json.wrapped_b64 }, own)
    await post('/rewrap', { kid: kem, wrapped_b64: json.wrapped_b64 }, own)
    await post('/unwrap', { kid: kem, wrapped_b64: base64('x') }, own)
    await post(`/keys/${keyOf(kid)}/derive`, { context: 'c' }, own)
    const ops: [string, string, string][] = [
      ['create', 'hybrid', 'ok'],
      ['sign', 'hybrid', 'ok'],
      ['verify', 'hybrid', 'ok'],
      ['verify', 'hybrid', 'invalid'],
      ['wrap', 'ml-kem', 'ok'],
      ['unwrap', 'ml-kem', 'ok'],
      ['rewrap', 'ml-kem', 'ok'],
      ['derive', 'hybrid', 'ok'],
    ]
    for (const [op, alg, result] of ops) {
      expect([op, result, await own.metric('kms_ops_total', { op, alg, result })]).toEqual([op, result, 1])
    }
    expect(await own.metric('kms_latency_seconds_count', { op: 'unwrap', alg: 'ml-kem' })).toBe(1)
    expect(await own.metric('kms_failures_total', { op: 'unwrap', kind: 'BadRequest' })).toBe(1)
    expect(await own.metric('kms_reject_total', { reason: 'pq_policy' })).toBe(1)
    expect(await own.metric('kms_keys', { alg: 'ml-kem' })).toBe(1)
    for (const route of ['/wrap', '/unwrap', '/rewrap', '/keys/{kid}/derive']) {
      expect(await own.metric('request_latency_seconds_count', { route: `/v1/kms${route}` })).toBeGreaterThan(
        0,
      )
    }
    await own.close()
  })
})
