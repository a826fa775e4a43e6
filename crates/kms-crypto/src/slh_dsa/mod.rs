//! SLH-DSA (FIPS 205), pure, with contexts, by the crate `slh-dsa`; HashSLH-DSA is not offered.
//!
//! | set | public key | seed | signature |
//! | --- | --- | --- | --- |
//! | SHA2-128s, SHAKE-128s | 32 | 48 | 7,856 |
//! | SHA2-128f, SHAKE-128f | 32 | 48 | 17,088 |
//! | SHA2-192s, SHAKE-192s | 48 | 72 | 16,224 |
//! | SHA2-192f, SHAKE-192f | 48 | 72 | 35,664 |
//! | SHA2-256s, SHAKE-256s | 64 | 96 | 29,792 |
//! | SHA2-256f, SHAKE-256f | 64 | 96 | 49,856 |
//!
//! Keys are made and messages signed in hundreds of thousands of hashes: tens of milliseconds to a second, so never on a
//! thread that must not wait. The crate is a release candidate and was never audited. It wipes its keys when they are
//! dropped, but not the chain and tree secrets of a signature, which are on the stack (overwritten here, as far as that
//! goes) and in heap memory nowhere.

mod key;
mod set;
#[cfg(test)]
mod tests;

pub use key::SigningKey;
use kms_core::{KmsError, Result};
pub use set::Set;
use set::with_set;

use crate::context::Context;

/// A public key: any two strings of n bytes, PK.seed ‖ PK.root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    set: Set,
    bytes: Box<[u8]>,
}

impl PublicKey {
    /// Decodes a public key (FIPS 205, figure 16).
    ///
    /// # Errors
    /// `BadRequest`, field `publicKey`, for a wrong length.
    pub fn from_bytes(set: Set, bytes: &[u8]) -> Result<PublicKey> {
        if bytes.len() != set.public_key_len() {
            return Err(KmsError::bad_request(
                "not the length of an SLH-DSA public key of this set",
            )
            .field("publicKey"));
        }
        Ok(PublicKey { set, bytes: bytes.into() })
    }

    /// The parameter set.
    pub fn set(&self) -> Set {
        self.set
    }

    /// The encoded key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// `slh_verify` (FIPS 205, Algorithm 24). A signature of a wrong length is invalid.
pub fn verify(key: &PublicKey, message: &[u8], context: Context<'_>, signature: &[u8]) -> bool {
    if signature.len() != key.set.signature_len() {
        return false;
    }
    with_set!(key.set, P => {
        let decoded = ::slh_dsa::Signature::<P>::try_from(signature);
        let key = ::slh_dsa::VerifyingKey::<P>::try_from(key.as_bytes());
        match (key, decoded) {
            (Ok(key), Ok(signature)) => {
                key.try_verify_with_context(message, context.as_bytes(), &signature).is_ok()
            }
            _ => false,
        }
    })
}
