//! The chain of HMAC-SHA-256 that a macaroon's caveats hang on, as libmacaroons has it.

use hmac::{Hmac, KeyInit, Mac};
use kms_core::Secret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// What libmacaroons keys with a root key before it is used.
const GENERATOR: &[u8] = b"macaroons-key-generator";

/// The key that chains begin with: of a root key, which may have any length.
pub(crate) fn derive(root: &[u8]) -> Secret<32> {
    let mut derived = hmac(GENERATOR, root);
    Secret::take(&mut derived)
}

/// A value of the chain. The value at a caveat is the signature of the macaroon that ends there, so it is wiped.
pub(crate) struct Chain([u8; 32]);

impl Chain {
    /// The chain of a macaroon without caveats.
    pub(crate) fn start(key: &Secret<32>, identifier: &[u8]) -> Chain {
        Chain(hmac(key.expose(), identifier))
    }

    /// The chain that a signature ends.
    pub(crate) fn resume(signature: &[u8; 32]) -> Chain {
        Chain(*signature)
    }

    /// Hangs a first-party caveat on it.
    pub(crate) fn push(&mut self, caveat: &[u8]) {
        self.0 = hmac(&self.0, caveat);
    }

    /// Whether a signature is this value, in constant time.
    pub(crate) fn is(&self, signature: &[u8; 32]) -> bool {
        self.0.ct_eq(signature).into()
    }

    /// The value, to be put into a token.
    pub(crate) fn value(&self) -> &[u8; 32] {
        &self.0
    }

    /// A name for this place of the chain that says nothing about the value.
    pub(crate) fn place(&self) -> [u8; 16] {
        let digest: [u8; 32] = Sha256::digest(self.0).into();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}
