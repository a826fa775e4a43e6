//! The KEMs of HPKE over this crate's modules.

use kms_core::{Entropy, KmsError, Result, Secret};

use super::schedule::dhkem_secret;
use crate::lane::Lane;
use crate::{ml_kem, x_wing, x25519};

/// A KEM (RFC 9180, section 7.1, and its registry).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kem {
    /// DHKEM(X25519, HKDF-SHA256).
    X25519,
    /// ML-KEM.
    MlKem(ml_kem::Set),
    /// X-Wing: both of them; the default.
    #[default]
    XWing,
}

impl Kem {
    /// Every KEM.
    pub const ALL: [Kem; 5] = [
        Kem::X25519,
        Kem::MlKem(ml_kem::Set::MlKem512),
        Kem::MlKem(ml_kem::Set::MlKem768),
        Kem::MlKem(ml_kem::Set::MlKem1024),
        Kem::XWing,
    ];

    /// The id on the wire.
    pub const fn id(self) -> u16 {
        match self {
            Kem::X25519 => 0x0020,
            Kem::MlKem(ml_kem::Set::MlKem512) => 0x0040,
            Kem::MlKem(ml_kem::Set::MlKem768) => 0x0041,
            Kem::MlKem(ml_kem::Set::MlKem1024) => 0x0042,
            Kem::XWing => 0x647a,
        }
    }

    /// The KEM of an id.
    pub fn of_id(id: u16) -> Option<Kem> {
        Kem::ALL.into_iter().find(|kem| kem.id() == id)
    }

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Kem::X25519 => "x25519",
            Kem::MlKem(set) => set.name(),
            Kem::XWing => "x-wing",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `kem`.
    pub fn parse(name: &str) -> Result<Kem> {
        Kem::ALL
            .into_iter()
            .find(|kem| kem.name() == name)
            .ok_or_else(|| KmsError::bad_request("no such KEM").field("kem"))
    }

    /// Length of the seed of a key in bytes: of X25519 it is the private key itself.
    pub const fn seed_len(self) -> usize {
        match self {
            Kem::X25519 => x25519::PRIVATE_KEY_LEN,
            Kem::MlKem(_) => ml_kem::SEED_LEN,
            Kem::XWing => x_wing::SEED_LEN,
        }
    }

    /// Length of a public key in bytes (`Npk`).
    pub const fn public_key_len(self) -> usize {
        match self {
            Kem::X25519 => x25519::PUBLIC_KEY_LEN,
            Kem::MlKem(set) => set.public_key_len(),
            Kem::XWing => x_wing::PUBLIC_KEY_LEN,
        }
    }

    /// Length of an encapsulated secret in bytes (`Nenc`).
    pub const fn enc_len(self) -> usize {
        match self {
            Kem::X25519 => x25519::PUBLIC_KEY_LEN,
            Kem::MlKem(set) => set.ciphertext_len(),
            Kem::XWing => x_wing::CIPHERTEXT_LEN,
        }
    }
}

/// A recipient's public key that passed the checks of its KEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Of [`Kem::X25519`].
    X25519([u8; x25519::PUBLIC_KEY_LEN]),
    /// Of [`Kem::MlKem`].
    MlKem(ml_kem::PublicKey),
    /// Of [`Kem::XWing`].
    XWing(x_wing::PublicKey),
}

impl PublicKey {
    /// `DeserializePublicKey` and the checks of the KEM (RFC 9180, section 7.1.4).
    ///
    /// # Errors
    /// `BadRequest`, field `publicKey`.
    pub fn from_bytes(kem: Kem, bytes: &[u8]) -> Result<PublicKey> {
        Ok(match kem {
            Kem::X25519 => PublicKey::X25519(x25519::check_public_key(bytes)?),
            Kem::MlKem(set) => PublicKey::MlKem(ml_kem::PublicKey::from_bytes(set, bytes)?),
            Kem::XWing => PublicKey::XWing(x_wing::PublicKey::from_bytes(bytes)?),
        })
    }

    /// The encoded key.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            PublicKey::X25519(key) => key.to_vec(),
            PublicKey::MlKem(key) => key.as_bytes().to_vec(),
            PublicKey::XWing(key) => key.to_bytes(),
        }
    }

    /// The KEM.
    pub fn kem(&self) -> Kem {
        match self {
            PublicKey::X25519(_) => Kem::X25519,
            PublicKey::MlKem(key) => Kem::MlKem(key.set()),
            PublicKey::XWing(_) => Kem::XWing,
        }
    }

    /// `Encap`: enc, and the shared secret.
    pub(super) fn encapsulate(
        &self,
        lane: Lane,
        entropy: &dyn Entropy,
    ) -> Result<(Vec<u8>, Secret<32>)> {
        match self {
            PublicKey::X25519(recipient) => {
                let ephemeral = x25519::generate(entropy)?;
                let enc = x25519::public_key(lane.into(), &ephemeral);
                let dh = x25519::diffie_hellman(lane.into(), &ephemeral, recipient)?;
                let shared = dhkem_secret(Kem::X25519, &dh, &[enc, *recipient].concat());
                Ok((enc.to_vec(), shared))
            }
            PublicKey::MlKem(recipient) => ml_kem::encapsulate(lane, recipient, entropy),
            PublicKey::XWing(recipient) => x_wing::encapsulate(lane, recipient, entropy),
        }
    }
}

/// A recipient's private key, expanded once, and its public half.
pub struct PrivateKey {
    secret: Expanded,
    public: PublicKey,
}

enum Expanded {
    X25519(Lane, Secret<{ x25519::PRIVATE_KEY_LEN }>),
    MlKem(ml_kem::PrivateKey),
    XWing(x_wing::PrivateKey),
}

impl PrivateKey {
    /// The key of a seed, which is what custody keeps of a key.
    ///
    /// # Errors
    /// `BadRequest`, field `seed`, for a length other than [`Kem::seed_len`].
    pub fn from_seed(kem: Kem, lane: Lane, seed: &[u8]) -> Result<PrivateKey> {
        Ok(match kem {
            Kem::X25519 => {
                let key = sized(seed)?;
                let public = PublicKey::X25519(x25519::public_key(lane.into(), &key));
                PrivateKey { secret: Expanded::X25519(lane, key), public }
            }
            Kem::MlKem(set) => {
                let key = ml_kem::PrivateKey::from_seed(set, lane, &sized(seed)?)?;
                let public = PublicKey::MlKem(key.public().clone());
                PrivateKey { secret: Expanded::MlKem(key), public }
            }
            Kem::XWing => {
                let key = x_wing::PrivateKey::from_seed(lane, &sized(seed)?)?;
                let public = PublicKey::XWing(key.public().clone());
                PrivateKey { secret: Expanded::XWing(key), public }
            }
        })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The KEM.
    pub fn kem(&self) -> Kem {
        self.public.kem()
    }

    /// `Decap`: the shared secret, or `None` for an `enc` of a wrong length or small order.
    pub(crate) fn decapsulate(&self, enc: &[u8]) -> Option<Secret<32>> {
        match (&self.secret, &self.public) {
            (Expanded::X25519(lane, key), PublicKey::X25519(public)) => {
                let enc: [u8; 32] = enc.try_into().ok()?;
                let dh = x25519::diffie_hellman((*lane).into(), key, &enc).ok()?;
                Some(dhkem_secret(Kem::X25519, &dh, &[enc, *public].concat()))
            }
            (Expanded::MlKem(key), _) => key.decapsulate(enc).ok(),
            (Expanded::XWing(key), _) => key.decapsulate(enc).ok(),
            (Expanded::X25519(..), _) => None,
        }
    }
}

/// A recipient whose X25519 half is elsewhere, for one message: what is here of its key, and what was agreed there.
pub struct Apart<'a> {
    /// The whole public half.
    pub public: &'a PublicKey,
    /// The ML-KEM half of a key of [`Kem::XWing`].
    pub ml_kem: Option<&'a PrivateKey>,
    /// The X25519 secret of the key and of [`agreed_with`].
    pub agreed: &'a Secret<32>,
}

/// The point of `enc` that an X25519 half agrees with; `None` where the KEM has no such half, and for a wrong length or
/// small order.
pub fn agreed_with(kem: Kem, enc: &[u8]) -> Option<[u8; x25519::PUBLIC_KEY_LEN]> {
    match kem {
        Kem::X25519 => x25519::check_public_key(enc).ok(),
        Kem::XWing => x_wing::x25519_half(enc),
        Kem::MlKem(_) => None,
    }
}

/// Who opens a message.
pub trait Recipient {
    /// The KEM.
    fn kem(&self) -> Kem;
    /// `Decap`: the shared secret, or `None` for an `enc` of a wrong length or small order.
    fn decapsulate(&self, enc: &[u8]) -> Option<Secret<32>>;
}

impl Recipient for PrivateKey {
    fn kem(&self) -> Kem {
        PrivateKey::kem(self)
    }

    fn decapsulate(&self, enc: &[u8]) -> Option<Secret<32>> {
        PrivateKey::decapsulate(self, enc)
    }
}

impl Recipient for Apart<'_> {
    fn kem(&self) -> Kem {
        self.public.kem()
    }

    fn decapsulate(&self, enc: &[u8]) -> Option<Secret<32>> {
        let point = agreed_with(self.kem(), enc)?;
        match (self.public, self.ml_kem.map(|key| &key.secret)) {
            (PublicKey::X25519(public), None) => {
                Some(dhkem_secret(Kem::X25519, self.agreed, &[point, *public].concat()))
            }
            (PublicKey::XWing(public), Some(Expanded::MlKem(ml_kem))) => {
                x_wing::decapsulate_apart(public, ml_kem, self.agreed, enc)
            }
            _ => None,
        }
    }
}

fn sized<const N: usize>(seed: &[u8]) -> Result<Secret<N>> {
    if seed.len() != N {
        return Err(KmsError::bad_request("not the length of a seed of this KEM").field("seed"));
    }
    Ok(Secret::fill(|out| out.copy_from_slice(seed)))
}
