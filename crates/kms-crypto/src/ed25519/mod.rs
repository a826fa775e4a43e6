//! Ed25519 (RFC 8032, section 5.1), pure mode, with strict verification.

mod batch;
mod dalek;
mod dalek_batch;
mod key;
mod lane;
mod ring;
pub mod strict;
#[cfg(test)]
mod tests;

pub use batch::{Item, PackedBatch, verify_batch};
pub use key::{PublicKey, SigningKey};
pub use lane::{SignLane, VerifyLane};

/// Length of an encoded public key in bytes.
pub const PUBLIC_KEY_LEN: usize = 32;
/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// The strict verdict on one signature.
///
/// `dalek-batch` of one is `dalek`: a batch of one has nothing to combine.
pub fn verify(
    lane: VerifyLane,
    key: &PublicKey,
    message: &[u8],
    signature: &[u8; SIGNATURE_LEN],
) -> bool {
    strict::signature_is_canonical(signature)
        && match lane {
            VerifyLane::Auto | VerifyLane::Dalek | VerifyLane::DalekBatch => {
                dalek::verify(key, message, signature)
            }
            VerifyLane::Ring => ring::verify(key, message, signature),
        }
}
