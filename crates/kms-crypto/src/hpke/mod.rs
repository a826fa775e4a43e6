//! HPKE (RFC 9180), single-shot, modes base and PSK.
//!
//! | | | id |
//! | --- | --- | --- |
//! | KEM | DHKEM(X25519, HKDF-SHA256) (section 4.1) | 0x0020 |
//! | KEM | ML-KEM-512, ML-KEM-768, ML-KEM-1024 (draft-ietf-hpke-pq) | 0x0040, 0x0041, 0x0042 |
//! | KEM | X-Wing (draft-connolly-cfrg-xwing-kem) | 0x647a |
//! | KDF | HKDF-SHA256 | 0x0001 |
//! | AEAD | AES-256-GCM | 0x0002 |
//! | AEAD | ChaCha20-Poly1305 | 0x0003 |
//!
//! Each message has an encapsulation of its own, hence a key of its own: only sequence number 0 is ever used. In PSK mode
//! nobody without the pre-shared key can make a ciphertext that opens; in base mode everyone with the public key can.

mod kem;
mod schedule;
#[cfg(test)]
mod tests;

pub use kem::{Apart, Kem, PrivateKey, PublicKey, Recipient, agreed_with};
use kms_core::{Entropy, KmsError, Result, Secret, SecretBytes};

use crate::aead::Aead;
use crate::lane::Lane;

/// Id of HKDF-SHA256 (section 7.2), the only KDF here.
pub const KDF_ID: u16 = 0x0001;

/// Id of a cipher (section 7.3).
pub const fn aead_id(aead: Aead) -> u16 {
    match aead {
        Aead::Aes256Gcm => 0x0002,
        Aead::ChaCha20Poly1305 => 0x0003,
    }
}

/// A pre-shared key and the name that both sides know it by (section 5.1.2).
#[derive(Clone, Copy)]
pub struct Psk<'a> {
    /// Uniformly random.
    pub key: &'a Secret<32>,
    /// Not empty.
    pub id: &'a [u8],
}

/// What both sides agree on before a message, apart from the key pair, whose KEM decides the rest of the suite.
#[derive(Clone, Copy, Default)]
pub struct Setup<'a> {
    /// The cipher.
    pub aead: Aead,
    /// With a key: mode PSK; without: mode base.
    pub psk: Option<Psk<'a>>,
    /// What the key is for.
    pub info: &'a [u8],
}

/// One message.
pub struct Sealed {
    /// The encapsulated secret (`enc`).
    pub enc: Vec<u8>,
    /// Ciphertext ‖ tag.
    pub ciphertext: Vec<u8>,
}

impl Setup<'_> {
    /// `SealBase` and `SealPSK` (section 6.1).
    ///
    /// Draws once: 32 bytes for X25519 (the ephemeral private key) and ML-KEM (m), 64 for X-Wing (m, then the
    /// ephemeral private key).
    ///
    /// # Errors
    /// `BadRequest`, field `pskId`, for an empty one; `Internal` when there is no randomness.
    pub fn seal(
        &self,
        lane: Lane,
        recipient: &PublicKey,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Sealed> {
        if self.psk.is_some_and(|psk| psk.id.is_empty()) {
            return Err(KmsError::bad_request("a pre-shared key has a name").field("pskId"));
        }
        let (enc, shared) = recipient.encapsulate(lane, entropy)?;
        let keys = schedule::keys(recipient.kem(), self, &shared);
        let ciphertext = self.aead.seal(&keys.key, &keys.base_nonce, aad, plaintext)?;
        Ok(Sealed { enc, ciphertext })
    }

    /// `OpenBase` and `OpenPSK` (section 6.1).
    ///
    /// `None` if the message was not sealed for this key with this setup and `aad`; why not is not told, and for all
    /// reasons but wrong lengths and points of small order the same work is done.
    pub fn open(
        &self,
        recipient: &PrivateKey,
        enc: &[u8],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Option<SecretBytes> {
        self.decrypt(recipient.kem(), &recipient.decapsulate(enc)?, aad, ciphertext)
    }

    /// The rest of [`Setup::open`] after the decapsulation.
    pub(crate) fn decrypt(
        &self,
        kem: Kem,
        shared: &Secret<32>,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Option<SecretBytes> {
        let keys = schedule::keys(kem, self, shared);
        self.aead.open(&keys.key, &keys.base_nonce, aad, ciphertext)
    }
}
