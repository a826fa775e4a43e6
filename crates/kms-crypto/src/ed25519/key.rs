//! Public keys that are ready to verify, and signing keys that never show themselves.

use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use kms_core::{Entropy, KmsError, Result, Secret, SecretBox};
use sha2::Sha512;

#[cfg(feature = "aws-lc")]
use super::aws_lc;
use super::lane::SignLane;
use super::precomputed::KeyHandle;
#[cfg(feature = "ring")]
use super::ring;
use super::strict::point_is_canonical;
use super::{PUBLIC_KEY_LEN, SIGNATURE_LEN};
use crate::stack::{LIGHT, scrubbed};

/// A public key that decoded: canonical, on the curve, of large order (it may carry torsion).
///
/// 192 bytes; cheap to copy, safe to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Decodes a public key (RFC 8032, section 5.1.3).
    ///
    /// # Errors
    /// `BadRequest`, field `publicKey`, for a non-canonical encoding, a point off the curve and a
    /// point of small order: no signature verifies under any of them.
    pub fn from_bytes(bytes: &[u8; PUBLIC_KEY_LEN]) -> Result<PublicKey> {
        Self::decode(bytes).ok_or_else(|| {
            KmsError::bad_request("not a canonical Ed25519 public key of large order")
                .field("publicKey")
        })
    }

    /// [`PublicKey::from_bytes`] for callers to whom a bad key is a failed verification.
    pub fn decode(bytes: &[u8; PUBLIC_KEY_LEN]) -> Option<PublicKey> {
        if !point_is_canonical(bytes) {
            return None;
        }
        VerifyingKey::from_bytes(bytes).ok().map(PublicKey)
    }

    /// The encoded key.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_LEN] {
        self.0.as_bytes()
    }

    pub(super) fn verifying(&self) -> &VerifyingKey {
        &self.0
    }
}

/// How a caller names a public key.
#[derive(Clone, Copy)]
pub enum KeyRef<'a> {
    /// By handle, which resolves to its table at once.
    Handle(&'a Arc<KeyHandle>),
    /// By its encoding, which need not decode.
    Bytes(&'a [u8; PUBLIC_KEY_LEN]),
}

impl<'a> KeyRef<'a> {
    /// The encoding.
    pub fn bytes(self) -> &'a [u8; PUBLIC_KEY_LEN] {
        match self {
            KeyRef::Handle(handle) => handle.public().as_bytes(),
            KeyRef::Bytes(bytes) => bytes,
        }
    }

    /// The decoded key, if it decodes.
    pub(super) fn decoded(self) -> Option<PublicKey> {
        match self {
            KeyRef::Handle(handle) => Some(*handle.public()),
            KeyRef::Bytes(bytes) => PublicKey::decode(bytes),
        }
    }
}

/// A private key, expanded once, and its public half.
///
/// The secret half lives in secret memory (lane `ring` apart), is wiped when dropped and has no accessor.
pub struct SigningKey {
    secret: Expanded,
    public: PublicKey,
}

// ed25519-dalek wipes its keys only with its feature `zeroize`: without it this does not compile.
const _: fn() = || {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<ExpandedSecretKey>();
};

enum Expanded {
    Dalek(SecretBox<ExpandedSecretKey>),
    #[cfg(feature = "aws-lc")]
    AwsLc(aws_lc::PrivateKey),
    #[cfg(feature = "ring")]
    Ring(Box<ring::KeyPair>),
}

impl SigningKey {
    /// Makes a new key (RFC 8032, section 5.1.5).
    ///
    /// # Errors
    /// `Internal` when there is no randomness.
    pub fn generate(lane: SignLane, entropy: &dyn Entropy) -> Result<SigningKey> {
        Self::from_seed(lane, &Secret::random(entropy)?)
    }

    /// The key of a seed (section 5.1.5), which is what custody keeps of a key.
    ///
    /// Whoever chooses the seed knows the key: it must come from [`Secret::random`] or from sealed storage.
    ///
    /// # Errors
    /// `Internal` when the lane refuses the seed.
    pub fn from_seed(lane: SignLane, seed: &Secret<32>) -> Result<SigningKey> {
        scrubbed::<LIGHT, _>(|| {
            let expanded = SecretBox::new(ExpandedSecretKey::from(seed.expose()));
            let public = PublicKey(VerifyingKey::from(&*expanded));
            let secret = match lane.resolved() {
                SignLane::Auto | SignLane::Dalek => Expanded::Dalek(expanded),
                #[cfg(feature = "aws-lc")]
                SignLane::AwsLc => Expanded::AwsLc(aws_lc::PrivateKey::new(seed, &public)?),
                #[cfg(feature = "ring")]
                SignLane::Ring => {
                    Expanded::Ring(Box::new(ring::KeyPair::new(seed, public.as_bytes())?))
                }
            };
            Ok(SigningKey { secret, public })
        })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs (RFC 8032, section 5.1.6): deterministic, in time that does not depend on the key.
    ///
    /// `message` is read twice, so it must not change meanwhile.
    ///
    /// # Errors
    /// `Internal` if the lane refuses, which none does today.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN]> {
        match &self.secret {
            // The hash leaves its state on the stack, which begins with half of the expanded key.
            Expanded::Dalek(expanded) => Ok(scrubbed::<LIGHT, _>(|| {
                raw_sign::<Sha512>(expanded, message, self.public.verifying()).to_bytes()
            })),
            #[cfg(feature = "aws-lc")]
            Expanded::AwsLc(key) => key.sign(&self.public, message),
            #[cfg(feature = "ring")]
            Expanded::Ring(pair) => Ok(pair.sign(message)),
        }
    }
}
