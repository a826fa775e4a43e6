import type { Service } from '../../passport/service/service.js'
import { VERSION } from '../../server/version.js'

/** What the banner of development mode shows. */
export interface BannerParts {
  readonly service: Pick<Service, 'url' | 'adminUrl' | 'key'>
  readonly token: string
  readonly cpuTier: string
  readonly backend: string
}

/** How to issue a passport and verify it, ready to paste. */
export function passportBanner({ service, token, cpuTier, backend }: BannerParts): string {
  const url = reachable(service.url)
  const wish = JSON.stringify({ sub: 'alice', aud: ['service-a'], scopes: ['read:x'], ttl_s: 600 })
  return [
    `svc-passport ${VERSION} in development mode, CPU tier ${cpuTier}`,
    `API      ${url}/v1/passport`,
    `keys     ${url}/.well-known/jwks.json`,
    `metrics  ${reachable(service.adminUrl)}/metrics  (also /healthz /readyz /version)`,
    '',
    `Authorization: Bearer ${token}`,
    '',
    'Issue a passport for "alice":',
    '',
    `curl -sS -w '\\n' '${url}/v1/passport/issue' -H 'Authorization: Bearer ${token}' ` +
      `-H 'Content-Type: application/json' -d '${wish}'`,
    '',
    'Issue one and verify it:',
    '',
    `PASSPORT_URL=${url} PASSPORT_TOKEN=${token} sh -c 'npx ronctl passport mint --sub alice --aud service-a ` +
      `--scope read:x | npx ronctl passport verify --audience service-a'`,
    '',
    backend === 'inmem'
      ? 'WARNING: development mode. The key lives in memory only and is gone when this process ends;'
      : 'WARNING: development mode. Keys are kept;',
    'WARNING: the token above grants everything to whoever has it.',
    '',
  ].join('\n')
}

/** An address that a client on this machine can use: nobody connects to "any address". */
function reachable(url: string): string {
  return url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
}
