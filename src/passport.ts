/**
 * Passports: short-lived signed tokens. Issue them with a key of the service, verify them anywhere.
 *
 * @module ron-kms/passport
 */
export { KmsError, type KmsErrorCode } from './errors.js'
export { PassportIssuer, type PassportIssuerOptions } from './passport/issuer.js'
export type { Jwk, JwkSet, TrustedKey } from './passport/jwks.js'
export { type PassportAuthOptions, type PassportVariables, passportAuth } from './passport/middleware.js'
export type {
  Envelope,
  IssueRequest,
  PassportClaims,
  RefusalReason,
  Verdict,
  VerifyDemands,
} from './passport/types.js'
export { PassportVerifier, type PassportVerifierOptions } from './passport/verifier.js'
