//! X-Wing (draft-connolly-cfrg-xwing-kem): X25519 and ML-KEM-768 in one KEM, safe while either holds.
//!
//! | | bytes |
//! | --- | --- |
//! | private key: a seed | 32 |
//! | public key: pk_M (1,184) ‖ pk_X (32) | 1,216 |
//! | ciphertext: ct_M (1,088) ‖ ct_X (32) | 1,120 |
//! | shared secret | 32 |
//!
//! The combiner is the draft's; the two halves are this crate's modules, so every lane of theirs serves it. One thing is
//! stricter than in the draft: a half of X25519 with a point of small order is refused, in keys and in ciphertexts. An
//! honest peer never makes one.

use kms_core::{Entropy, KmsError, Result, Secret};
use sha3::{Digest, Sha3_256};
use shake::{ExtendableOutput, Shake256, Update, XofReader};
use zeroize::Zeroize;

use crate::lane::Lane;
use crate::stack::{LIGHT, scrubbed};
use crate::{ml_kem, x25519};

/// Length of the seed of a key in bytes.
pub const SEED_LEN: usize = 32;
/// Length of a public key in bytes.
pub const PUBLIC_KEY_LEN: usize = ML_KEM_PUBLIC_KEY_LEN + x25519::PUBLIC_KEY_LEN;
/// Length of a ciphertext in bytes.
pub const CIPHERTEXT_LEN: usize = ML_KEM_CIPHERTEXT_LEN + x25519::PUBLIC_KEY_LEN;
/// Length of a shared secret in bytes.
pub const SHARED_SECRET_LEN: usize = 32;
/// Length of the randomness of an encapsulation in bytes: m of ML-KEM, then the ephemeral key of X25519.
pub const RND_LEN: usize = 64;

const ML_KEM: ml_kem::Set = ml_kem::Set::MlKem768;
const ML_KEM_PUBLIC_KEY_LEN: usize = ML_KEM.public_key_len();
const ML_KEM_CIPHERTEXT_LEN: usize = ML_KEM.ciphertext_len();
/// `\.//^\`
const LABEL: &[u8; 6] = br"\.//^\";

/// A public key of which both halves passed their checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    ml_kem: ml_kem::PublicKey,
    x25519: [u8; x25519::PUBLIC_KEY_LEN],
}

impl PublicKey {
    /// The ML-KEM-768 half.
    pub fn ml_kem(&self) -> &ml_kem::PublicKey {
        &self.ml_kem
    }

    /// The X25519 half.
    pub fn x25519(&self) -> &[u8; x25519::PUBLIC_KEY_LEN] {
        &self.x25519
    }

    /// Decodes and checks a public key.
    ///
    /// # Errors
    /// `BadRequest`, field `publicKey`, for a wrong length, for a half that fails the modulus check of ML-KEM, and for
    /// one of small order.
    pub fn from_bytes(bytes: &[u8]) -> Result<PublicKey> {
        let Some((ml_kem, x25519)) = halves(bytes, ML_KEM_PUBLIC_KEY_LEN) else {
            return Err(KmsError::bad_request("must be 1216 bytes").field("publicKey"));
        };
        Ok(PublicKey {
            ml_kem: ml_kem::PublicKey::from_bytes(ML_KEM, ml_kem)?,
            x25519: x25519::check_public_key(x25519)?,
        })
    }

    /// The encoded key.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.ml_kem.as_bytes(), &self.x25519].concat()
    }
}

/// `bytes` as its first `first` bytes and the 32 after them, if that is all.
fn halves(bytes: &[u8], first: usize) -> Option<(&[u8], &[u8; x25519::PUBLIC_KEY_LEN])> {
    let (ml_kem, x25519) = bytes.split_at_checked(first)?;
    Some((ml_kem, x25519.try_into().ok()?))
}

/// Encapsulates: a ciphertext, and the secret in it.
///
/// # Errors
/// `Internal` when there is no randomness.
pub fn encapsulate(
    lane: Lane,
    key: &PublicKey,
    entropy: &dyn Entropy,
) -> Result<(Vec<u8>, Secret<SHARED_SECRET_LEN>)> {
    encapsulate_from(lane, key, &Secret::random(entropy)?)
}

/// [`encapsulate`] with given randomness (`EncapsulateDerand`), for known-answer tests.
///
/// # Errors
/// As [`encapsulate`].
#[cfg(any(test, feature = "hazmat"))]
pub fn encapsulate_with_rnd(
    lane: Lane,
    key: &PublicKey,
    rnd: &Secret<RND_LEN>,
) -> Result<(Vec<u8>, Secret<SHARED_SECRET_LEN>)> {
    encapsulate_from(lane, key, rnd)
}

fn encapsulate_from(
    lane: Lane,
    key: &PublicKey,
    rnd: &Secret<RND_LEN>,
) -> Result<(Vec<u8>, Secret<SHARED_SECRET_LEN>)> {
    let (m, ephemeral) = rnd.expose().split_at(ml_kem::RND_LEN);
    let m = Secret::fill(|out| out.copy_from_slice(m));
    let ephemeral = Secret::fill(|out| out.copy_from_slice(ephemeral));

    let (mut ciphertext, ml_kem) = ml_kem::encapsulate_from(lane, &key.ml_kem, &m)?;
    let ephemeral_public = x25519::public_key(lane.into(), &ephemeral);
    let x25519 = x25519::diffie_hellman(lane.into(), &ephemeral, &key.x25519)?;
    ciphertext.extend(ephemeral_public);
    Ok((ciphertext, combine(&ml_kem, &x25519, &ephemeral_public, &key.x25519)))
}

/// SHA3-256(ss_M ‖ ss_X ‖ ct_X ‖ pk_X ‖ label).
fn combine(
    ml_kem: &Secret<32>,
    x25519: &Secret<32>,
    ephemeral: &[u8; 32],
    public: &[u8; 32],
) -> Secret<SHARED_SECRET_LEN> {
    scrubbed::<LIGHT, _>(|| {
        Secret::fill(|out| {
            let mut hash = Sha3_256::new();
            let parts: [&[u8]; 5] = [ml_kem.expose(), x25519.expose(), ephemeral, public, LABEL];
            for part in parts {
                Digest::update(&mut hash, part);
            }
            let mut combined = hash.finalize();
            out.copy_from_slice(&combined);
            combined.as_mut_slice().zeroize();
        })
    })
}

/// A private key, expanded once, and its public half.
///
/// The secret half lives on the heap, is wiped when dropped and has no accessor.
pub struct PrivateKey {
    lane: Lane,
    ml_kem: ml_kem::PrivateKey,
    x25519: Secret<{ x25519::PRIVATE_KEY_LEN }>,
    public: PublicKey,
}

impl PrivateKey {
    /// A fresh key.
    ///
    /// # Errors
    /// `Internal` when there is no randomness.
    pub fn generate(lane: Lane, entropy: &dyn Entropy) -> Result<PrivateKey> {
        Self::from_seed(lane, &Secret::random(entropy)?)
    }

    /// The key of a seed (`expandDecapsulationKey`), which is what custody keeps of a key: SHAKE256(seed, 96) is d ‖ z
    /// of ML-KEM and the key of X25519.
    ///
    /// # Errors
    /// `Internal` if a lane refuses, which none does today.
    pub fn from_seed(lane: Lane, seed: &Secret<SEED_LEN>) -> Result<PrivateKey> {
        let expanded = scrubbed::<LIGHT, _>(|| {
            Secret::<96>::fill(|out| {
                let mut hasher = Shake256::default();
                hasher.update(seed.expose());
                hasher.finalize_xof().read(out);
            })
        });
        let (ml_kem, x25519) = expanded.expose().split_at(ml_kem::SEED_LEN);
        let ml_kem = Secret::fill(|out| out.copy_from_slice(ml_kem));
        let x25519 = Secret::fill(|out| out.copy_from_slice(x25519));

        let ml_kem = ml_kem::PrivateKey::from_seed(ML_KEM, lane, &ml_kem)?;
        let public = PublicKey {
            ml_kem: ml_kem.public().clone(),
            x25519: x25519::public_key(lane.into(), &x25519),
        };
        Ok(PrivateKey { lane, ml_kem, x25519, public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Decapsulates, in time that does not depend on the key. As with ML-KEM alone, a ciphertext that was not made for
    /// the key gives a secret that nobody else knows.
    ///
    /// # Errors
    /// `BadRequest`, field `ciphertext`, for a wrong length and for a half of small order.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret<SHARED_SECRET_LEN>> {
        let fault = |why: &'static str| KmsError::bad_request(why).field("ciphertext");
        let (ml_kem, ephemeral) =
            halves(ciphertext, ML_KEM_CIPHERTEXT_LEN).ok_or_else(|| fault("must be 1120 bytes"))?;
        let ml_kem = self.ml_kem.decapsulate(ml_kem)?;
        let x25519 = x25519::diffie_hellman(self.lane.into(), &self.x25519, ephemeral)
            .map_err(|_| fault("an X25519 half of small order"))?;
        Ok(combine(&ml_kem, &x25519, ephemeral, &self.public.x25519))
    }
}

/// The X25519 half of a ciphertext; `None` for a wrong length and for a point of small order.
pub(crate) fn x25519_half(ciphertext: &[u8]) -> Option<[u8; 32]> {
    let (_, ephemeral) = halves(ciphertext, ML_KEM_CIPHERTEXT_LEN)?;
    x25519::check_public_key(ephemeral).ok()
}

/// As [`PrivateKey::decapsulate`] where the X25519 half of the key is elsewhere: `x25519` is the secret that was agreed
/// there with the half of the ciphertext that [`x25519_half`] gives.
pub(crate) fn decapsulate_apart(
    public: &PublicKey,
    ml_kem: &ml_kem::PrivateKey,
    x25519: &Secret<32>,
    ciphertext: &[u8],
) -> Option<Secret<SHARED_SECRET_LEN>> {
    let (of_ml_kem, ephemeral) = halves(ciphertext, ML_KEM_CIPHERTEXT_LEN)?;
    let ml_kem = ml_kem.decapsulate(of_ml_kem).ok()?;
    Some(combine(&ml_kem, x25519, ephemeral, &public.x25519))
}

#[cfg(test)]
mod tests {
    use kms_core::OsEntropy;
    use kms_testkit::{cases, vectors};

    use super::*;

    fn secret<const N: usize>(bytes: Vec<u8>) -> Secret<N> {
        let mut bytes: [u8; N] = bytes.try_into().expect("the length");
        Secret::take(&mut bytes)
    }

    #[test]
    fn draft_vectors() {
        for case in vectors::json("xwing/test-vectors.json").as_array().expect("cases") {
            let field = |name| vectors::hex_field(case, name);
            for &lane in Lane::ALL {
                let key = PrivateKey::from_seed(lane, &secret(field("seed"))).unwrap();
                assert_eq!(key.public().to_bytes(), field("pk"));
                let public = PublicKey::from_bytes(&field("pk")).unwrap();
                let (ct, ss) =
                    encapsulate_with_rnd(lane, &public, &secret(field("eseed"))).unwrap();
                assert_eq!(ct, field("ct"));
                assert_eq!(ss.expose()[..], field("ss"));
                assert_eq!(key.decapsulate(&ct).unwrap().expose()[..], field("ss"));
            }
        }
    }

    #[test]
    fn a_fresh_key_opens_what_is_made_for_it() {
        for &lane in Lane::ALL {
            let key = PrivateKey::generate(lane, &OsEntropy).unwrap();
            let (ct, ss) = encapsulate(lane, key.public(), &OsEntropy).unwrap();
            assert_eq!(key.decapsulate(&ct).unwrap().expose(), ss.expose());
        }
    }

    #[test]
    fn faults_of_the_caller_are_named() {
        let key = PrivateKey::generate(Lane::Auto, &OsEntropy).unwrap();
        let good = key.public().to_bytes();
        let mut small_order = good.clone();
        small_order[ML_KEM_PUBLIC_KEY_LEN..].fill(0);
        let mut unreduced = good.clone();
        unreduced[..3].fill(0xff);
        for bad in [&good[1..], &[0; PUBLIC_KEY_LEN + 1], &small_order, &unreduced] {
            let error = PublicKey::from_bytes(bad).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("publicKey"));
        }
        for bad in [&[0; CIPHERTEXT_LEN][..], &[1; CIPHERTEXT_LEN - 1], &[1; CIPHERTEXT_LEN + 1]] {
            let error = key.decapsulate(bad).err().expect("a fault");
            assert_eq!(error.field.as_deref(), Some("ciphertext"));
        }
    }

    #[test]
    fn lanes_agree() {
        cases::run("x-wing", |random| {
            let seed = random.bytes(SEED_LEN);
            let lanes = [Lane::RustCrypto, Lane::Auto];
            let [a, b] =
                lanes.map(|lane| PrivateKey::from_seed(lane, &secret(seed.clone())).unwrap());
            assert_eq!(a.public(), b.public());
            let rnd = random.bytes(RND_LEN);
            let [sent, again] = lanes
                .map(|lane| encapsulate_with_rnd(lane, a.public(), &secret(rnd.clone())).unwrap());
            assert_eq!(sent.0, again.0);
            let mut ct = sent.0;
            if random.below(2) == 0 {
                let at = random.below(ct.len());
                ct[at] ^= 1 << random.below(8);
            }
            let [x, y] = [&a, &b].map(|key| key.decapsulate(&ct).map(|shared| *shared.expose()));
            assert_eq!(x, y);
            assert_eq!(x.as_ref() == Ok(sent.1.expose()), ct == again.0);
        });
    }
}
