//! Lane `dalek`: one independent cofactorless equation a signature.

use ed25519_dalek::Signature;
use ed25519_dalek::hazmat::raw_verify;
use sha2::Sha512;

use super::SIGNATURE_LEN;
use super::key::PublicKey;
use super::strict::signature_is_canonical;

/// The strict verdict: the byte filters, then the equation.
///
/// dalek computes R' = [S]B + [k](-A) with k reduced into [0, L) and compares R' with the bytes of
/// R. With canonical, large-order A and R that is `verify_strict` plus the canonical-A test that it
/// lacks, without decompressing R.
pub(super) fn verify(key: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    signature_is_canonical(signature)
        && raw_verify::<Sha512>(key.verifying(), message, &Signature::from_bytes(signature)).is_ok()
}
