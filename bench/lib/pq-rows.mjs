// What `npm run bench:pq` times: ours in both lanes, node:crypto with KeyObjects, @noble/post-quantum.
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  decapsulate,
  encapsulate,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
} from 'node:crypto'
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js'
import { ml_kem512, ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js'
import { Kms } from 'ron-kms'
import { mlKem } from 'ron-kms/primitives'
// Strangers to ours in the tests too: keys of one implementation for another.
import { publicKeyObject } from '../../test/interop/strangers.mjs'

export const LANES = ['auto', 'rustcrypto']
const DSA = { 'ml-dsa-44': ml_dsa44, 'ml-dsa-65': ml_dsa65, 'ml-dsa-87': ml_dsa87 }
const KEM = { 'ml-kem-512': ml_kem512, 'ml-kem-768': ml_kem768, 'ml-kem-1024': ml_kem1024 }
/** The default set of a family has the family's name in the key service. */
const ourName = standard => ({ 'ml-dsa-65': 'ml-dsa', 'ml-kem-768': 'ml-kem' })[standard] ?? standard
const POOL = 256

/** Messages that no call has seen before: as many as are asked for, the same for every candidate of a round. */
export function freshMessages(count) {
  return Array.from({ length: count }, () => randomBytes(128))
}

const ours = (lane, how, run, more = {}) => ({ name: 'ron-kms', lane, how, run, ...more })
const node = (how, run, more = {}) => ({ name: 'node:crypto', how, run, ...more })
const noble = (how, run, more = {}) => ({ name: '@noble/post-quantum', how, run, slow: true, ...more })

const open = lane => Kms.open({ backend: 'inmem', lanes: { pq: lane } })
const newKey = (kms, alg, purpose = 'bench', more = {}) =>
  kms.createKey({ tenant: 'bench', purpose, alg, ...more })

/** A loop over a pool, from where the last one ended. */
function overPool(pool, call) {
  let next = 0
  return messages => {
    for (let i = 0; i < messages.length; i++) {
      call(pool[next])
      next = (next + 1) % pool.length
    }
  }
}
const each = call => messages => {
  for (const message of messages) call(message)
}
const eachAsync = call => async messages => {
  for (const message of messages) await call(message)
}

function must(holds, what) {
  if (!holds) throw new Error(`disagreement: ${what}`)
}

/** Rows of one parameter set of ML-DSA. Every implementation verifies what every other one signed, first. */
async function dsaRows(standard) {
  const scheme = DSA[standard]
  const pair = generateKeyPairSync(standard)
  const nobleKeys = scheme.keygen()
  const rows = { keygen: [], sign: [], verify: [] }
  for (const lane of LANES) {
    const kms = await open(lane)
    const { kid, publicKey } = await newKey(kms, ourName(standard))
    const theirs = publicKeyObject(standard, publicKey)
    const pool = freshMessages(POOL).map(message => ({ message, signature: kms.sign(kid, message) }))
    for (const { message, signature } of pool) {
      must(kms.verify(kid, message, signature), `${standard} (${lane}) verifies its own`)
      must(verify(null, message, theirs, signature), `node:crypto verifies ${standard} (${lane})`)
    }
    const [{ message, signature }] = pool
    must(scheme.verify(signature, message, publicKey), `noble verifies ${standard} (${lane})`)
    must(!kms.verify(kid, randomBytes(8), signature), `${standard} (${lane}) refuses another message`)
    const makers = await open(lane)
    rows.keygen.push(
      ours(
        lane,
        'createKey',
        eachAsync(() => newKey(makers, ourName(standard))),
      ),
    )
    rows.sign.push(
      ours(
        lane,
        'sign',
        each(text => kms.sign(kid, text)),
      ),
    )
    rows.verify.push(
      ours(
        lane,
        'verify',
        overPool(pool, it => kms.verify(kid, it.message, it.signature)),
      ),
    )
  }
  const signed = freshMessages(POOL).map(message => ({
    message,
    signature: sign(null, message, pair.privateKey),
  }))
  const nobleSigned = freshMessages(8).map(message => ({
    message,
    signature: scheme.sign(message, nobleKeys.secretKey),
  }))
  const nobleObject = publicKeyObject(standard, nobleKeys.publicKey)
  must(verify(null, nobleSigned[0].message, nobleObject, nobleSigned[0].signature), `node verifies noble's`)
  rows.keygen.push(
    node(
      'generateKeyPairSync',
      each(() => generateKeyPairSync(standard)),
    ),
    noble(
      'keygen',
      each(() => scheme.keygen()),
    ),
  )
  rows.sign.push(
    node(
      'KeyObject',
      each(text => sign(null, text, pair.privateKey)),
    ),
    noble(
      '',
      each(text => scheme.sign(text, nobleKeys.secretKey)),
    ),
  )
  rows.verify.push(
    node(
      'KeyObject',
      overPool(signed, it => verify(null, it.message, pair.publicKey, it.signature)),
    ),
    noble(
      '',
      overPool(nobleSigned, it => scheme.verify(it.signature, it.message, nobleKeys.publicKey)),
    ),
  )
  return Object.entries(rows).map(([op, candidates]) => ({ name: `${standard} ${op}`, candidates }))
}

/** Nanoseconds that a key service spent on decapsulation so far, by its own metrics. */
const decapsulating = kms =>
  kms
    .engineMetrics()
    .latency.reduce((ns, { op, sum }) => (op === 'unwrap.decapsulate' ? ns + sum * 1e9 : ns), 0)

/** Rows of one parameter set of ML-KEM. Ours encapsulates in `wrap` and decapsulates in `unwrap`, and does more there. */
async function kemRows(standard) {
  const scheme = KEM[standard]
  const pair = generateKeyPairSync(standard)
  const raw = pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-scheme.lengths.publicKey)
  const keys = scheme.keygen()
  const rows = { keygen: [], encapsulate: [], wrap: [], decapsulate: [] }
  for (const lane of LANES) {
    const kms = await open(lane)
    const { kid, publicKey } = await newKey(kms, ourName(standard), 'kem')
    const pool = []
    for (const dataKey of freshMessages(POOL)) {
      const { wrapped } = await kms.wrap(kid, dataKey)
      must(Buffer.from((await kms.unwrap(wrapped)).dataKey).equals(dataKey), `${standard} (${lane}) unwraps`)
      pool.push(wrapped)
    }
    const makers = await open(lane)
    rows.keygen.push(
      ours(
        lane,
        'createKey',
        eachAsync(() => newKey(makers, ourName(standard), 'kem')),
      ),
    )
    const { ciphertext, sharedSecret } = mlKem.encapsulate(standard, raw, { lane })
    must(decapsulate(pair.privateKey, ciphertext).equals(sharedSecret), `node opens ours (${lane})`)
    const imported = mlKem.importKey(standard, raw)
    const again = mlKem.encapsulate(standard, imported, { lane })
    must(decapsulate(pair.privateKey, again.ciphertext).equals(again.sharedSecret), `by handle (${lane})`)
    for (const [how, key] of Object.entries({ 'key handle': imported, bytes: publicKey })) {
      const encapsulating = each(() => mlKem.encapsulate(standard, key, { lane }))
      rows.encapsulate.push(ours(lane, `by ${how}`, encapsulating))
    }
    rows.wrap.push(
      ours(
        lane,
        'wrap',
        eachAsync(text => kms.wrap(kid, text)),
      ),
    )
    let next = 0
    const unwrap = eachAsync(() => {
      next = (next + 1) % POOL
      return kms.unwrap(pool[next])
    })
    rows.decapsulate.push(ours(lane, 'inside unwrap', unwrap, { clock: () => decapsulating(kms) }))
    rows.decapsulate.push(ours(lane, 'unwrap', unwrap))
  }
  const ciphertexts = Array.from({ length: POOL }, () => encapsulate(pair.publicKey).ciphertext)
  const nobleCiphertexts = Array.from({ length: 8 }, () => scheme.encapsulate(keys.publicKey))
  const fromNode = encapsulate(publicKeyObject(standard, keys.publicKey))
  const opened = scheme.decapsulate(fromNode.ciphertext, keys.secretKey)
  must(Buffer.from(opened).equals(fromNode.sharedKey), `noble opens node's ${standard}`)
  rows.keygen.push(
    node(
      'generateKeyPairSync',
      each(() => generateKeyPairSync(standard)),
    ),
    noble(
      'keygen',
      each(() => scheme.keygen()),
    ),
  )
  const encapsulating = [
    node(
      'KeyObject',
      each(() => encapsulate(pair.publicKey)),
    ),
    noble(
      '',
      each(() => scheme.encapsulate(keys.publicKey)),
    ),
  ]
  rows.encapsulate.push(...encapsulating)
  rows.wrap.push(...encapsulating)
  const sealed = ciphertexts.map(ciphertext => sealedFor(pair, ciphertext))
  rows.decapsulate.push(
    node(
      'KeyObject',
      overPool(ciphertexts, it => decapsulate(pair.privateKey, it)),
    ),
    node(
      'with HPKE in JavaScript',
      overPool(sealed, it => openedBy(pair, it)),
      { extra: true },
    ),
    noble(
      '',
      overPool(nobleCiphertexts, it => scheme.decapsulate(it.cipherText, keys.secretKey)),
    ),
  )
  return Object.entries(rows).map(([op, candidates]) => ({ name: `${standard} ${op}`, candidates }))
}

/** Rows of the key service alone: what has no other side to be compared with. */
async function wrapRows(alg) {
  const rows = { wrap: [], unwrap: [], rewrap: [] }
  for (const lane of LANES) {
    const kms = await open(lane)
    const { kid } = await newKey(kms, alg, 'kem')
    const pool = []
    for (const dataKey of freshMessages(POOL))
      pool.push((await kms.wrap(kid, dataKey.subarray(0, 32))).wrapped)
    let next = 0
    const of = call =>
      eachAsync(() => {
        next = (next + 1) % POOL
        return call(pool[next])
      })
    rows.wrap.push(
      ours(
        lane,
        'wrap',
        eachAsync(text => kms.wrap(kid, text.subarray(0, 32))),
      ),
    )
    rows.unwrap.push(
      ours(
        lane,
        'unwrap',
        of(it => kms.unwrap(it)),
      ),
    )
    rows.rewrap.push(
      ours(
        lane,
        'rewrap',
        of(it => kms.rewrap(it)),
      ),
    )
  }
  return Object.entries(rows).map(([op, candidates]) => ({ name: `${alg} ${op}`, candidates }))
}

/** A hybrid key beside a key of each of its halves, through the same calls and through the shorter ones. */
async function hybridRows() {
  const rows = { sign: [], verify: [] }
  for (const lane of LANES) {
    const kms = await open(lane)
    const kids = {}
    for (const alg of ['hybrid', 'ed25519', 'ml-dsa']) kids[alg] = (await newKey(kms, alg)).kid
    const pools = {}
    for (const [alg, kid] of Object.entries(kids)) {
      pools[alg] = freshMessages(1024).map(message => ({ message, sigs: kms.signBundle(kid, message).sigs }))
      // More often than a key needs to earn its larger table.
      for (const { message, sigs } of pools[alg]) {
        must(kms.verifyBundle(kid, message, sigs).ok, `${alg} (${lane}) verifies its own`)
      }
    }
    for (const [alg, kid] of Object.entries(kids)) {
      rows.sign.push(
        ours(
          lane,
          `${alg}, signBundle`,
          each(text => kms.signBundle(kid, text)),
          { key: alg },
        ),
      )
      const check = overPool(pools[alg], ({ message, sigs }) => kms.verifyBundle(kid, message, sigs))
      rows.verify.push(ours(lane, `${alg}, verifyBundle`, check, { key: alg }))
      if (alg === 'hybrid') continue
      rows.sign.push(
        ours(
          lane,
          `${alg}, sign`,
          each(text => kms.sign(kid, text)),
          { key: alg },
        ),
      )
      const single = overPool(pools[alg], ({ message, sigs }) => kms.verify(kid, message, sigs[0].signature))
      rows.verify.push(ours(lane, `${alg}, verify`, single, { key: alg }))
    }
  }
  return Object.entries(rows).map(([op, candidates]) => ({ name: `hybrid ${op}`, candidates, turns: 2 }))
}

/** Every row. */
export async function pqRows() {
  const rows = []
  for (const standard of Object.keys(DSA)) rows.push(...(await dsaRows(standard)))
  for (const standard of Object.keys(KEM)) rows.push(...(await kemRows(standard)))
  rows.push(...(await hybridRows()))
  for (const alg of ['x25519', 'hybrid']) rows.push(...(await wrapRows(alg)))
  return rows
}

// What `unwrap` does beside the decapsulation, by node:crypto: HPKE's key schedule (RFC 9180, section 5.1) and the
// cipher. So that it is seen how much of `unwrap` is not ML-KEM.

const SUITE = Buffer.concat([Buffer.from('HPKE-v1HPKE'), Buffer.from([0, 0x41, 0, 1, 0, 3])])
const NOTHING = Buffer.alloc(0)
const INFO = Buffer.from('ron-kms/wrap/v1')
const hmac = (key, ...parts) => {
  const mac = createHmac('sha256', key)
  for (const part of parts) mac.update(part)
  return mac.digest()
}

function keyOf(secret, psk, pskId) {
  const ids = [hmac(NOTHING, SUITE, 'psk_id_hash', pskId), hmac(NOTHING, SUITE, 'info_hash', INFO)]
  const prk = hmac(secret, SUITE, 'secret', psk)
  const context = Buffer.concat([Buffer.of(1), ...ids])
  return {
    key: hmac(prk, Buffer.of(0, 32), SUITE, 'key', context, Buffer.of(1)),
    nonce: hmac(prk, Buffer.of(0, 12), SUITE, 'base_nonce', context, Buffer.of(1)).subarray(0, 12),
  }
}

const PSK = randomBytes(32)
const PSK_ID = Buffer.from('bench/kem/ml-kem/00000000-0000-4000-8000-000000000000#v1')

function sealedFor({ privateKey }, ciphertext) {
  const { key, nonce } = keyOf(decapsulate(privateKey, ciphertext), PSK, PSK_ID)
  return { ciphertext, ...sealWith(key, nonce, randomBytes(128)) }
}

function sealWith(key, nonce, plaintext) {
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 })
  cipher.setAAD(PSK_ID, { plaintextLength: plaintext.length })
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return { sealed, tag: cipher.getAuthTag() }
}

function openedBy({ privateKey }, { ciphertext, sealed, tag }) {
  const { key, nonce } = keyOf(decapsulate(privateKey, ciphertext), PSK, PSK_ID)
  const cipher = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 })
  cipher.setAAD(PSK_ID, { plaintextLength: sealed.length })
  cipher.setAuthTag(tag)
  return Buffer.concat([cipher.update(sealed), cipher.final()])
}
