//! Public keys that passed their check, and private keys that never show themselves.

use kms_core::{Entropy, KmsError, Result, Secret};

#[cfg(feature = "aws-lc")]
use super::aws_lc;
#[cfg(target_arch = "x86_64")]
use super::libcrux;
use super::rustcrypto;
use super::set::Set;
use super::{SEED_LEN, SHARED_SECRET_LEN};
use crate::lane::Lane;
#[cfg(target_arch = "x86_64")]
use crate::stack::EXPANDED_KEM;
use crate::stack::{KEM, scrubbed};

/// The modulus q.
const Q: u16 = 3329;
/// Length of the seed ρ at the end of an encoded public key in bytes.
const RHO_LEN: usize = 32;

/// A public (encapsulation) key that passed the check of FIPS 203, section 7.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    set: Set,
    bytes: Box<[u8]>,
}

impl PublicKey {
    /// Decodes and checks a public key (FIPS 203, section 7.2).
    ///
    /// # Errors
    /// `BadRequest`, field `publicKey`, for a wrong length and for a coefficient that is not below the modulus.
    pub fn from_bytes(set: Set, bytes: &[u8]) -> Result<PublicKey> {
        let fault = |why: &'static str| Err(KmsError::bad_request(why).field("publicKey"));
        if bytes.len() != set.public_key_len() {
            return fault("not the length of an ML-KEM public key of this set");
        }
        if !coefficients_are_reduced(&bytes[..bytes.len() - RHO_LEN]) {
            return fault("an ML-KEM public key with a coefficient above the modulus");
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

/// The modulus check: ByteEncode12(ByteDecode12(t)) = t, which holds if every 12-bit coefficient is below q.
fn coefficients_are_reduced(encoded: &[u8]) -> bool {
    let (triples, _) = encoded.as_chunks();
    triples.iter().all(|[low, middle, high]| {
        let (low, middle, high) = (u16::from(*low), u16::from(*middle), u16::from(*high));
        (low | (middle & 0xf) << 8) < Q && (middle >> 4 | high << 4) < Q
    })
}

/// A private (decapsulation) key, expanded once, and its public half.
///
/// The secret half lives in secret memory, is wiped when dropped and has no accessor.
pub struct PrivateKey {
    secret: Expanded,
    public: PublicKey,
}

enum Expanded {
    RustCrypto(rustcrypto::PrivateKey),
    #[cfg(feature = "aws-lc")]
    AwsLc(aws_lc::PrivateKey),
    #[cfg(target_arch = "x86_64")]
    Libcrux(libcrux::PrivateKey),
}

impl Expanded {
    fn of(set: Set, lane: Lane, seed: &Secret<SEED_LEN>) -> Result<(Expanded, Vec<u8>)> {
        #[cfg(target_arch = "x86_64")]
        if lane == Lane::Auto && libcrux::available() {
            let (key, public) = libcrux::PrivateKey::expand(set, seed);
            return Ok((Expanded::Libcrux(key), public));
        }
        match lane.resolved() {
            Lane::Auto | Lane::RustCrypto => {
                let (key, public) = rustcrypto::PrivateKey::expand(set, seed);
                Ok((Expanded::RustCrypto(key), public))
            }
            #[cfg(feature = "aws-lc")]
            Lane::AwsLc => {
                let (key, public) = aws_lc::PrivateKey::expand(set, seed)?;
                Ok((Expanded::AwsLc(key), public))
            }
        }
    }

    /// Decapsulates into place; `false` for a wrong length.
    fn decapsulate(&self, ciphertext: &[u8], shared: &mut [u8; SHARED_SECRET_LEN]) -> bool {
        match self {
            Expanded::RustCrypto(key) => key.decapsulate(ciphertext, shared),
            #[cfg(feature = "aws-lc")]
            Expanded::AwsLc(key) => key.decapsulate(ciphertext, shared),
            #[cfg(target_arch = "x86_64")]
            Expanded::Libcrux(key) => key.decapsulate(ciphertext, shared),
        }
    }

    /// Wipes the stack after work with this key.
    fn scrubbed<T>(&self, work: impl FnOnce() -> T) -> T {
        match self {
            #[cfg(target_arch = "x86_64")]
            Expanded::Libcrux(_) => scrubbed::<EXPANDED_KEM, _>(work),
            _ => scrubbed::<KEM, _>(work),
        }
    }
}

impl PrivateKey {
    /// ML-KEM.KeyGen (FIPS 203, Algorithm 19).
    ///
    /// # Errors
    /// `Internal` when there is no randomness.
    pub fn generate(set: Set, lane: Lane, entropy: &dyn Entropy) -> Result<PrivateKey> {
        Self::from_seed(set, lane, &Secret::random(entropy)?)
    }

    /// The key of a seed d ‖ z (FIPS 203, Algorithm 16), which is what custody keeps of a key.
    ///
    /// # Errors
    /// `Internal` if the lane refuses, which none does today.
    pub fn from_seed(set: Set, lane: Lane, seed: &Secret<SEED_LEN>) -> Result<PrivateKey> {
        let (secret, bytes) = scrubbed::<KEM, _>(|| Expanded::of(set, lane, seed))?;
        Ok(PrivateKey { secret, public: PublicKey { set, bytes: bytes.into() } })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// ML-KEM.Decaps (FIPS 203, Algorithm 21), in time that depends neither on the key nor on whether the ciphertext
    /// was made for it.
    ///
    /// # Errors
    /// `BadRequest`, field `ciphertext`, for a wrong length.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret<SHARED_SECRET_LEN>> {
        if ciphertext.len() != self.public.set.ciphertext_len() {
            let error = KmsError::bad_request("not the length of an ML-KEM ciphertext of this set");
            return Err(error.field("ciphertext"));
        }
        let mut done = false;
        let shared = self
            .secret
            .scrubbed(|| Secret::fill(|out| done = self.secret.decapsulate(ciphertext, out)));
        if !done {
            return Err(KmsError::internal("the ML-KEM lane did not decapsulate"));
        }
        Ok(shared)
    }
}
