//! What ties the ML-DSA half of a hybrid signature to its key and its caller's context.
//!
//! A hybrid signature is two signatures over one message: Ed25519's, which is an ordinary one, and ML-DSA's, whose
//! context has these 49 bytes:
//!
//! | offset | bytes | is |
//! | --- | --- | --- |
//! | 0 | 17 | `ron-kms/hybrid/v1` |
//! | 17 | 32 | SHA-256(kid ‖ pk_ed25519 ‖ pk_ml_dsa ‖ context) |
//!
//! `kid` is the ASCII of the kid with its version, `pk_ed25519` has 32 bytes, `pk_ml_dsa` 1,312, 1,952 or 2,592 by its
//! parameter set, and `context` is the caller's, 0 to 255 bytes. There are no length prefixes, yet nothing can be moved
//! from one part to another: ML-DSA itself signs the hash of pk_ml_dsa (FIPS 204, Algorithm 6, line 9), so its bytes and
//! its length are fixed for a verifier, and it would have to occur a second time, shifted, in the same string.
//!
//! So the ML-DSA half verifies under no other key, version, partner key or context. The Ed25519 half is not tied:
//! alone it is a valid classical signature, and only policy refuses it. Two halves over one message by one key version
//! may come from two signatures.

use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::ed25519;
use crate::ml_dsa;

/// Length of the context of the ML-DSA half in bytes.
pub const CONTEXT_LEN: usize = DOMAIN.len() + 32;

const DOMAIN: &[u8; 17] = b"ron-kms/hybrid/v1";

/// The context of the ML-DSA half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HybridContext([u8; CONTEXT_LEN]);

impl HybridContext {
    /// The context of a hybrid signature by the key version `kid` under the caller's `context`.
    pub fn new(
        kid: &str,
        ed25519: &[u8; ed25519::PUBLIC_KEY_LEN],
        ml_dsa: &ml_dsa::PublicKey,
        context: Context<'_>,
    ) -> HybridContext {
        let hash = Sha256::new()
            .chain_update(kid)
            .chain_update(ed25519)
            .chain_update(ml_dsa.as_bytes())
            .chain_update(context.as_bytes())
            .finalize();
        let mut bytes = [0; CONTEXT_LEN];
        let (domain, rest) = bytes.split_at_mut(DOMAIN.len());
        domain.copy_from_slice(DOMAIN);
        rest.copy_from_slice(&hash);
        HybridContext(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; CONTEXT_LEN] {
        &self.0
    }

    /// As the context that ML-DSA signs and verifies under.
    pub fn as_context(&self) -> Context<'_> {
        Context::of_array(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use kms_core::OsEntropy;

    use super::*;
    use crate::lane::Lane;

    /// The known answers are in `own_vectors`; here every part of the context matters.
    #[test]
    fn the_half_verifies_under_nothing_else() {
        let generate =
            || ml_dsa::SigningKey::generate(ml_dsa::Set::MlDsa44, Lane::Auto, &OsEntropy).unwrap();
        let (key, other) = (generate(), generate());
        let context = Context::new(b"c").unwrap();
        let of = |kid, ed25519, ml_dsa: &ml_dsa::SigningKey, context| {
            HybridContext::new(kid, ed25519, ml_dsa.public(), context)
        };
        let bound = of("k#v1", &[1; 32], &key, context);
        let signature = key.sign(b"m", bound.as_context(), &OsEntropy).unwrap();
        let verify = |context: HybridContext| {
            let context = context.as_context();
            ml_dsa::verify(Lane::Auto, key.public(), b"m", context, &signature)
        };
        assert!(verify(bound));
        assert!(!verify(of("k#v2", &[1; 32], &key, context)));
        assert!(!verify(of("k#v1", &[2; 32], &key, context)));
        assert!(!verify(of("k#v1", &[1; 32], &other, context)));
        assert!(!verify(of("k#v1", &[1; 32], &key, Context::EMPTY)));
        assert_eq!(bound.as_bytes().len(), CONTEXT_LEN);
        assert!(bound.as_bytes().starts_with(b"ron-kms/hybrid/v1"));
    }
}
