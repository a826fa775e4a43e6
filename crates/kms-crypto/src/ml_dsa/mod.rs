//! ML-DSA (FIPS 204), pure, with contexts; HashML-DSA is not offered.
//!
//! Both lanes sign and verify the message representative μ (FIPS 204, section 6.2): it is computed here, from the hash
//! of the public key that a [`PublicKey`] keeps, so a message is read once, in pieces if need be ([`MuHasher`]), and
//! never by code that holds a private key. For short messages that also spares the lane `aws-lc` an eighth of a
//! verification; for long ones its own hashing would take a fifth less (2.1 against 2.6 ms a MiB).
//!
//! | set | public key | signature |
//! | --- | --- | --- |
//! | ML-DSA-44 | 1,312 | 2,420 |
//! | ML-DSA-65 | 1,952 | 3,309 |
//! | ML-DSA-87 | 2,592 | 4,627 |

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod key;
mod mu;
mod rustcrypto;
mod set;
#[cfg(test)]
mod tests;

pub use key::{PublicKey, SigningKey};
pub use mu::{MU_LEN, MuHasher};
pub use set::Set;

use crate::context::Context;
use crate::lane::Lane;

/// Length of the seed of a key in bytes.
pub const SEED_LEN: usize = 32;
/// Length of the randomness in a hedged signature in bytes.
pub const RND_LEN: usize = 32;

/// ML-DSA.Verify (FIPS 204, Algorithm 3). A signature of a wrong length is invalid.
pub fn verify(
    lane: Lane,
    key: &PublicKey,
    message: &[u8],
    context: Context<'_>,
    signature: &[u8],
) -> bool {
    // Before the message is hashed: a wrong length costs nothing.
    signature.len() == key.set().signature_len()
        && verify_mu(lane, key, &MuHasher::of(key, context, message), signature)
}

/// [`verify`] for a μ that was computed elsewhere: external μ (FIPS 204, section 6.2, line 6 of Algorithm 7).
///
/// Whoever computed μ decided what was signed: verify only a μ that you computed from the message.
pub fn verify_mu(lane: Lane, key: &PublicKey, mu: &[u8; MU_LEN], signature: &[u8]) -> bool {
    if signature.len() != key.set().signature_len() {
        return false;
    }
    match lane.resolved() {
        Lane::Auto | Lane::RustCrypto => key.expanded().verify_mu(mu, signature),
        #[cfg(feature = "aws-lc")]
        Lane::AwsLc => aws_lc::verify_mu(key, mu, signature),
    }
}
