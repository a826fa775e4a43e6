//! Importing a private key: the guarded way in for keys that were made elsewhere. There is no way out.

use std::sync::Arc;

use kms_core::{Context, ErrorCode, KmsError, Result, SecretBytes};

use crate::create::{CreateKey, Created};
use crate::dispatch::SecretData;
use crate::engine::Engine;
use crate::material::SecretHalf;
use crate::op::Op;

/// A private key and what it is to be here.
#[derive(Clone, Hash)]
pub struct ImportKey {
    /// As for a key that is made here.
    pub key: CreateKey,
    /// The seed: 32 bytes of Ed25519 (RFC 8032), X25519 (RFC 7748) and ML-DSA (FIPS 204, ξ), 64 of ML-KEM (FIPS 203,
    /// d and z), SK.seed, SK.prf and PK.seed of SLH-DSA (FIPS 205), 32 of X-Wing; those of Ed25519 and ML-DSA, one after
    /// the other, of a hybrid key that signs. Wiped when dropped.
    pub private: Arc<SecretData>,
    /// The encoded public keys of its tracks, the classical one first. They must be the private key's.
    pub public: Vec<Vec<u8>>,
}

impl std::fmt::Debug for ImportKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportKey").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes a key of a private key that was made elsewhere, as version 1.
    ///
    /// # Errors
    /// `NoCapability` where the service does not import; `BadRequest`, field `private_key_b64`, for a private key of
    /// another length, and field `public_key_b64` for public keys that are not its own; those of [`Engine::create`].
    pub fn import(&self, context: &Context, wish: &ImportKey) -> Result<Created> {
        self.run(Op::Import, context, |trace| {
            if !self.config.allow_import {
                let why = "this service does not import keys: security.allow_import is off";
                return Err(KmsError::new(ErrorCode::NoCapability, why));
            }
            let (suite, facts) = self.plan_key(context, &wish.key, trace)?;
            if self.authority().is_remote(suite) {
                let error = KmsError::unsupported("keys of this backend are made in the token");
                return Err(error.field("alg"));
            }
            let given = wish.private.0.expose();
            if given.len() != suite.seed_len() {
                let error = KmsError::bad_request("has not the length of this algorithm's seed");
                return Err(error.field("private_key_b64"));
            }
            let made = SecretHalf::from_seed(suite, self.lanes(), SecretBytes::copy_of(given))?;
            // What signs beside a public key that is not its own gives the private key away.
            if made.1.encoded() != wish.public {
                let error = KmsError::bad_request("is not the public key of the private key");
                return Err(error.field("public_key_b64"));
            }
            let version = self.hold(suite, made)?;
            self.publish(Op::Import, context, facts, version)
        })
    }
}
