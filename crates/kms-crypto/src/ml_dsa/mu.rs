//! The message representative μ.

use shake::{ExtendableOutput, Shake256, Update, XofReader};

use super::key::PublicKey;
use crate::context::Context;

/// Length of μ in bytes.
pub const MU_LEN: usize = 64;
/// Length of the hash of a public key in bytes.
pub(super) const TR_LEN: usize = 64;

/// tr = SHAKE256(pk, 64) (FIPS 204, Algorithm 6, line 9).
pub(super) fn hash_of_key(public_key: &[u8]) -> [u8; TR_LEN] {
    let mut hasher = Shake256::default();
    hasher.update(public_key);
    squeeze(hasher)
}

/// Computes μ = SHAKE256(tr ‖ M', 64) with M' = 0x00 ‖ length of the context ‖ context ‖ message (FIPS 204,
/// Algorithm 2, line 10, and Algorithm 7, line 6) from a message that comes in pieces.
pub struct MuHasher(Shake256);

impl MuHasher {
    /// Starts the message representative of one message for one key.
    pub fn new(key: &PublicKey, context: Context<'_>) -> MuHasher {
        let mut hasher = Shake256::default();
        hasher.update(key.tr());
        hasher.update(&context.prefix());
        hasher.update(context.as_bytes());
        MuHasher(hasher)
    }

    /// Adds the next piece of the message.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// μ of the pieces so far.
    pub fn finish(self) -> [u8; MU_LEN] {
        squeeze(self.0)
    }

    /// μ of a message that is in one piece.
    pub fn of(key: &PublicKey, context: Context<'_>, message: &[u8]) -> [u8; MU_LEN] {
        let mut hasher = MuHasher::new(key, context);
        hasher.update(message);
        hasher.finish()
    }
}

fn squeeze<const N: usize>(hasher: Shake256) -> [u8; N] {
    let mut out = [0; N];
    hasher.finalize_xof().read(&mut out);
    out
}
