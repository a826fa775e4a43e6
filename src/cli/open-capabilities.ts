import { CapabilityVerifier } from '../capability.js'
import type { Config } from '../config/schema.js'

/** The verifier that settings ask for; in development mode without a root key it has a fresh one. */
export function openCapabilities({ capability, security }: Config): CapabilityVerifier {
  const { root_key_file, root_key_env, revocation_file, max_rps } = capability
  return CapabilityVerifier.open({
    ...(root_key_file !== '' && { rootKeyFile: root_key_file }),
    ...(root_key_env !== '' && { rootKeyEnv: root_key_env }),
    ...(revocation_file !== '' && { revocationFile: revocation_file }),
    ...(max_rps !== 0 && { maxRps: max_rps }),
    skewMs: security.time_skew_tolerance_ms,
    readMayVerify: capability.read_may_verify,
    mintPerMinute: capability.mint_per_minute,
    maxActive: capability.max_active,
    maxLifeS: Math.floor(capability.max_life / 1000),
  })
}
