//! Expanded keys of the lane `auto`: libcrux, on x86-64 with AVX2.
//!
//! The matrix of a key and the hash of its public half are computed once, and not with every encapsulation or
//! decapsulation, of which they are more than half and a third of the work.

use kms_core::{Secret, SecretBox};
use libcrux_ml_kem::{mlkem512, mlkem768, mlkem1024};

use super::set::Set;
use super::{RND_LEN, SEED_LEN, SHARED_SECRET_LEN};

/// Whether this processor has what the functions here take for granted.
pub(super) fn available() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

/// One module of the same types and functions for each parameter set.
macro_rules! parameter_set {
    ($module:ident, $crate_module:ident, $public:ident, $pair:ident) => {
        mod $module {
            use $crate_module::avx2::unpacked::{self, $pair, $public};

            use super::*;

            /// A public key: 3 to 11 KiB.
            pub(in super::super) struct PublicKey(Box<$public>);

            impl PublicKey {
                /// Expands an encoded key that passed its check; `None` for a wrong length.
                pub(in super::super) fn expand(encoded: &[u8]) -> Option<PublicKey> {
                    let mut key = Box::new(unpacked::init_public_key());
                    unpacked::unpacked_public_key(&encoded.try_into().ok()?, &mut key);
                    Some(PublicKey(key))
                }

                /// ML-KEM.Encaps_internal (FIPS 203, Algorithm 17), the secret into place.
                pub(in super::super) fn encapsulate(
                    &self,
                    rnd: &Secret<RND_LEN>,
                    shared: &mut [u8; SHARED_SECRET_LEN],
                ) -> Vec<u8> {
                    let (ciphertext, secret) = unpacked::encapsulate(&self.0, *rnd.expose());
                    shared.copy_from_slice(&secret);
                    ciphertext.as_slice().to_vec()
                }
            }

            /// A private key, with its public half: 4 to 13 KiB. The crate wipes nothing;
            /// secret memory does.
            pub(in super::super) struct PrivateKey(SecretBox<$pair>);

            impl PrivateKey {
                /// ML-KEM.KeyGen_internal (FIPS 203, Algorithm 16): the key of a seed, and its encoded public half.
                pub(in super::super) fn expand(seed: &Secret<SEED_LEN>) -> (PrivateKey, Vec<u8>) {
                    let mut key = SecretBox::new(unpacked::init_key_pair());
                    unpacked::generate_key_pair_mut(*seed.expose(), &mut key);
                    let public = unpacked::key_pair_serialized_public_key(&key);
                    (PrivateKey(key), public.as_slice().to_vec())
                }

                /// Decapsulates into place; `false` for a wrong length.
                pub(in super::super) fn decapsulate(
                    &self,
                    ciphertext: &[u8],
                    shared: &mut [u8; SHARED_SECRET_LEN],
                ) -> bool {
                    let Ok(ciphertext) = ciphertext.try_into() else { return false };
                    shared.copy_from_slice(&unpacked::decapsulate(&self.0, &ciphertext));
                    true
                }
            }
        }
    };
}

parameter_set!(set_512, mlkem512, MlKem512PublicKeyUnpacked, MlKem512KeyPairUnpacked);
parameter_set!(set_768, mlkem768, MlKem768PublicKeyUnpacked, MlKem768KeyPairUnpacked);
parameter_set!(set_1024, mlkem1024, MlKem1024PublicKeyUnpacked, MlKem1024KeyPairUnpacked);

/// A public key of any set.
pub(super) enum PublicKey {
    MlKem512(set_512::PublicKey),
    MlKem768(set_768::PublicKey),
    MlKem1024(set_1024::PublicKey),
}

impl PublicKey {
    /// Expands an encoded key that passed its check.
    pub(super) fn expand(set: Set, encoded: &[u8]) -> Option<PublicKey> {
        match set {
            Set::MlKem512 => set_512::PublicKey::expand(encoded).map(PublicKey::MlKem512),
            Set::MlKem768 => set_768::PublicKey::expand(encoded).map(PublicKey::MlKem768),
            Set::MlKem1024 => set_1024::PublicKey::expand(encoded).map(PublicKey::MlKem1024),
        }
    }

    /// A ciphertext, and the secret in it into place.
    pub(super) fn encapsulate(
        &self,
        rnd: &Secret<RND_LEN>,
        shared: &mut [u8; SHARED_SECRET_LEN],
    ) -> Vec<u8> {
        match self {
            PublicKey::MlKem512(key) => key.encapsulate(rnd, shared),
            PublicKey::MlKem768(key) => key.encapsulate(rnd, shared),
            PublicKey::MlKem1024(key) => key.encapsulate(rnd, shared),
        }
    }
}

/// A private key of any set.
pub(super) enum PrivateKey {
    MlKem512(set_512::PrivateKey),
    MlKem768(set_768::PrivateKey),
    MlKem1024(set_1024::PrivateKey),
}

impl PrivateKey {
    /// The key of a seed, and its encoded public half.
    pub(super) fn expand(set: Set, seed: &Secret<SEED_LEN>) -> (PrivateKey, Vec<u8>) {
        match set {
            Set::MlKem512 => {
                let (key, public) = set_512::PrivateKey::expand(seed);
                (PrivateKey::MlKem512(key), public)
            }
            Set::MlKem768 => {
                let (key, public) = set_768::PrivateKey::expand(seed);
                (PrivateKey::MlKem768(key), public)
            }
            Set::MlKem1024 => {
                let (key, public) = set_1024::PrivateKey::expand(seed);
                (PrivateKey::MlKem1024(key), public)
            }
        }
    }

    /// Decapsulates into place; `false` for a wrong length.
    pub(super) fn decapsulate(
        &self,
        ciphertext: &[u8],
        shared: &mut [u8; SHARED_SECRET_LEN],
    ) -> bool {
        match self {
            PrivateKey::MlKem512(key) => key.decapsulate(ciphertext, shared),
            PrivateKey::MlKem768(key) => key.decapsulate(ciphertext, shared),
            PrivateKey::MlKem1024(key) => key.decapsulate(ciphertext, shared),
        }
    }
}
