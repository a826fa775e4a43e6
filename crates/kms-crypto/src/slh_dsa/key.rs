//! Signing keys that never show themselves.

use kms_core::{Entropy, KmsError, Result, SecretBox, SecretBytes};
use slh_dsa::ParameterSet;

use super::PublicKey;
use super::set::{Set, with_set};
use crate::context::Context;
use crate::stack::{DEEP, scrubbed};

// slh-dsa wipes its keys only with its feature `zeroize`: without it this does not compile.
const _: fn() = || {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<slh_dsa::SigningKey<slh_dsa::Sha2_128s>>();
};

/// A private key and its public half.
///
/// The secret half lives in secret memory, is wiped when dropped and has no accessor.
pub struct SigningKey {
    secret: Box<dyn Sign>,
    public: PublicKey,
}

/// What a private key of any set does.
trait Sign: Send + Sync {
    /// `slh_sign` (FIPS 205, Algorithm 22), with n bytes of randomness; without any, deterministic.
    fn sign(&self, message: &[u8], context: Context<'_>, rnd: Option<&[u8]>) -> Option<Vec<u8>>;
}

impl<P: ParameterSet + Send + Sync> Sign for SecretBox<slh_dsa::SigningKey<P>>
where
    slh_dsa::SigningKey<P>: Send + Sync,
{
    fn sign(&self, message: &[u8], context: Context<'_>, rnd: Option<&[u8]>) -> Option<Vec<u8>> {
        let signature = self.try_sign_with_context(message, context.as_bytes(), rnd).ok()?;
        Some(signature.to_bytes().to_vec())
    }
}

impl SigningKey {
    /// `slh_keygen` (FIPS 205, Algorithm 21).
    ///
    /// # Errors
    /// `Internal` when there is no randomness.
    pub fn generate(set: Set, entropy: &dyn Entropy) -> Result<SigningKey> {
        let mut drawn = Ok(());
        let seed = SecretBytes::fill(set.seed_len(), |out| drawn = entropy.fill(out));
        drawn?;
        Self::from_seed(set, &seed)
    }

    /// The key of a seed SK.seed ‖ SK.prf ‖ PK.seed (FIPS 205, Algorithm 18), which is what custody keeps of a key. It
    /// takes as long as making a new one: see [`SigningKey::restore`].
    ///
    /// # Errors
    /// `BadRequest`, field `seed`, for a wrong length.
    pub fn from_seed(set: Set, seed: &SecretBytes) -> Result<SigningKey> {
        let [sk_seed, sk_prf, pk_seed] = split(set, seed)?;
        let (secret, bytes) = scrubbed::<DEEP, _>(|| {
            with_set!(set, P => {
                let key = ::slh_dsa::SigningKey::<P>::slh_keygen_internal(sk_seed, sk_prf, pk_seed);
                let key = SecretBox::new(key);
                let public = (*key).as_ref().to_bytes().to_vec();
                (Box::new(key) as Box<dyn Sign>, public)
            })
        });
        Ok(SigningKey { secret, public: PublicKey { set, bytes: bytes.into() } })
    }

    /// The key of a seed whose public half is known, at once. The root in it is taken on trust: with another one, no
    /// signature of the key verifies.
    ///
    /// # Errors
    /// `BadRequest`, field `seed` for a wrong length, field `publicKey` for one of another set or another seed.
    pub fn restore(seed: &SecretBytes, public: &PublicKey) -> Result<SigningKey> {
        let set = public.set;
        let [_, _, pk_seed] = split(set, seed)?;
        let (public_seed, root) = public.bytes.split_at(set.n());
        let fault = || KmsError::bad_request("not the public half of this seed").field("publicKey");
        if public_seed != pk_seed {
            return Err(fault());
        }
        let private = SecretBytes::fill(4 * set.n(), |out| {
            let (head, tail) = out.split_at_mut(set.seed_len());
            head.copy_from_slice(seed.expose());
            tail.copy_from_slice(root);
        });
        let secret = scrubbed::<DEEP, _>(|| {
            with_set!(set, P => {
                ::slh_dsa::SigningKey::<P>::try_from(private.expose())
                    .map(|key| Box::new(SecretBox::new(key)) as Box<dyn Sign>)
            })
        });
        Ok(SigningKey { secret: secret.map_err(|_| fault())?, public: public.clone() })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// `slh_sign`, hedged (FIPS 205, Algorithm 22 with its default of fresh randomness).
    ///
    /// # Errors
    /// `Internal` when there is no randomness.
    pub fn sign(
        &self,
        message: &[u8],
        context: Context<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>> {
        let mut drawn = Ok(());
        let rnd = SecretBytes::fill(self.public.set.n(), |out| drawn = entropy.fill(out));
        drawn?;
        self.sign_from(message, context, Some(rnd.expose()))
    }

    /// The deterministic variant, for known-answer tests.
    ///
    /// # Errors
    /// As [`SigningKey::sign`].
    #[cfg(any(test, feature = "hazmat"))]
    pub fn sign_deterministic(&self, message: &[u8], context: Context<'_>) -> Result<Vec<u8>> {
        self.sign_from(message, context, None)
    }

    fn sign_from(
        &self,
        message: &[u8],
        context: Context<'_>,
        rnd: Option<&[u8]>,
    ) -> Result<Vec<u8>> {
        scrubbed::<DEEP, _>(|| self.secret.sign(message, context, rnd))
            .ok_or_else(|| KmsError::internal("the SLH-DSA crate did not sign"))
    }
}

/// SK.seed, SK.prf and PK.seed.
fn split(set: Set, seed: &SecretBytes) -> Result<[&[u8]; 3]> {
    if seed.len() != set.seed_len() {
        return Err(
            KmsError::bad_request("not the length of an SLH-DSA seed of this set").field("seed")
        );
    }
    let (sk_seed, rest) = seed.expose().split_at(set.n());
    let (sk_prf, pk_seed) = rest.split_at(set.n());
    Ok([sk_seed, sk_prf, pk_seed])
}
