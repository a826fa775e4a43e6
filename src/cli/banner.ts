import { KmsError } from '../errors.js'
import type { Kms } from '../kms.js'
import type { Service } from '../server/service.js'
import { VERSION } from '../server/version.js'

/** What the banner of development mode shows. */
export interface BannerParts {
  readonly kms: Pick<Kms, 'createKey' | 'signBundle'>
  readonly service: Pick<Service, 'apiUrl' | 'metricsUrl'>
  readonly token: string
  readonly cpuTier: string
  /** Whether keys are kept. Then none is made just to show something. */
  readonly durable?: boolean
}

/** BLAKE3-256 of the bytes `hello world`. */
const HELLO_WORLD_B3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24'

/** Makes a key and a signature to try, and the text that shows how. */
export async function devBanner({ kms, service, token, cpuTier, durable }: BannerParts): Promise<string> {
  const url = reachable(service.apiUrl)
  const curl = (path: string, body: unknown) =>
    `curl -sS -w '\\n' -X POST '${url}/v1/kms/${path}' -H 'Authorization: Bearer ${token}' ` +
    `-H 'Content-Type: application/json' -d '${JSON.stringify(body)}'`
  return [
    `ron-kms ${VERSION} in development mode, CPU tier ${cpuTier}`,
    `API      ${url}/v1/kms`,
    `metrics  ${reachable(service.metricsUrl)}/metrics  (also /healthz /readyz /version)`,
    '',
    `Authorization: Bearer ${token}`,
    '',
    ...(durable ? [] : await toTry(kms, curl)),
    'Sign and verify a whole directory tree:',
    '',
    `RON_KMS_TOKEN=${token} npx ron-kms demo --url ${url}`,
    '',
    durable
      ? 'WARNING: development mode. Keys are kept;'
      : 'WARNING: development mode. Keys live in memory only and are gone when this process ends;',
    'WARNING: the token above grants everything to whoever has it.',
    '',
  ].join('\n')
}

/** Lines that create a key, sign and verify; none where no key that signs may be made. */
async function toTry(
  kms: BannerParts['kms'],
  curl: (path: string, body: unknown) => string,
): Promise<string[]> {
  for (const alg of ['ed25519', 'hybrid', 'ml-dsa'] as const) {
    try {
      const key = await kms.createKey({ tenant: 'dev', purpose: 'demo', alg, signs: 'digest' })
      // Without its version a kid means the head, so the line still works after a rotation.
      const head = key.kid.split('#')[0] ?? key.kid
      const { kid, sigs } = kms.signBundle(head, Buffer.from('hello world'))
      const encoded = sigs.map(({ alg, signature }) => ({
        alg,
        signature_b64: Buffer.from(signature).toString('base64'),
      }))
      return [
        'Create a key, sign the BLAKE3 of "hello world", verify a signature of it:',
        '',
        curl('keys', { tenant: 'dev', purpose: 'first', alg }),
        '',
        curl('sign', { kid_or_set: { kid: head }, payload_b3: HELLO_WORLD_B3 }),
        '',
        curl('verify', { kid, payload_b3: HELLO_WORLD_B3, sigs: encoded }),
        '',
      ]
    } catch (error) {
      // Settings may leave out an algorithm, by name or by policy.
      if (!(error instanceof KmsError) || error.code !== 'Unsupported') throw error
    }
  }
  return []
}

/** An address that a client on this machine can use: nobody connects to "any address". */
function reachable(url: string): string {
  return url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
}
