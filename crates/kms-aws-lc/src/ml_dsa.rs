//! ML-DSA (FIPS 204), by mldsa-native: AVX2 or NEON where the processor has them, C elsewhere.
//!
//! The functions named are the ones on bare byte arrays, which AWS-LC exports and its bindings leave out. All
//! randomness is an argument; none of them draws any.

use crate::init;

/// Length of the seed ξ of a key in bytes.
pub const SEED_LEN: usize = 32;
/// Length of the randomness of one signature in bytes; all zero makes the signature deterministic.
pub const RND_LEN: usize = 32;
/// Length of a message representative μ in bytes.
pub const MU_LEN: usize = 64;

/// One module of the same functions for each parameter set.
macro_rules! parameter_set {
    ($module:ident, $name:literal, $symbol:literal, $public:literal, $private:literal, $signature:literal) => {
        #[doc = concat!($name, ".")]
        pub mod $module {
            use super::*;

            /// Length of a public key in bytes.
            pub const PUBLIC_KEY_LEN: usize = $public;
            /// Length of an expanded private key in bytes (FIPS 204, Algorithm 24).
            pub const PRIVATE_KEY_LEN: usize = $private;
            /// Length of a signature in bytes.
            pub const SIGNATURE_LEN: usize = $signature;

            unsafe extern "C" {
                #[link_name = symbol!("ml_dsa_", $symbol, "_keypair_internal")]
                fn keypair_internal(public: *mut u8, private: *mut u8, seed: *const u8) -> i32;
                #[link_name = symbol!("ml_dsa_", $symbol, "_sign_internal")]
                fn sign_internal(
                    private: *const u8,
                    signature: *mut u8,
                    signature_len: *mut usize,
                    message: *const u8,
                    message_len: usize,
                    prefix: *const u8,
                    prefix_len: usize,
                    rnd: *const u8,
                ) -> i32;
                #[link_name = symbol!("ml_dsa_extmu_", $symbol, "_sign_internal")]
                fn sign_mu_internal(
                    private: *const u8,
                    signature: *mut u8,
                    signature_len: *mut usize,
                    mu: *const u8,
                    mu_len: usize,
                    prefix: *const u8,
                    prefix_len: usize,
                    rnd: *const u8,
                ) -> i32;
                #[link_name = symbol!("ml_dsa_", $symbol, "_verify_internal")]
                fn verify_internal(
                    public: *const u8,
                    signature: *const u8,
                    signature_len: usize,
                    message: *const u8,
                    message_len: usize,
                    prefix: *const u8,
                    prefix_len: usize,
                ) -> i32;
                #[link_name = symbol!("ml_dsa_extmu_", $symbol, "_verify")]
                fn verify_external_mu(
                    public: *const u8,
                    signature: *const u8,
                    signature_len: usize,
                    mu: *const u8,
                    mu_len: usize,
                ) -> i32;
            }

            /// ML-DSA.KeyGen_internal (FIPS 204, Algorithm 6): the key pair of a seed, written into place.
            ///
            /// `false` if AWS-LC refuses, which its present version never does.
            #[must_use]
            pub fn expand(
                seed: &[u8; SEED_LEN],
                public_key: &mut [u8; PUBLIC_KEY_LEN],
                private_key: &mut [u8; PRIVATE_KEY_LEN],
            ) -> bool {
                init();
                // SAFETY: the pointers are to arrays of the lengths that this set reads and writes.
                let done = unsafe {
                    keypair_internal(
                        public_key.as_mut_ptr(),
                        private_key.as_mut_ptr(),
                        seed.as_ptr(),
                    )
                };
                done == SUCCESS
            }

            /// ML-DSA.Sign_internal (FIPS 204, Algorithm 7) of M' = `prefix` ‖ `message`.
            ///
            /// Pure ML-DSA's prefix is 0x00 ‖ length of the context ‖ context (Algorithm 2). `message` is read once.
            ///
            /// `false` if no signature came of 9,000 attempts or more; the chance that 814 fail is below 2^-256 (FIPS 204, appendix C).
            #[must_use]
            pub fn sign(
                private_key: &[u8; PRIVATE_KEY_LEN],
                prefix: &[u8],
                message: &[u8],
                rnd: &[u8; RND_LEN],
                signature: &mut [u8; SIGNATURE_LEN],
            ) -> bool {
                init();
                let mut len = 0;
                // SAFETY: as in `expand`; the slices are passed with their lengths.
                let done = unsafe {
                    sign_internal(
                        private_key.as_ptr(),
                        signature.as_mut_ptr(),
                        &mut len,
                        message.as_ptr(),
                        message.len(),
                        prefix.as_ptr(),
                        prefix.len(),
                        rnd.as_ptr(),
                    )
                };
                done == SUCCESS && len == SIGNATURE_LEN
            }

            /// [`sign`] for a μ that was computed elsewhere (FIPS 204, section 6.2, line 6 of Algorithm 7).
            #[must_use]
            pub fn sign_mu(
                private_key: &[u8; PRIVATE_KEY_LEN],
                mu: &[u8; MU_LEN],
                rnd: &[u8; RND_LEN],
                signature: &mut [u8; SIGNATURE_LEN],
            ) -> bool {
                init();
                let mut len = 0;
                // SAFETY: as in `expand`; no prefix is read, for its length is 0.
                let done = unsafe {
                    sign_mu_internal(
                        private_key.as_ptr(),
                        signature.as_mut_ptr(),
                        &mut len,
                        mu.as_ptr(),
                        MU_LEN,
                        std::ptr::null(),
                        0,
                        rnd.as_ptr(),
                    )
                };
                done == SUCCESS && len == SIGNATURE_LEN
            }

            /// ML-DSA.Verify_internal (FIPS 204, Algorithm 8) of M' = `prefix` ‖ `message`.
            #[must_use]
            pub fn verify(
                public_key: &[u8; PUBLIC_KEY_LEN],
                prefix: &[u8],
                message: &[u8],
                signature: &[u8; SIGNATURE_LEN],
            ) -> bool {
                init();
                // SAFETY: as in `sign`.
                let verdict = unsafe {
                    verify_internal(
                        public_key.as_ptr(),
                        signature.as_ptr(),
                        SIGNATURE_LEN,
                        message.as_ptr(),
                        message.len(),
                        prefix.as_ptr(),
                        prefix.len(),
                    )
                };
                verdict == SUCCESS
            }

            /// [`verify`] for a μ that was computed elsewhere.
            #[must_use]
            pub fn verify_mu(
                public_key: &[u8; PUBLIC_KEY_LEN],
                mu: &[u8; MU_LEN],
                signature: &[u8; SIGNATURE_LEN],
            ) -> bool {
                init();
                // SAFETY: as in `sign`.
                let verdict = unsafe {
                    verify_external_mu(
                        public_key.as_ptr(),
                        signature.as_ptr(),
                        SIGNATURE_LEN,
                        mu.as_ptr(),
                        MU_LEN,
                    )
                };
                verdict == SUCCESS
            }
        }
    };
}

/// What these functions return where all went well; ML-KEM's return the opposite.
const SUCCESS: i32 = 1;

parameter_set!(ml_dsa_44, "ML-DSA-44", "44", 1312, 2560, 2420);
parameter_set!(ml_dsa_65, "ML-DSA-65", "65", 1952, 4032, 3309);
parameter_set!(ml_dsa_87, "ML-DSA-87", "87", 2592, 4896, 4627);

#[cfg(test)]
mod tests;
