//! Lane `aws-lc`: mldsa-native in AWS-LC.

use kms_aws_lc::ml_dsa::{ml_dsa_44, ml_dsa_65, ml_dsa_87};
use kms_core::{KmsError, Result, Secret};

use super::key::PublicKey;
use super::mu::MU_LEN;
use super::set::Set;
use super::{RND_LEN, SEED_LEN};

/// A private key as FIPS 204, Algorithm 24, encodes it.
pub(super) enum PrivateKey {
    MlDsa44(Secret<{ ml_dsa_44::PRIVATE_KEY_LEN }>),
    MlDsa65(Secret<{ ml_dsa_65::PRIVATE_KEY_LEN }>),
    MlDsa87(Secret<{ ml_dsa_87::PRIVATE_KEY_LEN }>),
}

impl PrivateKey {
    /// The key of a seed, and its encoded public half.
    pub(super) fn expand(set: Set, seed: &Secret<SEED_LEN>) -> Result<(PrivateKey, Vec<u8>)> {
        let mut done = false;
        let (key, public) = match set {
            Set::MlDsa44 => {
                let mut public = [0; ml_dsa_44::PUBLIC_KEY_LEN];
                let private =
                    Secret::fill(|out| done = ml_dsa_44::expand(seed.expose(), &mut public, out));
                (PrivateKey::MlDsa44(private), public.to_vec())
            }
            Set::MlDsa65 => {
                let mut public = [0; ml_dsa_65::PUBLIC_KEY_LEN];
                let private =
                    Secret::fill(|out| done = ml_dsa_65::expand(seed.expose(), &mut public, out));
                (PrivateKey::MlDsa65(private), public.to_vec())
            }
            Set::MlDsa87 => {
                let mut public = [0; ml_dsa_87::PUBLIC_KEY_LEN];
                let private =
                    Secret::fill(|out| done = ml_dsa_87::expand(seed.expose(), &mut public, out));
                (PrivateKey::MlDsa87(private), public.to_vec())
            }
        };
        if !done {
            return Err(KmsError::internal("the aws-lc lane refused a seed"));
        }
        Ok((key, public))
    }

    /// Signs into place; `false` if there is no signature.
    pub(super) fn sign_mu(
        &self,
        mu: &[u8; MU_LEN],
        rnd: &Secret<RND_LEN>,
        signature: &mut [u8],
    ) -> bool {
        let rnd = rnd.expose();
        match self {
            PrivateKey::MlDsa44(key) => {
                signature.try_into().is_ok_and(|out| ml_dsa_44::sign_mu(key.expose(), mu, rnd, out))
            }
            PrivateKey::MlDsa65(key) => {
                signature.try_into().is_ok_and(|out| ml_dsa_65::sign_mu(key.expose(), mu, rnd, out))
            }
            PrivateKey::MlDsa87(key) => {
                signature.try_into().is_ok_and(|out| ml_dsa_87::sign_mu(key.expose(), mu, rnd, out))
            }
        }
    }
}

/// The verdict; wrong lengths are invalid.
pub(super) fn verify_mu(key: &PublicKey, mu: &[u8; MU_LEN], signature: &[u8]) -> bool {
    let public = key.as_bytes();
    match key.set() {
        Set::MlDsa44 => sized(public, signature)
            .is_some_and(|(public, signature)| ml_dsa_44::verify_mu(public, mu, signature)),
        Set::MlDsa65 => sized(public, signature)
            .is_some_and(|(public, signature)| ml_dsa_65::verify_mu(public, mu, signature)),
        Set::MlDsa87 => sized(public, signature)
            .is_some_and(|(public, signature)| ml_dsa_87::verify_mu(public, mu, signature)),
    }
}

fn sized<'a, const P: usize, const S: usize>(
    public: &'a [u8],
    signature: &'a [u8],
) -> Option<(&'a [u8; P], &'a [u8; S])> {
    Some((public.try_into().ok()?, signature.try_into().ok()?))
}
