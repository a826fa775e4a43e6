//! The framing of version 1, pure; its layout is in the [module above](super).

use kms_core::{KmsError, Result};

use super::{MAX_DATA_KEY_LEN, MAX_KID_LEN, does_not_open};
use crate::aead::{Aead, TAG_LEN};
use crate::hpke::{KDF_ID, Kem, aead_id};

const MAGIC: &[u8; 3] = b"RKW";
const VERSION: u8 = 1;

/// Who can have made an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Anybody with the public key.
    Base,
    /// The holder of the private key only.
    Psk,
}

impl Mode {
    const fn id(self) -> u8 {
        match self {
            Mode::Base => 0,
            Mode::Psk => 1,
        }
    }
}

/// An envelope that is well formed; whether it opens is another question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The KEM of the key it is for.
    pub kem: Kem,
    /// The cipher.
    pub aead: Aead,
    /// Who can have made it.
    pub mode: Mode,
    /// The key version it is for: 1 to 255 bytes of visible ASCII.
    pub kid: &'a str,
    /// Everything up to and including the kid.
    pub header: &'a [u8],
    /// The encapsulated secret, of the KEM's length.
    pub enc: &'a [u8],
    /// Ciphertext ‖ tag, of 17 to 4,112 bytes.
    pub ciphertext: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Parses an envelope, strictly: there is one encoding of each.
    ///
    /// # Errors
    /// `BadRequest` without a field, the error of [`open`](super::open).
    pub fn parse(bytes: &'a [u8]) -> Result<Envelope<'a>> {
        Self::try_parse(bytes).ok_or_else(does_not_open)
    }

    fn try_parse(bytes: &'a [u8]) -> Option<Envelope<'a>> {
        let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?;
        let (&[k0, k1, d0, d1, a0, a1, mode, kid_len], rest) = rest.split_first_chunk()?;
        let kem = Kem::of_id(u16::from_be_bytes([k0, k1]))?;
        let aead = u16::from_be_bytes([a0, a1]);
        let aead = Aead::ALL.into_iter().find(|known| aead_id(*known) == aead)?;
        let mode = [Mode::Base, Mode::Psk].into_iter().find(|known| known.id() == mode)?;
        if u16::from_be_bytes([d0, d1]) != KDF_ID {
            return None;
        }
        let (kid, rest) = rest.split_at_checked(usize::from(kid_len))?;
        let kid = str::from_utf8(kid).ok().filter(|kid| kid_fits(kid))?;
        let (enc, ciphertext) = rest.split_at_checked(kem.enc_len())?;
        let fits = (TAG_LEN + 1..=TAG_LEN + MAX_DATA_KEY_LEN).contains(&ciphertext.len());
        let header = &bytes[..bytes.len() - rest.len()];
        fits.then_some(Envelope { kem, aead, mode, kid, header, enc, ciphertext })
    }
}

/// The header of an envelope.
///
/// # Errors
/// `BadRequest`, field `kid`.
pub(super) fn header(kem: Kem, aead: Aead, mode: Mode, kid: &str) -> Result<Vec<u8>> {
    let fault = || KmsError::bad_request("must be 1 to 255 bytes of visible ASCII").field("kid");
    if !kid_fits(kid) {
        return Err(fault());
    }
    let kid_len = u8::try_from(kid.len()).map_err(|_| fault())?;
    let mut header = Vec::with_capacity(12 + kid.len());
    header.extend_from_slice(MAGIC);
    header.push(VERSION);
    for id in [kem.id(), KDF_ID, aead_id(aead)] {
        header.extend_from_slice(&id.to_be_bytes());
    }
    header.extend_from_slice(&[mode.id(), kid_len]);
    header.extend_from_slice(kid.as_bytes());
    Ok(header)
}

fn kid_fits(kid: &str) -> bool {
    (1..=MAX_KID_LEN).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic())
}
