//! SHA-512 (FIPS 180-4, section 6.4) of R ‖ A ‖ M.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

use sha2::{Digest, Sha512};

/// R, A and M of one signature.
pub(crate) struct Input<'a> {
    /// R ‖ A.
    pub(crate) prefix: [u8; 64],
    pub(crate) message: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(r: &[u8; 32], a: &[u8; 32], message: &'a [u8]) -> Input<'a> {
        let mut prefix = [0; 64];
        prefix[..32].copy_from_slice(r);
        prefix[32..].copy_from_slice(a);
        Input { prefix, message }
    }
}

/// Hashes one after the other. Not inlined into vector code, where the compiler would change it.
#[inline(never)]
pub(crate) fn hash_each(inputs: &[Input<'_>], out: &mut [[u8; 64]]) {
    for (input, out) in inputs.iter().zip(out) {
        *out =
            Sha512::new().chain_update(input.prefix).chain_update(input.message).finalize().into();
    }
}
