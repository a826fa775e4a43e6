//! Lane `rustcrypto`: the crate `ml-dsa`.

use kms_core::{Secret, SecretBox};
use ml_dsa::signature::rand_core::{TryCryptoRng, TryRng};
use ml_dsa::{
    EncodedVerifyingKey, Error, ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams,
    Signature, signature::Keypair,
};

use super::mu::MU_LEN;
use super::set::Set;
use super::{RND_LEN, SEED_LEN};

// ml-dsa wipes its keys only with its feature `zeroize`: without it this does not compile.
const _: fn() = || {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<ml_dsa::SigningKey<MlDsa65>>();
    wiped::<ExpandedSigningKey<MlDsa65>>();
};

/// The matrix and vector of a public key, in the form that verification multiplies with.
pub(super) enum VerifyingKey {
    MlDsa44(Box<ml_dsa::VerifyingKey<MlDsa44>>),
    MlDsa65(Box<ml_dsa::VerifyingKey<MlDsa65>>),
    MlDsa87(Box<ml_dsa::VerifyingKey<MlDsa87>>),
}

impl VerifyingKey {
    /// # Panics
    /// If `bytes` are not of the set's length, which [`super::PublicKey`] has checked.
    pub(super) fn expand(set: Set, bytes: &[u8]) -> VerifyingKey {
        match set {
            Set::MlDsa44 => VerifyingKey::MlDsa44(decode(bytes)),
            Set::MlDsa65 => VerifyingKey::MlDsa65(decode(bytes)),
            Set::MlDsa87 => VerifyingKey::MlDsa87(decode(bytes)),
        }
    }

    pub(super) fn verify_mu(&self, mu: &[u8; MU_LEN], signature: &[u8]) -> bool {
        match self {
            VerifyingKey::MlDsa44(key) => verify(key, mu, signature),
            VerifyingKey::MlDsa65(key) => verify(key, mu, signature),
            VerifyingKey::MlDsa87(key) => verify(key, mu, signature),
        }
    }
}

fn decode<P: MlDsaParams>(bytes: &[u8]) -> Box<ml_dsa::VerifyingKey<P>> {
    let encoded = EncodedVerifyingKey::<P>::try_from(bytes).expect("the length of the set");
    Box::new(ml_dsa::VerifyingKey::decode(&encoded))
}

fn verify<P: MlDsaParams>(
    key: &ml_dsa::VerifyingKey<P>,
    mu: &[u8; MU_LEN],
    signature: &[u8],
) -> bool {
    Signature::<P>::try_from(signature)
        .is_ok_and(|signature| key.verify_mu(&(*mu).into(), &signature))
}

/// A private key with its matrix and vectors.
pub(super) enum PrivateKey {
    MlDsa44(SecretBox<ExpandedSigningKey<MlDsa44>>),
    MlDsa65(SecretBox<ExpandedSigningKey<MlDsa65>>),
    MlDsa87(SecretBox<ExpandedSigningKey<MlDsa87>>),
}

impl PrivateKey {
    /// The key of a seed, and its encoded public half.
    pub(super) fn expand(set: Set, seed: &Secret<SEED_LEN>) -> (PrivateKey, Vec<u8>) {
        match set {
            Set::MlDsa44 => {
                let (key, public) = expand(seed);
                (PrivateKey::MlDsa44(key), public)
            }
            Set::MlDsa65 => {
                let (key, public) = expand(seed);
                (PrivateKey::MlDsa65(key), public)
            }
            Set::MlDsa87 => {
                let (key, public) = expand(seed);
                (PrivateKey::MlDsa87(key), public)
            }
        }
    }

    /// Signs into place; `false` if there is no signature.
    pub(super) fn sign_mu(
        &self,
        mu: &[u8; MU_LEN],
        rnd: &Secret<RND_LEN>,
        signature: &mut [u8],
    ) -> bool {
        match self {
            PrivateKey::MlDsa44(key) => sign(key, mu, rnd, signature),
            PrivateKey::MlDsa65(key) => sign(key, mu, rnd, signature),
            PrivateKey::MlDsa87(key) => sign(key, mu, rnd, signature),
        }
    }
}

fn expand<P: MlDsaParams>(seed: &Secret<SEED_LEN>) -> (SecretBox<ExpandedSigningKey<P>>, Vec<u8>) {
    let key = ml_dsa::SigningKey::<P>::from_seed(seed.expose().into());
    let public = key.verifying_key().encode();
    (SecretBox::new(key.expanded_key().clone()), public.to_vec())
}

pub(super) fn sign<P: MlDsaParams>(
    key: &ExpandedSigningKey<P>,
    mu: &[u8; MU_LEN],
    rnd: &Secret<RND_LEN>,
    signature: &mut [u8],
) -> bool {
    let Ok(signed) = key.sign_mu_randomized(&(*mu).into(), &mut Given(rnd)) else {
        return false;
    };
    signature.copy_from_slice(&signed.encode());
    true
}

/// Hands over bytes that were drawn already, once: the crate takes a generator, not bytes.
struct Given<'a>(&'a Secret<RND_LEN>);

impl TryRng for Given<'_> {
    type Error = Error;

    fn try_next_u32(&mut self) -> Result<u32, Error> {
        Err(Error::new())
    }

    fn try_next_u64(&mut self) -> Result<u64, Error> {
        Err(Error::new())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        if out.len() != RND_LEN {
            return Err(Error::new());
        }
        out.copy_from_slice(self.0.expose());
        Ok(())
    }
}

impl TryCryptoRng for Given<'_> {}
