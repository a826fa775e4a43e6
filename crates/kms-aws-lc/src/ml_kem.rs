//! ML-KEM (FIPS 203), by mlkem-native: AVX2 or NEON where the processor has them, C elsewhere.
//!
//! The functions named are the ones on bare byte arrays, which AWS-LC exports and its bindings leave out. All
//! randomness is an argument; none of them draws any.

use crate::init;

/// Length of the seed d ‖ z of a key in bytes.
pub const SEED_LEN: usize = 64;
/// Length of the randomness m of one encapsulation in bytes.
pub const RND_LEN: usize = 32;
/// Length of a shared secret in bytes.
pub const SHARED_SECRET_LEN: usize = 32;

/// One module of the same functions for each parameter set.
macro_rules! parameter_set {
    ($module:ident, $name:literal, $symbol:literal, $public:literal, $private:literal, $ciphertext:literal) => {
        #[doc = concat!($name, ".")]
        pub mod $module {
            use super::*;

            /// Length of an encapsulation key in bytes.
            pub const PUBLIC_KEY_LEN: usize = $public;
            /// Length of an expanded decapsulation key in bytes.
            pub const PRIVATE_KEY_LEN: usize = $private;
            /// Length of a ciphertext in bytes.
            pub const CIPHERTEXT_LEN: usize = $ciphertext;

            unsafe extern "C" {
                #[link_name = symbol!("ml_kem_", $symbol, "_keypair_deterministic")]
                fn keypair_deterministic(
                    public: *mut u8,
                    public_len: *mut usize,
                    private: *mut u8,
                    private_len: *mut usize,
                    seed: *const u8,
                ) -> i32;
                #[link_name = symbol!("ml_kem_", $symbol, "_encapsulate_deterministic")]
                fn encapsulate_deterministic(
                    ciphertext: *mut u8,
                    ciphertext_len: *mut usize,
                    shared: *mut u8,
                    shared_len: *mut usize,
                    public: *const u8,
                    rnd: *const u8,
                ) -> i32;
                #[link_name = symbol!("ml_kem_", $symbol, "_decapsulate")]
                fn decapsulate_implicit(
                    shared: *mut u8,
                    shared_len: *mut usize,
                    ciphertext: *const u8,
                    private: *const u8,
                ) -> i32;
            }

            /// ML-KEM.KeyGen_internal (FIPS 203, Algorithm 16): the key pair of a seed, written into place.
            ///
            /// `false` if AWS-LC refuses, which its present version never does.
            #[must_use]
            pub fn expand(
                seed: &[u8; SEED_LEN],
                public_key: &mut [u8; PUBLIC_KEY_LEN],
                private_key: &mut [u8; PRIVATE_KEY_LEN],
            ) -> bool {
                init();
                let (mut public_len, mut private_len) = (PUBLIC_KEY_LEN, PRIVATE_KEY_LEN);
                // SAFETY: the pointers are to arrays of the lengths that this set reads and writes.
                let status = unsafe {
                    keypair_deterministic(
                        public_key.as_mut_ptr(),
                        &mut public_len,
                        private_key.as_mut_ptr(),
                        &mut private_len,
                        seed.as_ptr(),
                    )
                };
                status == SUCCESS
            }

            /// ML-KEM.Encaps_internal (FIPS 203, Algorithm 17), written into place.
            ///
            /// `false` for a public key that fails the modulus check of section 7.2; then nothing was written.
            #[must_use]
            pub fn encapsulate(
                public_key: &[u8; PUBLIC_KEY_LEN],
                rnd: &[u8; RND_LEN],
                ciphertext: &mut [u8; CIPHERTEXT_LEN],
                shared_secret: &mut [u8; SHARED_SECRET_LEN],
            ) -> bool {
                init();
                let (mut ciphertext_len, mut shared_len) = (CIPHERTEXT_LEN, SHARED_SECRET_LEN);
                // SAFETY: as in `expand`.
                let status = unsafe {
                    encapsulate_deterministic(
                        ciphertext.as_mut_ptr(),
                        &mut ciphertext_len,
                        shared_secret.as_mut_ptr(),
                        &mut shared_len,
                        public_key.as_ptr(),
                        rnd.as_ptr(),
                    )
                };
                status == SUCCESS
            }

            /// ML-KEM.Decaps (FIPS 203, Algorithms 18 and 21), written into place. A ciphertext that was not made
            /// for this key gives a secret that nobody else can compute, in the same time (implicit rejection).
            ///
            /// `false` for a private key that fails the hash check of section 7.3; keys of [`expand`] never do.
            #[must_use]
            pub fn decapsulate(
                private_key: &[u8; PRIVATE_KEY_LEN],
                ciphertext: &[u8; CIPHERTEXT_LEN],
                shared_secret: &mut [u8; SHARED_SECRET_LEN],
            ) -> bool {
                init();
                let mut shared_len = SHARED_SECRET_LEN;
                // SAFETY: as in `expand`.
                let status = unsafe {
                    decapsulate_implicit(
                        shared_secret.as_mut_ptr(),
                        &mut shared_len,
                        ciphertext.as_ptr(),
                        private_key.as_ptr(),
                    )
                };
                status == SUCCESS
            }
        }
    };
}

/// What these functions return where all went well; ML-DSA's return the opposite.
const SUCCESS: i32 = 0;

parameter_set!(ml_kem_512, "ML-KEM-512", "512", 800, 1632, 768);
parameter_set!(ml_kem_768, "ML-KEM-768", "768", 1184, 2400, 1088);
parameter_set!(ml_kem_1024, "ML-KEM-1024", "1024", 1568, 3168, 1568);

#[cfg(test)]
mod tests;
