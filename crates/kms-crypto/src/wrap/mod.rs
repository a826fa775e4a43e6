//! Wrapping of data keys: HPKE in a versioned envelope that names the key version it is for.
//!
//! Envelope v1, byte by byte (integers big-endian, ids of [RFC 9180](crate::hpke)):
//!
//! | offset | bytes | is |
//! | --- | --- | --- |
//! | 0 | 3 | `RKW` (52 4b 57) |
//! | 3 | 1 | version of the framing: 01 |
//! | 4 | 2 | KEM id |
//! | 6 | 2 | KDF id: 00 01 |
//! | 8 | 2 | AEAD id |
//! | 10 | 1 | mode: 00 base, 01 PSK |
//! | 11 | 1 | n, length of the kid: 1 to 255 |
//! | 12 | n | the kid with its version, visible ASCII (21 to 7e) |
//! | 12 + n | `Nenc` | `enc`: 32 (X25519), 768, 1,088, 1,568 (ML-KEM-512, 768, 1024), 1,120 (X-Wing) |
//! | then | data key + 16 | ciphertext ‖ tag, to the end |
//!
//! HPKE's `aad` is the first 12 + n bytes, so that nothing in the header can be changed, and `info` is the 15 bytes
//! `ron-kms/wrap/v1`. In PSK mode `psk` is [`psk`] of the key version's secret seed and `psk_id` is the kid: only who
//! holds the private key can make such an envelope, so nobody forges one around a data key that they know. An envelope in
//! base mode is anybody's who has the public key, and opens only where the caller asks for that mode.

mod envelope;
#[cfg(test)]
mod tests;

pub use envelope::{Envelope, Mode};
use kms_core::{Entropy, KmsError, Result, Secret, SecretBytes};

use crate::aead::Aead;
use crate::hpke::{Kem, PrivateKey, Psk, PublicKey, Recipient, Setup, agreed_with};
use crate::kdf::{Hash, derive_into};
use crate::lane::Lane;

/// Longest data key in bytes.
pub const MAX_DATA_KEY_LEN: usize = 4096;
/// Longest kid in bytes.
pub const MAX_KID_LEN: usize = 255;

/// HPKE's `info`.
const INFO: &[u8] = b"ron-kms/wrap/v1";
/// HKDF's `info` for the pre-shared key.
const PSK_LABEL: &[u8] = b"wrap-psk";

/// The pre-shared key of a key version: HKDF-SHA-256 (no salt) of its secret seed, with `info` = `wrap-psk`.
///
/// # Errors
/// None today.
pub fn psk(seed: &[u8]) -> Result<Secret<32>> {
    let mut result = Ok(());
    let psk = Secret::fill(|out| result = derive_into(Hash::Sha256, b"", seed, PSK_LABEL, out));
    result.map(|()| psk)
}

/// Wraps a data key of 1 to 4,096 bytes for the holder of a key version; in PSK mode where a `psk` is given.
///
/// # Errors
/// `BadRequest`, field `dataKey` or `kid`, where they do not fit; `Internal` when there is no randomness.
pub fn seal(
    lane: Lane,
    public: &PublicKey,
    aead: Aead,
    kid: &str,
    psk: Option<&Secret<32>>,
    data_key: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>> {
    if data_key.is_empty() || data_key.len() > MAX_DATA_KEY_LEN {
        return Err(KmsError::bad_request("must have 1 to 4096 bytes").field("dataKey"));
    }
    let mode = if psk.is_some() { Mode::Psk } else { Mode::Base };
    let mut envelope = envelope::header(public.kem(), aead, mode, kid)?;
    let sealed = setup(aead, kid, psk).seal(lane, public, &envelope, data_key, entropy)?;
    envelope.extend(sealed.enc);
    envelope.extend(sealed.ciphertext);
    Ok(envelope)
}

/// Unwraps: the data key in an envelope for this key version. The mode must be the caller's: with a `psk` only an
/// envelope in PSK mode opens, without one only an envelope in base mode.
///
/// # Errors
/// `BadRequest` without a field, always the same: the envelope is malformed, for another key, suite or mode, or forged.
/// What the header says is public and ends the work early, as does an `enc` of small order; everything else fails after
/// the same work.
pub fn open(
    private: &PrivateKey,
    aead: Aead,
    kid: &str,
    psk: Option<&Secret<32>>,
    envelope: &[u8],
) -> Result<SecretBytes> {
    decapsulate(private, aead, kid, psk, envelope)?.decrypt()
}

/// The first half of [`open`], which costs most of the time: what is left is the cipher.
///
/// # Errors
/// As [`open`].
pub fn decapsulate<'a>(
    private: &dyn Recipient,
    aead: Aead,
    kid: &'a str,
    psk: Option<&'a Secret<32>>,
    envelope: &'a [u8],
) -> Result<Decapsulated<'a>> {
    let envelope = fitting(private.kem(), aead, kid, psk.is_some(), envelope)?;
    let shared = private.decapsulate(envelope.enc).ok_or_else(does_not_open)?;
    Ok(Decapsulated { setup: setup(aead, kid, psk), envelope, shared })
}

/// The point that the X25519 half of a key has to agree with for an envelope, where that half is elsewhere: nobody there is
/// asked for an envelope that cannot open.
///
/// # Errors
/// As [`open`].
pub fn point_of(
    public: &PublicKey,
    aead: Aead,
    kid: &str,
    with_psk: bool,
    envelope: &[u8],
) -> Result<[u8; 32]> {
    let envelope = fitting(public.kem(), aead, kid, with_psk, envelope)?;
    agreed_with(public.kem(), envelope.enc).ok_or_else(does_not_open)
}

/// An envelope whose header says what is expected.
fn fitting<'a>(
    kem: Kem,
    aead: Aead,
    kid: &str,
    with_psk: bool,
    envelope: &'a [u8],
) -> Result<Envelope<'a>> {
    let envelope = Envelope::parse(envelope)?;
    let found = (envelope.kem, envelope.aead, envelope.mode == Mode::Psk, envelope.kid);
    if found != (kem, aead, with_psk, kid) { Err(does_not_open()) } else { Ok(envelope) }
}

/// An envelope with its shared secret.
pub struct Decapsulated<'a> {
    setup: Setup<'a>,
    envelope: Envelope<'a>,
    shared: Secret<32>,
}

impl Decapsulated<'_> {
    /// The second half of [`open`].
    ///
    /// # Errors
    /// As [`open`].
    pub fn decrypt(self) -> Result<SecretBytes> {
        let Envelope { kem, header, ciphertext, .. } = self.envelope;
        self.setup.decrypt(kem, &self.shared, header, ciphertext).ok_or_else(does_not_open)
    }
}

fn setup<'a>(aead: Aead, kid: &'a str, psk: Option<&'a Secret<32>>) -> Setup<'a> {
    Setup { aead, psk: psk.map(|key| Psk { key, id: kid.as_bytes() }), info: INFO }
}

/// The one error of every failure to open.
fn does_not_open() -> KmsError {
    KmsError::bad_request("the envelope does not open")
}
