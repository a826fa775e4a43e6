//! Lane `aws-lc`: AWS-LC's assembly; behind our byte filters where it verifies.
//!
//! AWS-LC compares the encoding of [S]B + [k](-A) with the bytes of R, k in [0, L), so with the filters
//! around it the verdict is the strict one.

use kms_aws_lc::ed25519;
use kms_core::{KmsError, Result, Secret};

use super::SIGNATURE_LEN;
use super::key::PublicKey;
use super::strict::signature_is_canonical;

/// The strict verdict: the byte filters, then the equation.
pub(super) fn verify(key: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    signature_is_canonical(signature) && ed25519::equation_holds(key.as_bytes(), message, signature)
}

/// An expanded private key: scalar ‖ prefix.
pub(super) struct PrivateKey(Secret<64>);

impl PrivateKey {
    /// The private key of a seed whose public half, by another lane, is `public`.
    pub(super) fn new(seed: &Secret<32>, public: &PublicKey) -> Result<PrivateKey> {
        let mut derived = [0; 32];
        let expanded = Secret::fill(|out| derived = ed25519::expand(seed.expose(), out));
        // Signing under another public key would reveal the private one.
        if derived != *public.as_bytes() {
            return Err(KmsError::internal("two lanes derived different public keys"));
        }
        Ok(PrivateKey(expanded))
    }

    /// Signs; `public` is the key that [`PrivateKey::new`] was given.
    pub(super) fn sign(&self, public: &PublicKey, message: &[u8]) -> Result<[u8; SIGNATURE_LEN]> {
        ed25519::sign(self.0.expose(), public.as_bytes(), message)
            .ok_or_else(|| KmsError::internal("the aws-lc lane did not sign"))
    }
}
