// Other libraries mint capabilities of this service, narrow ours and verify them, and we do theirs.
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { beforeAll, describe, expect, it } from 'vitest'
import { CapabilityVerifier } from '../../src/capability.js'
import { addonStatus } from '../../src/cli/addon.js'
import { macaroon } from '../../src/primitives.js'
import { part } from '../support/parts.js'

/** What is used of npm's `macaroon`, which has no types. */
interface Foreign {
  addFirstPartyCaveat(text: string): void
  exportBinary(): Uint8Array
  exportJSON(): { l?: string; i: string; c: { i: string }[]; s64: string }
  verify(rootKey: Uint8Array, check: (caveat: string) => string | null, discharges: never[]): void
}
interface Library {
  newMacaroon(parts: { version: 2; rootKey: Uint8Array; identifier: string; location: string }): Foreign
  importMacaroon(bytes: Uint8Array): Foreign
}

const library = createRequire(import.meta.url)('macaroon') as Library
const python = part('pymacaroons')

const ROOT = Buffer.from('00112233445566778899aabbccddeeff'.repeat(2), 'hex')
const soon = Math.floor(Date.now() / 1000) + 3600
const CAVEATS = ['scope = kms:sign,kms:verify', 'tenant = core', `exp = ${soon}`]

let verifier: CapabilityVerifier
/** `v1:<root key>:` of what this root key mints. */
let prefix: string

beforeAll(() => {
  process.env.INTEROP_ROOT = ROOT.toString('hex')
  if (!addonStatus().loaded) return
  verifier = CapabilityVerifier.open({ rootKeyEnv: 'INTEROP_ROOT' })
  const { root_key } = macaroon.inspect(verifier.mint('x', CAVEATS).token).capability ?? {}
  prefix = `v1:${root_key}:`
})

/** A UUIDv7 of now. */
function id(): string {
  const ms = Date.now().toString(16).padStart(12, '0')
  return `${ms.slice(0, 8)}-${ms.slice(8)}-7abc-8def-0123456789ab`
}

const check = (token: string, scope: 'kms:sign' | 'kms:verify' | 'kms:admin' = 'kms:sign') => {
  const found = verifier.check(`Bearer ${token}`, { scope })
  return typeof found === 'string' ? found : found.actor
}

/** The same for every library. */
interface Peer {
  mint(identifier: string, location: string, caveats: readonly string[]): string
  attenuate(token: string, caveats: readonly string[]): string
  /** Whether its own verifier takes the token, with the caveats that it met. */
  verify(token: string): readonly string[] | undefined
}

/** The same in version 2 binary: of a longer macaroon `exportBinary` doubles its buffer with every field, until it fails. */
function binary({ l, i, c, s64 }: ReturnType<Foreign['exportJSON']>): Buffer {
  const field = (kind: number, content: string | Buffer) => {
    const bytes = Buffer.from(content)
    return Buffer.concat([Buffer.from([kind, bytes.length]), bytes])
  }
  const end = Buffer.from([0])
  return Buffer.concat([
    Buffer.from([2]),
    ...(l === undefined ? [] : [field(1, l)]),
    field(2, i),
    end,
    ...c.flatMap(caveat => [field(2, caveat.i), end]),
    end,
    field(6, Buffer.from(s64, 'base64url')),
  ])
}

const npm: Peer = {
  mint(identifier, location, caveats) {
    const made = library.newMacaroon({ version: 2, rootKey: ROOT, identifier, location })
    for (const caveat of caveats) made.addFirstPartyCaveat(caveat)
    return Buffer.from(made.exportBinary()).toString('base64url')
  },
  attenuate(token, caveats) {
    const made = library.importMacaroon(Buffer.from(token, 'base64url'))
    for (const caveat of caveats) made.addFirstPartyCaveat(caveat)
    return binary(made.exportJSON()).toString('base64url')
  },
  verify(token) {
    const met: string[] = []
    const made = library.importMacaroon(Buffer.from(token, 'base64url'))
    try {
      made.verify(
        ROOT,
        caveat => {
          met.push(caveat)
          return null
        },
        [],
      )
      return met
    } catch {
      return undefined
    }
  },
}

const SCRIPT = `
import json, sys
from pymacaroons import Macaroon, Verifier, MACAROON_V2
ask = json.load(sys.stdin)
root = bytes.fromhex(ask["root"])
if ask["do"] == "mint":
    made = Macaroon(location=ask["location"], identifier=ask["identifier"], key=root, version=MACAROON_V2)
else:
    made = Macaroon.deserialize(ask["token"])
for caveat in ask.get("caveats", []):
    made.add_first_party_caveat(caveat)
if ask["do"] == "verify":
    met = []
    verifier = Verifier()
    verifier.satisfy_general(lambda caveat: met.append(caveat) or True)
    try:
        verifier.verify(made, root)
    except Exception:
        met = None
    print(json.dumps(met))
else:
    print(json.dumps(made.serialize()))
`

function ask<T>(question: object): T {
  const input = JSON.stringify({ ...question, root: ROOT.toString('hex') })
  return JSON.parse(execFileSync(python.path, ['-c', SCRIPT], { input }).toString()) as T
}

const pymacaroons: Peer = {
  mint: (identifier, location, caveats) => ask<string>({ do: 'mint', identifier, location, caveats }),
  attenuate: (token, caveats) => ask<string>({ do: 'attenuate', token, caveats }),
  verify: token => ask<string[] | null>({ do: 'verify', token }) ?? undefined,
}

describe.skipIf(!addonStatus().loaded).each([
  { name: 'npm macaroon', peer: npm, available: true },
  { name: 'pymacaroons', peer: pymacaroons, available: python.available },
])('$name', ({ peer, available }) => {
  it.skipIf(!available)('mints what this service takes, byte for byte as this service does', () => {
    const identifier = `${prefix}${id()}:stranger`
    const token = peer.mint(identifier, 'ron-kms', CAVEATS)
    expect(check(token)).toBe(identifier)
    expect(macaroon.inspect(token)).toMatchObject({ identifier, location: 'ron-kms', caveats: CAVEATS })
    const ours = macaroon.attenuate(peer.mint(identifier, 'ron-kms', CAVEATS.slice(0, 1)), CAVEATS.slice(1))
    expect(ours).toBe(token)
    expect(check(peer.mint(identifier, 'elsewhere', CAVEATS))).toBe('Invalid')
  })

  it.skipIf(!available)('narrows ours, and never widens it', () => {
    const { token, identifier } = verifier.mint('ours', CAVEATS)
    const narrower = peer.attenuate(token, ['scope = kms:verify,kms:admin'])
    expect(check(narrower, 'kms:verify')).toBe(identifier)
    expect(check(narrower, 'kms:sign')).toBe('Scope')
    expect(check(narrower, 'kms:admin')).toBe('Scope')
    expect(check(peer.attenuate(token, ['unknown = 1']))).toBe('Invalid')
    expect(narrower).toBe(macaroon.attenuate(token, ['scope = kms:verify,kms:admin']))
  })

  it.skipIf(!available)('verifies ours, and what we narrowed of its own', () => {
    const { token } = verifier.mint('ours', CAVEATS)
    expect(peer.verify(token)).toEqual(CAVEATS)
    const theirs = peer.mint(`${prefix}${id()}:stranger`, 'ron-kms', CAVEATS)
    expect(peer.verify(macaroon.attenuate(theirs, ['rps = 5']))).toEqual([...CAVEATS, 'rps = 5'])
    const tampered = Buffer.from(token, 'base64url')
    tampered[tampered.length - 1] = (tampered.at(-1) ?? 0) ^ 1
    expect(peer.verify(tampered.toString('base64url'))).toBeUndefined()
  })
})
