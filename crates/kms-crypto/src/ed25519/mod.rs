//! Ed25519 (RFC 8032, section 5.1), pure mode, with strict verification.

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod batch;
mod dalek;
mod dalek_batch;
mod key;
mod lane;
mod precomputed;
#[cfg(feature = "ring")]
mod ring;
mod simd;
#[cfg(test)]
mod tests;

pub use batch::{Item, PackedBatch, verify_batch};
pub use key::{KeyRef, PublicKey, SigningKey};
pub use kms_ed25519_simd::strict;
pub use lane::{SignLane, VerifyLane};
pub use precomputed::{
    DEFAULT_CACHE_BYTES, FULL_AFTER, KeyHandle, SMALL_AFTER, TableStats, set_table_cache_bytes,
    table_stats,
};

/// Length of the seed of a key in bytes.
pub const SEED_LEN: usize = 32;
/// Length of an encoded public key in bytes.
pub const PUBLIC_KEY_LEN: usize = 32;
/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// The strict verdict on one signature. Under a key that does not decode nothing verifies.
///
/// `dalek-batch` of one is `dalek`: a batch of one has nothing to combine.
pub fn verify(
    lane: VerifyLane,
    key: KeyRef<'_>,
    message: &[u8],
    signature: &[u8; SIGNATURE_LEN],
) -> bool {
    match lane {
        VerifyLane::Auto | VerifyLane::Simd => simd::verify(key, message, signature),
        VerifyLane::Dalek | VerifyLane::DalekBatch => {
            key.decoded().is_some_and(|key| dalek::verify(&key, message, signature))
        }
        #[cfg(feature = "aws-lc")]
        VerifyLane::AwsLc => {
            key.decoded().is_some_and(|key| aws_lc::verify(&key, message, signature))
        }
        #[cfg(feature = "ring")]
        VerifyLane::Ring => key.decoded().is_some_and(|key| ring::verify(&key, message, signature)),
    }
}
