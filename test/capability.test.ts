// The verifier of capabilities as a library: what is asked in a wrong form is refused by name, and lets nobody in.
import { type Asked, CapabilityVerifier, type Scope } from 'ron-kms'
import { describe, expect, it } from 'vitest'
import { refusal } from './support/refusal.js'

const exp = Math.floor(Date.now() / 1000) + 600
const verifier = CapabilityVerifier.open()
const mint = (...caveats: string[]) =>
  `Bearer ${verifier.mint('reader', ['tenant = core', `exp = ${exp}`, ...caveats]).token}`
const reader = mint('scope = kms:read')

describe('a capability', () => {
  it('lets in for the scopes that it has, all of those that are asked', () => {
    const both = mint('scope = kms:read,kms:sign')
    expect(verifier.check(reader, { scope: 'kms:read' })).toMatchObject({ tenant: 'core' })
    expect(verifier.check(reader, { scope: 'kms:sign' })).toBe('Scope')
    expect(verifier.check(reader, { scope: ['kms:read', 'kms:sign'] })).toBe('Scope')
    expect(verifier.check(both, { scope: ['kms:read', 'kms:sign'] })).toMatchObject({ tenant: 'core' })
    expect(verifier.check(reader, { scope: [] })).toMatchObject({ tenant: 'core' })
  })

  it('is asked anew for what is in a list that changed', () => {
    const scopes: Scope[] = ['kms:read']
    expect(verifier.check(reader, { scope: scopes })).toMatchObject({ tenant: 'core' })
    scopes.push('kms:destroy')
    expect(verifier.check(reader, { scope: scopes })).toBe('Scope')
  })

  it('throws for who is not let in, with the code of the reason', async () => {
    expect(await refusal(() => verifier.verify(undefined, { scope: 'kms:read' }))).toBe(
      'NoCapability undefined',
    )
    expect(await refusal(() => verifier.verify(reader, { scope: 'kms:sign' }))).toBe('NoCapability undefined')
    const rare = mint('scope = kms:read', 'rps = 1')
    const ask = () => verifier.verify(rare, { scope: 'kms:read' })
    expect(ask()).toMatchObject({ tenant: 'core' })
    const codes = [await refusal(ask), await refusal(ask)]
    expect(codes).toContain('Backpressure undefined')
    const here = mint('scope = kms:read', 'ip = 127.0.0.1/32')
    expect(verifier.verify(here, { scope: 'kms:read', ip: '127.0.0.1' })).toMatchObject({ tenant: 'core' })
    expect(await refusal(() => verifier.verify(here, { scope: 'kms:read' }))).toBe('NoCapability undefined')
  })

  it.each<[unknown, unknown, string]>([
    [7, { scope: 'kms:read' }, 'authorization'],
    [null, { scope: 'kms:read' }, 'authorization'],
    [reader, undefined, 'asked'],
    [reader, 'kms:read', 'asked'],
    [reader, {}, 'scope'],
    [reader, { scope: 'kms:everything' }, 'scope'],
    [reader, { scope: ['kms:read', 7] }, 'scope'],
    [reader, { scope: [['kms:read']] }, 'scope'],
    [reader, { scope: 'kms:read', ip: 7 }, 'ip'],
  ])('is BadRequest in another form (%#)', async (authorization, asked, field) => {
    const check = () => verifier.check(authorization as string, asked as Asked)
    expect(await refusal(check)).toBe(`BadRequest ${field}`)
  })

  it.each<[object, string]>([
    [{ rootKeyFile: 7 }, 'rootKeyFile'],
    [{ rootKeyEnv: 'RON_KMS_NO_SUCH_VARIABLE' }, 'capability.root_key_env'],
    [{ revocationFile: '/nowhere/revoked' }, 'capability.revocation_file'],
    [{ skewMs: -1 }, 'skewMs'],
    [{ maxRps: 0 }, 'maxRps'],
    [{ maxLifeS: 1.5 }, 'maxLifeS'],
  ])('has no verifier with %j', async (options, field) => {
    expect(await refusal(() => CapabilityVerifier.open(options))).toBe(`BadRequest ${field}`)
  })

  it('is not minted without what it needs', async () => {
    expect(await refusal(() => verifier.mint('x', ['scope = kms:read']))).toMatch(/^BadRequest /)
    expect(await refusal(() => verifier.mint(7 as unknown as string, []))).toBe('BadRequest name')
  })

  it('of a verifier with a key of its own stays good when that is read again', () => {
    verifier.reload()
    expect(verifier.check(reader, { scope: 'kms:read' })).toMatchObject({ tenant: 'core' })
  })
})
