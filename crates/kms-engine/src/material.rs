//! The two halves of a key version: what is shown, and what never leaves the arena.

use std::sync::Arc;

use kms_core::{Algorithm, Entropy, KmsError, Result, Secret, SecretBytes};
use kms_crypto::context::Context;
use kms_crypto::ed25519::{self, KeyHandle, SignLane};
use kms_crypto::hybrid::HybridContext;
use kms_crypto::lane::Lane;
#[cfg(feature = "slh-dsa")]
use kms_crypto::slh_dsa;
use kms_crypto::{hpke, ml_dsa, wrap};

use crate::maker::Sealed;
use crate::suite::Suite;

/// The public half of a version. Cheap to clone.
#[derive(Clone)]
pub(crate) enum PublicHalf {
    Ed25519(Arc<KeyHandle>),
    MlDsa(Arc<ml_dsa::PublicKey>),
    #[cfg(feature = "slh-dsa")]
    SlhDsa(Arc<slh_dsa::PublicKey>),
    Hybrid {
        ed25519: Arc<KeyHandle>,
        ml_dsa: Arc<ml_dsa::PublicKey>,
    },
    Kem(Arc<hpke::PublicKey>),
}

impl PublicHalf {
    /// The public half of the encoded keys of each track, the classical one first.
    ///
    /// # Errors
    /// `BadRequest`, field `publicKey`, for what is no key; `Internal` for another number of tracks.
    pub(crate) fn from_encoded(suite: Suite, tracks: &[Vec<u8>]) -> Result<PublicHalf> {
        let ed25519 = |bytes: &[u8]| {
            let bytes = bytes.try_into().map_err(|_| KmsError::bad_request("must be 32 bytes"))?;
            Ok::<_, KmsError>(KeyHandle::new(ed25519::PublicKey::from_bytes(bytes)?))
        };
        let ml_dsa = |set, bytes: &[u8]| ml_dsa::PublicKey::from_bytes(set, bytes).map(Arc::new);
        Ok(match (suite, tracks) {
            (Suite::Ed25519, [key]) => PublicHalf::Ed25519(ed25519(key)?),
            (Suite::MlDsa(set), [key]) => PublicHalf::MlDsa(ml_dsa(set, key)?),
            #[cfg(feature = "slh-dsa")]
            (Suite::SlhDsa(set), [key]) => {
                PublicHalf::SlhDsa(Arc::new(slh_dsa::PublicKey::from_bytes(set, key)?))
            }
            (Suite::Hybrid, [classical, pq]) => PublicHalf::Hybrid {
                ed25519: ed25519(classical)?,
                ml_dsa: ml_dsa(ml_dsa::Set::MlDsa65, pq)?,
            },
            // X-Wing's own encoding is ML-KEM's key, then X25519's.
            (Suite::Kem(kem @ hpke::Kem::XWing), [classical, pq]) => {
                let encoded = [&pq[..], classical].concat();
                PublicHalf::Kem(Arc::new(hpke::PublicKey::from_bytes(kem, &encoded)?))
            }
            (Suite::Kem(kem), [key]) => {
                PublicHalf::Kem(Arc::new(hpke::PublicKey::from_bytes(kem, key)?))
            }
            _ => return Err(KmsError::internal("a version with another number of tracks")),
        })
    }

    /// The encoded public key of each track, the classical one first.
    pub(crate) fn encoded(&self) -> Vec<Vec<u8>> {
        match self {
            PublicHalf::Ed25519(key) => vec![key.public().as_bytes().to_vec()],
            PublicHalf::MlDsa(key) => vec![key.as_bytes().to_vec()],
            #[cfg(feature = "slh-dsa")]
            PublicHalf::SlhDsa(key) => vec![key.as_bytes().to_vec()],
            PublicHalf::Hybrid { ed25519, ml_dsa } => {
                vec![ed25519.public().as_bytes().to_vec(), ml_dsa.as_bytes().to_vec()]
            }
            PublicHalf::Kem(key) => match &**key {
                hpke::PublicKey::XWing(key) => {
                    vec![key.x25519().to_vec(), key.ml_kem().as_bytes().to_vec()]
                }
                key => vec![key.to_bytes()],
            },
        }
    }

    /// The Ed25519 key, where there is one.
    pub(crate) fn ed25519(&self) -> Option<&Arc<KeyHandle>> {
        match self {
            PublicHalf::Ed25519(key) | PublicHalf::Hybrid { ed25519: key, .. } => Some(key),
            _ => None,
        }
    }

    /// What binds the ML-DSA half of a hybrid signature; nothing where there is no such half.
    pub(crate) fn hybrid_context(
        &self,
        kid: &dyn std::fmt::Display,
        context: Context<'_>,
    ) -> Option<HybridContext> {
        match self {
            PublicHalf::Hybrid { ed25519, ml_dsa } => {
                let ed25519 = ed25519.public().as_bytes();
                Some(HybridContext::new(&kid.to_string(), ed25519, ml_dsa, context))
            }
            _ => None,
        }
    }
}

/// The secret half of a version, and the seed that it was made from: what custody keeps, and what keys are derived from.
pub(crate) struct SecretHalf {
    seed: SecretBytes,
    expanded: Expanded,
}

enum Expanded {
    Ed25519(ed25519::SigningKey),
    MlDsa(ml_dsa::SigningKey),
    #[cfg(feature = "slh-dsa")]
    SlhDsa(slh_dsa::SigningKey),
    Hybrid {
        ed25519: ed25519::SigningKey,
        ml_dsa: ml_dsa::SigningKey,
    },
    Kem {
        private: hpke::PrivateKey,
        psk: Secret<32>,
    },
    /// Of a version whose private half is in a token.
    Psk(Secret<32>),
}

/// Length of the seed of a pre-shared key that stands alone, in bytes.
const PSK_SEED_LEN: usize = 32;

/// Who computes with private keys.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    pub(crate) ed25519: SignLane,
    pub(crate) pq: Lane,
}

impl SecretHalf {
    /// Draws a new version.
    ///
    /// # Errors
    /// `Internal` when there is no randomness.
    pub(crate) fn generate(
        suite: Suite,
        lanes: Lanes,
        entropy: &dyn Entropy,
    ) -> Result<(SecretHalf, PublicHalf)> {
        let mut drawn = Ok(());
        let seed = SecretBytes::fill(suite.seed_len(), |out| drawn = entropy.fill(out));
        drawn?;
        Self::from_seed(suite, lanes, seed)
    }

    /// The version of a seed of [`Suite::seed_len`] bytes.
    ///
    /// # Errors
    /// `Internal` if a lane refuses, which none does today.
    pub(crate) fn from_seed(
        suite: Suite,
        lanes: Lanes,
        seed: SecretBytes,
    ) -> Result<(SecretHalf, PublicHalf)> {
        let bytes = seed.expose();
        let (expanded, public) = match suite {
            Suite::Ed25519 => {
                let key = ed25519::SigningKey::from_seed(lanes.ed25519, &sized(bytes)?)?;
                let public = PublicHalf::Ed25519(KeyHandle::new(*key.public()));
                (Expanded::Ed25519(key), public)
            }
            Suite::MlDsa(set) => {
                let key = ml_dsa::SigningKey::from_seed(set, lanes.pq, &sized(bytes)?)?;
                let public = ml_dsa::PublicKey::from_bytes(set, key.public().as_bytes())?;
                (Expanded::MlDsa(key), PublicHalf::MlDsa(Arc::new(public)))
            }
            #[cfg(feature = "slh-dsa")]
            Suite::SlhDsa(set) => {
                let key = slh_dsa::SigningKey::from_seed(set, &seed)?;
                let public = PublicHalf::SlhDsa(Arc::new(key.public().clone()));
                (Expanded::SlhDsa(key), public)
            }
            Suite::Hybrid => {
                let (classical, pq) = bytes.split_at(ed25519::SEED_LEN);
                let ed25519 = ed25519::SigningKey::from_seed(lanes.ed25519, &sized(classical)?)?;
                let set = ml_dsa::Set::MlDsa65;
                let ml_dsa = ml_dsa::SigningKey::from_seed(set, lanes.pq, &sized(pq)?)?;
                let public = PublicHalf::Hybrid {
                    ed25519: KeyHandle::new(*ed25519.public()),
                    ml_dsa: Arc::new(ml_dsa::PublicKey::from_bytes(
                        set,
                        ml_dsa.public().as_bytes(),
                    )?),
                };
                (Expanded::Hybrid { ed25519, ml_dsa }, public)
            }
            Suite::Kem(kem) => {
                let private = hpke::PrivateKey::from_seed(kem, lanes.pq, bytes)?;
                let public = PublicHalf::Kem(Arc::new(private.public().clone()));
                (Expanded::Kem { private, psk: wrap::psk(bytes)? }, public)
            }
        };
        Ok((SecretHalf { seed, expanded }, public))
    }

    /// What is sealed of a version that is drawn anew, and its public half, where it has one.
    ///
    /// # Errors
    /// As [`SecretHalf::generate`].
    pub(crate) fn generate_sealed(
        sealed: Sealed,
        lanes: Lanes,
        entropy: &dyn Entropy,
    ) -> Result<(SecretHalf, Option<PublicHalf>)> {
        match sealed {
            Sealed::Halves(suite) => {
                Self::generate(suite, lanes, entropy).map(|(secret, public)| (secret, Some(public)))
            }
            Sealed::Psk => {
                let mut drawn = Ok(());
                let seed = SecretBytes::fill(PSK_SEED_LEN, |out| drawn = entropy.fill(out));
                drawn?;
                Self::from_sealed(sealed, lanes, seed)
            }
        }
    }

    /// What was sealed of a version, and its public half, where it has one.
    ///
    /// # Errors
    /// As [`SecretHalf::from_seed`].
    pub(crate) fn from_sealed(
        sealed: Sealed,
        lanes: Lanes,
        seed: SecretBytes,
    ) -> Result<(SecretHalf, Option<PublicHalf>)> {
        match sealed {
            Sealed::Halves(suite) => {
                Self::from_seed(suite, lanes, seed).map(|(secret, public)| (secret, Some(public)))
            }
            Sealed::Psk if seed.len() == PSK_SEED_LEN => {
                let expanded = Expanded::Psk(wrap::psk(seed.expose())?);
                Ok((SecretHalf { seed, expanded }, None))
            }
            Sealed::Psk => Err(KmsError::internal("a seed has a wrong length")),
        }
    }

    /// The seed, for derivation and custody.
    pub(crate) fn seed(&self) -> &SecretBytes {
        &self.seed
    }

    /// Signs with one track.
    ///
    /// # Errors
    /// `Unsupported` if there is no such track; `Internal` when there is no randomness.
    pub(crate) fn sign(
        &self,
        alg: Algorithm,
        message: &[u8],
        context: Context<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Signature> {
        match (&self.expanded, alg) {
            (
                Expanded::Ed25519(key) | Expanded::Hybrid { ed25519: key, .. },
                Algorithm::Ed25519,
            ) => key.sign(message).map(Signature::Ed25519),
            (Expanded::Hybrid { ml_dsa: key, .. }, Algorithm::MlDsa65)
            | (Expanded::MlDsa(key), _) => key.sign(message, context, entropy).map(Signature::Long),
            #[cfg(feature = "slh-dsa")]
            (Expanded::SlhDsa(key), _) => key.sign(message, context, entropy).map(Signature::Long),
            _ => Err(no_such_track()),
        }
    }

    /// The pre-shared key of a key that wraps.
    ///
    /// # Errors
    /// `Unsupported` for one that signs.
    pub(crate) fn psk(&self) -> Result<&Secret<32>> {
        match &self.expanded {
            Expanded::Kem { psk, .. } | Expanded::Psk(psk) => Ok(psk),
            _ => Err(KmsError::unsupported("this key signs, and does not wrap").field("kid")),
        }
    }

    /// The private key of a key that wraps, as far as it is here.
    pub(crate) fn kem(&self) -> Option<&hpke::PrivateKey> {
        match &self.expanded {
            Expanded::Kem { private, .. } => Some(private),
            _ => None,
        }
    }
}

/// A signature. Ed25519's stay out of the heap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// 64 bytes.
    Ed25519([u8; ed25519::SIGNATURE_LEN]),
    /// Of ML-DSA or SLH-DSA.
    Long(Vec<u8>),
}

impl Signature {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Signature::Ed25519(bytes) => bytes,
            Signature::Long(bytes) => bytes,
        }
    }

    /// The bytes, for a fault on demand.
    pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Signature::Ed25519(bytes) => bytes,
            Signature::Long(bytes) => bytes,
        }
    }
}

fn no_such_track() -> KmsError {
    KmsError::unsupported("this key does not sign with this algorithm").field("kid")
}

fn sized<const N: usize>(seed: &[u8]) -> Result<Secret<N>> {
    if seed.len() != N {
        return Err(KmsError::internal("a seed has a wrong length"));
    }
    Ok(Secret::fill(|out| out.copy_from_slice(seed)))
}
