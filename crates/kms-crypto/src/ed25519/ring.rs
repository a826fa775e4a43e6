//! Lane `ring`: BoringSSL's arithmetic behind our byte filters.
//!
//! ring compares the encoding of [S]B + [k](-A) with the bytes of R, k in [0, L), so with the
//! filters around it the verdict is the strict one.

use kms_core::{KmsError, Result, Secret};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};

use super::key::PublicKey;
use super::strict::signature_is_canonical;
use super::{PUBLIC_KEY_LEN, SIGNATURE_LEN};

/// The strict verdict: the byte filters, then the equation.
pub(super) fn verify(key: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    signature_is_canonical(signature)
        && UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(message, signature).is_ok()
}

/// ring's key pair. ring does not wipe it when it is dropped.
pub(super) struct KeyPair(Ed25519KeyPair);

impl KeyPair {
    pub(super) fn new(seed: &Secret<32>, public: &[u8; PUBLIC_KEY_LEN]) -> Result<KeyPair> {
        Ed25519KeyPair::from_seed_and_public_key(seed.expose(), public)
            .map(KeyPair)
            .map_err(|_| KmsError::internal("the ring lane refused a seed"))
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut out = [0; SIGNATURE_LEN];
        out.copy_from_slice(self.0.sign(message).as_ref());
        out
    }
}
