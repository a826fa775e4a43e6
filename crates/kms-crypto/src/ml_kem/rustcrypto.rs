//! Lane `rustcrypto`: the crate `ml-kem`.

use kms_core::{Secret, SecretBox};
use ml_kem::{Decapsulate, KeyExport, MlKem512, MlKem768, MlKem1024};
use ml_kem::{DecapsulationKey, EncapsulationKey};
use zeroize::Zeroize;

use super::key::PublicKey;
use super::set::Set;
use super::{RND_LEN, SEED_LEN, SHARED_SECRET_LEN};

// ml-kem wipes its keys only with its feature `zeroize`: without it this does not compile.
const _: fn() = || {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<DecapsulationKey<MlKem768>>();
};

/// A private key with its matrix and vectors, and its seed.
pub(super) enum PrivateKey {
    MlKem512(SecretBox<DecapsulationKey<MlKem512>>),
    MlKem768(SecretBox<DecapsulationKey<MlKem768>>),
    MlKem1024(SecretBox<DecapsulationKey<MlKem1024>>),
}

impl PrivateKey {
    /// The key of a seed, and its encoded public half.
    pub(super) fn expand(set: Set, seed: &Secret<SEED_LEN>) -> (PrivateKey, Vec<u8>) {
        // The crate takes the seed by value: this copy is on the stack, which the caller scrubs.
        let seed = (*seed.expose()).into();
        match set {
            Set::MlKem512 => {
                let key = SecretBox::new(DecapsulationKey::from_seed(seed));
                let public = key.encapsulation_key().to_bytes().to_vec();
                (PrivateKey::MlKem512(key), public)
            }
            Set::MlKem768 => {
                let key = SecretBox::new(DecapsulationKey::from_seed(seed));
                let public = key.encapsulation_key().to_bytes().to_vec();
                (PrivateKey::MlKem768(key), public)
            }
            Set::MlKem1024 => {
                let key = SecretBox::new(DecapsulationKey::from_seed(seed));
                let public = key.encapsulation_key().to_bytes().to_vec();
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
        let decapsulated = match self {
            PrivateKey::MlKem512(key) => {
                ciphertext.try_into().map(|ciphertext| key.decapsulate(ciphertext))
            }
            PrivateKey::MlKem768(key) => {
                ciphertext.try_into().map(|ciphertext| key.decapsulate(ciphertext))
            }
            PrivateKey::MlKem1024(key) => {
                ciphertext.try_into().map(|ciphertext| key.decapsulate(ciphertext))
            }
        };
        let Ok(mut decapsulated) = decapsulated else { return false };
        shared.copy_from_slice(&decapsulated);
        decapsulated.as_mut_slice().zeroize();
        true
    }
}

/// The crate keeps the trait that its parameter sets share to itself, so a function cannot be generic over them.
macro_rules! encapsulate_in {
    ($set:ty, $key:ident, $rnd:ident, $ciphertext:ident, $shared:ident) => {{
        let encoded = $key.as_bytes().try_into().ok();
        let Some(key) = encoded.and_then(|key| EncapsulationKey::<$set>::new(key).ok()) else {
            return false;
        };
        let (made, mut secret) = key.encapsulate_deterministic($rnd.expose().into());
        $ciphertext.copy_from_slice(&made);
        $shared.copy_from_slice(&secret);
        secret.as_mut_slice().zeroize();
        true
    }};
}

/// Encapsulates into place; `false` if the crate refuses the key, which [`PublicKey`] has checked.
pub(super) fn encapsulate(
    key: &PublicKey,
    rnd: &Secret<RND_LEN>,
    ciphertext: &mut [u8],
    shared: &mut [u8; SHARED_SECRET_LEN],
) -> bool {
    match key.set() {
        Set::MlKem512 => encapsulate_in!(MlKem512, key, rnd, ciphertext, shared),
        Set::MlKem768 => encapsulate_in!(MlKem768, key, rnd, ciphertext, shared),
        Set::MlKem1024 => encapsulate_in!(MlKem1024, key, rnd, ciphertext, shared),
    }
}
