//! Lane `aws-lc`: mlkem-native in AWS-LC.

use kms_aws_lc::ml_kem::{ml_kem_512, ml_kem_768, ml_kem_1024};
use kms_core::{KmsError, Result, Secret};

use super::key::PublicKey;
use super::set::Set;
use super::{RND_LEN, SEED_LEN, SHARED_SECRET_LEN};

/// A private key as FIPS 203, Algorithm 16, encodes it.
pub(super) enum PrivateKey {
    MlKem512(Secret<{ ml_kem_512::PRIVATE_KEY_LEN }>),
    MlKem768(Secret<{ ml_kem_768::PRIVATE_KEY_LEN }>),
    MlKem1024(Secret<{ ml_kem_1024::PRIVATE_KEY_LEN }>),
}

impl PrivateKey {
    /// The key of a seed, and its encoded public half.
    pub(super) fn expand(set: Set, seed: &Secret<SEED_LEN>) -> Result<(PrivateKey, Vec<u8>)> {
        let seed = seed.expose();
        let mut done = false;
        let (key, public) = match set {
            Set::MlKem512 => {
                let mut public = [0; ml_kem_512::PUBLIC_KEY_LEN];
                let private = Secret::fill(|out| done = ml_kem_512::expand(seed, &mut public, out));
                (PrivateKey::MlKem512(private), public.to_vec())
            }
            Set::MlKem768 => {
                let mut public = [0; ml_kem_768::PUBLIC_KEY_LEN];
                let private = Secret::fill(|out| done = ml_kem_768::expand(seed, &mut public, out));
                (PrivateKey::MlKem768(private), public.to_vec())
            }
            Set::MlKem1024 => {
                let mut public = [0; ml_kem_1024::PUBLIC_KEY_LEN];
                let private =
                    Secret::fill(|out| done = ml_kem_1024::expand(seed, &mut public, out));
                (PrivateKey::MlKem1024(private), public.to_vec())
            }
        };
        if !done {
            return Err(KmsError::internal("the aws-lc lane refused a seed"));
        }
        Ok((key, public))
    }

    /// Decapsulates into place; `false` for a wrong length.
    pub(super) fn decapsulate(
        &self,
        ciphertext: &[u8],
        shared: &mut [u8; SHARED_SECRET_LEN],
    ) -> bool {
        match self {
            PrivateKey::MlKem512(key) => ciphertext
                .try_into()
                .is_ok_and(|sized| ml_kem_512::decapsulate(key.expose(), sized, shared)),
            PrivateKey::MlKem768(key) => ciphertext
                .try_into()
                .is_ok_and(|sized| ml_kem_768::decapsulate(key.expose(), sized, shared)),
            PrivateKey::MlKem1024(key) => ciphertext
                .try_into()
                .is_ok_and(|sized| ml_kem_1024::decapsulate(key.expose(), sized, shared)),
        }
    }
}

/// Encapsulates into place; `false` if AWS-LC refuses the key, which [`PublicKey`] has checked.
pub(super) fn encapsulate(
    key: &PublicKey,
    rnd: &Secret<RND_LEN>,
    ciphertext: &mut [u8],
    shared: &mut [u8; SHARED_SECRET_LEN],
) -> bool {
    let (public, rnd) = (key.as_bytes(), rnd.expose());
    match key.set() {
        Set::MlKem512 => sized(public, ciphertext)
            .is_some_and(|(public, out)| ml_kem_512::encapsulate(public, rnd, out, shared)),
        Set::MlKem768 => sized(public, ciphertext)
            .is_some_and(|(public, out)| ml_kem_768::encapsulate(public, rnd, out, shared)),
        Set::MlKem1024 => sized(public, ciphertext)
            .is_some_and(|(public, out)| ml_kem_1024::encapsulate(public, rnd, out, shared)),
    }
}

fn sized<'a, const P: usize, const C: usize>(
    public: &'a [u8],
    ciphertext: &'a mut [u8],
) -> Option<(&'a [u8; P], &'a mut [u8; C])> {
    Some((public.try_into().ok()?, ciphertext.try_into().ok()?))
}
