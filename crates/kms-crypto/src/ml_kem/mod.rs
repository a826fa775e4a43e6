//! ML-KEM (FIPS 203).
//!
//! | set | public key | ciphertext |
//! | --- | --- | --- |
//! | ML-KEM-512 | 800 | 768 |
//! | ML-KEM-768 | 1,184 | 1,088 |
//! | ML-KEM-1024 | 1,568 | 1,568 |
//!
//! A shared secret has 32 bytes. A ciphertext of the right length always gives one: one that was not made for the key
//! gives a secret that nobody else can compute (implicit rejection), so it takes an authenticated cipher to notice.

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod key;
#[cfg(target_arch = "x86_64")]
mod libcrux;
mod prepared;
mod rustcrypto;
mod set;
#[cfg(test)]
mod tests;

use kms_core::{Entropy, KmsError, Result, Secret};

pub use key::{PrivateKey, PublicKey};
pub use prepared::PreparedKey;
pub use set::Set;

use crate::lane::Lane;
use crate::stack::{KEM, scrubbed};

/// Length of the seed d ‖ z of a key in bytes.
pub const SEED_LEN: usize = 64;
/// Length of the randomness m of an encapsulation in bytes.
pub const RND_LEN: usize = 32;
/// Length of a shared secret in bytes.
pub const SHARED_SECRET_LEN: usize = 32;

/// Checks an encoded public key (FIPS 203, section 7.2): its length, and that every coefficient is below the modulus.
///
/// # Errors
/// `BadRequest`, field `publicKey`.
pub fn check_public_key(set: Set, bytes: &[u8]) -> Result<()> {
    PublicKey::from_bytes(set, bytes).map(drop)
}

/// ML-KEM.Encaps (FIPS 203, Algorithm 20): a ciphertext, and the secret in it.
///
/// # Errors
/// `Internal` when there is no randomness.
pub fn encapsulate(
    lane: Lane,
    key: &PublicKey,
    entropy: &dyn Entropy,
) -> Result<(Vec<u8>, Secret<SHARED_SECRET_LEN>)> {
    encapsulate_from(lane, key, &Secret::random(entropy)?)
}

/// [`encapsulate`] with given randomness (FIPS 203, Algorithm 17), for known-answer tests.
///
/// # Errors
/// As [`encapsulate`].
#[cfg(any(test, feature = "hazmat"))]
pub fn encapsulate_with_rnd(
    lane: Lane,
    key: &PublicKey,
    rnd: &Secret<RND_LEN>,
) -> Result<(Vec<u8>, Secret<SHARED_SECRET_LEN>)> {
    encapsulate_from(lane, key, rnd)
}

/// Whoever uses `rnd` twice with one key gets the same secret twice.
pub(crate) fn encapsulate_from(
    lane: Lane,
    key: &PublicKey,
    rnd: &Secret<RND_LEN>,
) -> Result<(Vec<u8>, Secret<SHARED_SECRET_LEN>)> {
    let mut ciphertext = vec![0; key.set().ciphertext_len()];
    let mut done = false;
    let shared = scrubbed::<KEM, _>(|| {
        Secret::fill(|out| {
            done = match lane.resolved() {
                Lane::Auto | Lane::RustCrypto => {
                    rustcrypto::encapsulate(key, rnd, &mut ciphertext, out)
                }
                #[cfg(feature = "aws-lc")]
                Lane::AwsLc => aws_lc::encapsulate(key, rnd, &mut ciphertext, out),
            }
        })
    });
    if !done {
        return Err(KmsError::internal("the ML-KEM lane did not encapsulate"));
    }
    Ok((ciphertext, shared))
}
