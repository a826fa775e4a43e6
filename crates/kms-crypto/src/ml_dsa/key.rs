//! Public keys that are ready to verify, and signing keys that never show themselves.

use std::fmt;
use std::sync::OnceLock;

use kms_core::{Entropy, KmsError, Result, Secret};

#[cfg(feature = "aws-lc")]
use super::aws_lc;
use super::mu::{MU_LEN, MuHasher, TR_LEN, hash_of_key};
use super::rustcrypto;
use super::set::Set;
use super::{RND_LEN, SEED_LEN};
use crate::context::Context;
use crate::lane::Lane;
use crate::stack::{DEEP, scrubbed};

/// A public key, its hash, and the expanded form of the lane `rustcrypto` once that lane has verified with it (24 to
/// 72 KiB, which save the lane half of its time; `aws-lc` expands anew each time and takes a third of what is left).
///
/// Cheap to share behind an `Arc`.
pub struct PublicKey {
    set: Set,
    bytes: Box<[u8]>,
    tr: [u8; TR_LEN],
    expanded: OnceLock<rustcrypto::VerifyingKey>,
}

impl PublicKey {
    /// Decodes a public key (FIPS 204, Algorithm 23). Every string of the right length is one.
    ///
    /// # Errors
    /// `BadRequest`, field `publicKey`, for a wrong length.
    pub fn from_bytes(set: Set, bytes: &[u8]) -> Result<PublicKey> {
        if bytes.len() != set.public_key_len() {
            return Err(KmsError::bad_request(
                "not the length of an ML-DSA public key of this set",
            )
            .field("publicKey"));
        }
        let tr = hash_of_key(bytes);
        Ok(PublicKey { set, bytes: bytes.into(), tr, expanded: OnceLock::new() })
    }

    /// The parameter set.
    pub fn set(&self) -> Set {
        self.set
    }

    /// The encoded key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn tr(&self) -> &[u8; TR_LEN] {
        &self.tr
    }

    pub(super) fn expanded(&self) -> &rustcrypto::VerifyingKey {
        self.expanded.get_or_init(|| rustcrypto::VerifyingKey::expand(self.set, &self.bytes))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("set", &self.set).field("bytes", &self.bytes).finish()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.set == other.set && self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

/// A private key, expanded once, and its public half.
///
/// The secret half lives in secret memory, is wiped when dropped and has no accessor.
pub struct SigningKey {
    secret: Expanded,
    public: PublicKey,
}

enum Expanded {
    RustCrypto(rustcrypto::PrivateKey),
    #[cfg(feature = "aws-lc")]
    AwsLc(aws_lc::PrivateKey),
}

impl SigningKey {
    /// ML-DSA.KeyGen (FIPS 204, Algorithm 1).
    ///
    /// # Errors
    /// `Internal` when there is no randomness.
    pub fn generate(set: Set, lane: Lane, entropy: &dyn Entropy) -> Result<SigningKey> {
        Self::from_seed(set, lane, &Secret::random(entropy)?)
    }

    /// The key of a seed ξ (FIPS 204, Algorithm 6), which is what custody keeps of a key.
    ///
    /// # Errors
    /// `Internal` if the lane refuses, which none does today.
    pub fn from_seed(set: Set, lane: Lane, seed: &Secret<SEED_LEN>) -> Result<SigningKey> {
        let (secret, public) = scrubbed::<DEEP, _>(|| match lane.resolved() {
            Lane::Auto | Lane::RustCrypto => {
                let (key, public) = rustcrypto::PrivateKey::expand(set, seed);
                Ok((Expanded::RustCrypto(key), public))
            }
            #[cfg(feature = "aws-lc")]
            Lane::AwsLc => {
                let (key, public) = aws_lc::PrivateKey::expand(set, seed)?;
                Ok((Expanded::AwsLc(key), public))
            }
        })?;
        Ok(SigningKey { secret, public: PublicKey::from_bytes(set, &public)? })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// ML-DSA.Sign, hedged (FIPS 204, section 3.4 and Algorithm 2): the randomness is ours, so neither a stuck
    /// generator nor a fault in a repeated computation reveals the key.
    ///
    /// How long it takes depends on the signature (rejected attempts, which are public), not on the key.
    ///
    /// # Errors
    /// `Internal` when there is no randomness, or no signature in 9,000 attempts or more, which nobody
    /// will see (FIPS 204, appendix C).
    pub fn sign(
        &self,
        message: &[u8],
        context: Context<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>> {
        self.sign_mu(&MuHasher::of(&self.public, context, message), entropy)
    }

    /// [`SigningKey::sign`] for a μ that was computed elsewhere: external μ (FIPS 204, section 6.2, line 6 of
    /// Algorithm 7).
    ///
    /// μ hides what is signed, our own statements included: never sign a μ that a caller made.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    pub fn sign_mu(&self, mu: &[u8; MU_LEN], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        self.sign_mu_with(mu, &Secret::random(entropy)?)
    }

    /// Signs with given randomness, for known-answer tests.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    #[cfg(any(test, feature = "hazmat"))]
    pub fn sign_with_rnd(
        &self,
        message: &[u8],
        context: Context<'_>,
        rnd: &Secret<RND_LEN>,
    ) -> Result<Vec<u8>> {
        self.sign_mu_with(&MuHasher::of(&self.public, context, message), rnd)
    }

    /// [`SigningKey::sign_mu`] with given randomness, for known-answer tests.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    #[cfg(any(test, feature = "hazmat"))]
    pub fn sign_mu_with_rnd(&self, mu: &[u8; MU_LEN], rnd: &Secret<RND_LEN>) -> Result<Vec<u8>> {
        self.sign_mu_with(mu, rnd)
    }

    /// The deterministic variant (FIPS 204, section 3.4), for known-answer tests.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    #[cfg(any(test, feature = "hazmat"))]
    pub fn sign_deterministic(&self, message: &[u8], context: Context<'_>) -> Result<Vec<u8>> {
        self.sign_with_rnd(message, context, &Secret::fill(|_| {}))
    }

    fn sign_mu_with(&self, mu: &[u8; MU_LEN], rnd: &Secret<RND_LEN>) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.public.set.signature_len()];
        let signed = scrubbed::<DEEP, _>(|| match &self.secret {
            Expanded::RustCrypto(key) => key.sign_mu(mu, rnd, &mut signature),
            #[cfg(feature = "aws-lc")]
            Expanded::AwsLc(key) => key.sign_mu(mu, rnd, &mut signature),
        });
        if !signed {
            return Err(KmsError::internal("the ML-DSA lane did not sign"));
        }
        Ok(signature)
    }
}
