// Strangers verify what we sign and open what we wrap, and the other way round. Run by itself, under Node 24.8 or newer:
//
//   node test/interop/post-quantum.mjs
//
// A line for each fact; exit code 1 where one does not hold. It uses dist/, as users do: `npm run build` first.
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Kms } from 'ron-kms'
import { mlDsa, mlKem } from 'ron-kms/primitives'
import { isNewerNode, NEWER_NODE } from '../../scripts/newer-node.mjs'
import { open, pskOf, seal } from './envelope.mjs'
import { STRANGERS } from './strangers.mjs'

if (!isNewerNode()) {
  process.stderr.write(`${NEWER_NODE} is needed, this is ${process.versions.node}\n`)
  process.exit(2)
}

let [held, broken] = [0, 0]
/** Says whether a fact holds; `check` answers true or false, and a throw is false. */
async function fact(name, check) {
  let holds = false
  let why = ''
  try {
    holds = (await check()) === true
  } catch (error) {
    why = `: ${error.message}`
  }
  if (holds) held += 1
  else broken += 1
  process.stdout.write(`${holds ? 'ok    ' : 'BROKEN'} ${name}${why}\n`)
}

const vectors = name =>
  JSON.parse(readFileSync(new URL(`../vectors/kms/${name}.json`, import.meta.url), 'utf8'))
const hex = text => Buffer.from(text, 'hex')
const flipped = bytes => Buffer.from(bytes.map((byte, i) => (i === 7 ? byte ^ 1 : byte)))
const refused = call =>
  Promise.resolve()
    .then(call)
    .then(
      () => false,
      error => error.code === 'BadRequest' && error.field === 'envelope',
    )

const MESSAGES = [new Uint8Array(0), Buffer.from('a message'), randomBytes(10_000)]
const CONTEXTS = [new Uint8Array(0), Buffer.from('a context'), new Uint8Array(255).fill(7)]
/** The name of an algorithm in the key service, and its standard's name. */
const SIGNING = [
  ['ml-dsa-44', 'ml-dsa-44'],
  ['ml-dsa', 'ml-dsa-65'],
  ['ml-dsa-87', 'ml-dsa-87'],
  ['slh-dsa-sha2-128f', 'slh-dsa-sha2-128f'],
]
const WRAPPING = [
  ['x25519', 'x25519'],
  ['ml-kem-512', 'ml-kem-512'],
  ['ml-kem', 'ml-kem-768'],
  ['ml-kem-1024', 'ml-kem-1024'],
  ['hybrid', 'x-wing'],
]

for (const lane of ['aws-lc', 'rustcrypto']) {
  const kms = await Kms.open({ backend: 'inmem', lanes: { pq: lane } })
  await ourSignatures(kms, lane)
  await ourHybridSignatures(kms, lane)
  await theirEnvelopes(kms, lane)
  kms.close()
}
await ourVectors()
await theirSignatures()
await theirKemKeys()

process.stdout.write(`${held} facts hold, ${broken} do not\n`)
process.exitCode = broken === 0 ? 0 : 1

async function ourSignatures(kms, lane) {
  for (const [alg, standard] of SIGNING) {
    const { kid, publicKey } = await kms.createKey({ tenant: 'interop', purpose: 'sign', alg })
    const signed = []
    for (const message of MESSAGES) {
      for (const context of CONTEXTS) {
        const { sigs } = await kms.signBundleAsync(kid, message, { context })
        signed.push({ message, context, signature: sigs[0].signature })
      }
    }
    for (const { name, signatures } of STRANGERS) {
      const verify = ({ message, context, signature }) =>
        signatures.verify(standard, publicKey, message, signature, context)
      await fact(`${name} verifies our ${standard} (${lane})`, () => signed.every(verify))
      await fact(
        `${name} refuses our ${standard} with a bit flipped, or under another context (${lane})`,
        () =>
          signed.every(
            item =>
              !verify({ ...item, signature: flipped(item.signature) }) &&
              !verify({ ...item, context: Buffer.from('another') }),
          ),
      )
    }
  }
}

/** The context of the ML-DSA half, from the documentation. */
function bindingOf(kid, ed25519, mlDsa, context) {
  const hash = createHash('sha256').update(kid).update(ed25519).update(mlDsa).update(context).digest()
  return Buffer.concat([Buffer.from('ron-kms/hybrid/v1'), hash])
}

async function ourHybridSignatures(kms, lane) {
  const made = await kms.createKey({ tenant: 'interop', purpose: 'sign', alg: 'hybrid' })
  const { kid: v2 } = await kms.rotateKey(made.kid)
  const { publicKey, pq } = await kms.describeKey(v2)
  const { noble: ed25519 } = { noble: (await import('@noble/curves/ed25519.js')).ed25519 }
  for (const { name, signatures } of STRANGERS) {
    const checks = MESSAGES.flatMap(message => CONTEXTS.map(context => ({ message, context })))
    const halves = checks.map(({ message, context }) => {
      const { sigs } = kms.signBundle(v2, message, { context })
      return { message, context, classical: sigs[0].signature, half: sigs[1].signature }
    })
    const verify = ({ message, half }, bound) =>
      signatures.verify('ml-dsa-65', pq.publicKey, message, half, bound)
    await fact(`${name} verifies the ML-DSA half of our hybrid signatures (${lane})`, () =>
      halves.every(it => verify(it, bindingOf(v2, publicKey, pq.publicKey, it.context))),
    )
    await fact(`${name} refuses it without its binding, and for another version (${lane})`, () =>
      halves.every(
        it =>
          !verify(it, it.context) && !verify(it, bindingOf(made.kid, publicKey, pq.publicKey, it.context)),
      ),
    )
    await fact(`the Ed25519 half is an ordinary signature (${lane})`, () =>
      halves.every(({ message, classical }) =>
        ed25519.verify(classical, message, publicKey, { zip215: false }),
      ),
    )
  }
}

/** Made with nothing but the documents and the public key, for keys whose policy allows it. */
async function theirEnvelopes(kms, lane) {
  for (const [alg, kem] of WRAPPING) {
    for (const cipher of ['chacha20-poly1305', 'aes-256-gcm']) {
      const wish = { tenant: 'interop', purpose: 'kem', alg }
      const policyHints = { aead: cipher }
      const outside = await kms.createKey({ ...wish, policyHints: { ...policyHints, wrap_outside: true } })
      const closed = await kms.createKey({ ...wish, policyHints })
      const dataKey = randomBytes(32)
      for (const stranger of STRANGERS) {
        const sealFor = ({ kid, publicKey, pq }, more = {}) => {
          const encoded = pq ? Buffer.concat([pq.publicKey, publicKey]) : publicKey
          return seal(stranger, { kem, cipher, publicKey: encoded, kid, dataKey, ...more })
        }
        const what = `${kem}, ${cipher}, sealed by ${stranger.name} (${lane})`
        await fact(`we open an envelope from outside: ${what}`, async () =>
          Buffer.from((await kms.unwrap(sealFor(outside))).dataKey).equals(dataKey),
        )
        await fact(`and rewrap it to one that only we can have made: ${what}`, async () => {
          const { wrapped } = await kms.rewrap(sealFor(outside))
          return wrapped[10] === 1 && Buffer.from((await kms.unwrap(wrapped)).dataKey).equals(dataKey)
        })
        await fact(
          `and refuse it spoilt, in PSK mode, and for a key without that policy: ${what}`,
          async () => {
            const envelope = sealFor(outside)
            const spoilt = Buffer.from(envelope)
            spoilt[spoilt.length - 1] ^= 1
            return (
              (await refused(() => kms.unwrap(spoilt))) &&
              (await refused(() => kms.unwrap(sealFor(outside, { psk: randomBytes(32) })))) &&
              (await refused(() => kms.unwrap(sealFor(closed)))) &&
              (await refused(() => kms.unwrap(sealFor(closed, { psk: randomBytes(32) }))))
            )
          },
        )
      }
    }
  }
}

/** Private keys never leave the service: the known answers have some, so that strangers can open what we wrapped. */
async function ourVectors() {
  for (const { kem, aead, mode, seed, psk, envelope, data_key, do_not_open = [] } of vectors('wrap')) {
    const dataKey = hex(data_key)
    for (const stranger of STRANGERS) {
      const what = `${kem}, ${aead}, ${mode}, by ${stranger.name}`
      await fact(`a stranger opens our envelope: ${what}`, () =>
        open(stranger, hex(seed), hex(envelope)).equals(dataKey),
      )
      if (psk) await fact(`and derives our pre-shared key: ${what}`, () => pskOf(hex(seed)).equals(hex(psk)))
      if (do_not_open.length === 0) continue
      await fact(`and opens none of the ${do_not_open.length} that do not open: ${what}`, () =>
        do_not_open.every(bad => {
          try {
            return !open(stranger, hex(seed), hex(bad.envelope)).equals(dataKey)
          } catch {
            return true
          }
        }),
      )
    }
  }
  for (const vector of vectors('hybrid')) {
    const { parameter_set, kid, message, context, ml_dsa_context } = vector
    const [ed25519, mlDsa] = [hex(vector.ed25519_public_key), hex(vector.ml_dsa_public_key)]
    const bound = bindingOf(kid, ed25519, mlDsa, hex(context))
    for (const { name, signatures } of STRANGERS) {
      await fact(`${name} verifies the known hybrid signature of ${parameter_set}`, () => {
        const signature = hex(vector.ml_dsa_signature_deterministic)
        const holds = signatures.verify(parameter_set, mlDsa, hex(message), signature, bound)
        return holds && bound.equals(hex(ml_dsa_context))
      })
    }
  }
}

async function theirSignatures() {
  for (const [, standard] of SIGNING.filter(([alg]) => alg.startsWith('ml-dsa'))) {
    for (const { name, signatures } of STRANGERS) {
      const { publicKey, sign } = signatures.generate(standard)
      await fact(`we verify ${standard} of ${name}`, () =>
        MESSAGES.every(message =>
          CONTEXTS.every(context => {
            const signature = sign(message, context)
            const verify = (bytes, under) =>
              mlDsa.verify(standard, publicKey, message, bytes, { context: under })
            return (
              verify(signature, context) &&
              !verify(flipped(signature), context) &&
              !verify(signature, Buffer.from('another'))
            )
          }),
        ),
      )
    }
  }
}

async function theirKemKeys() {
  for (const [, standard] of WRAPPING.filter(([alg]) => alg.startsWith('ml-kem'))) {
    for (const { name, mlKem: theirs } of STRANGERS) {
      const { seed, publicKey } = theirs.generate(standard)
      await fact(`${name} opens what we encapsulate to its key of ${standard}`, () => {
        const { ciphertext, sharedSecret } = mlKem.encapsulate(standard, publicKey)
        return Buffer.from(theirs.decapsulate(standard, seed, ciphertext)).equals(Buffer.from(sharedSecret))
      })
    }
  }
}
