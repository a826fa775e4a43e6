//! Authenticated encryption with an explicit 96-bit nonce: ChaCha20-Poly1305 (RFC 8439) and AES-256-GCM (NIST SP
//! 800-38D).
//!
//! A nonce must never repeat under one key: who calls this derives a key for each message, or counts. Both are
//! constant-time; AES uses the processor's instructions where there are any, and bit-sliced code elsewhere.

use aes_gcm::Aes256Gcm;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use kms_core::{KmsError, Result, Secret, SecretBytes};

use crate::stack::{LIGHT, scrubbed};

/// Length of a key in bytes.
pub const KEY_LEN: usize = 32;
/// Length of a nonce in bytes.
pub const NONCE_LEN: usize = 12;
/// Length of the tag that a ciphertext ends with in bytes.
pub const TAG_LEN: usize = 16;

// The ciphers wipe their keys only with their features `zeroize`: without them this does not compile.
const _: fn() = || {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<Aes256Gcm>();
    wiped::<ChaCha20Poly1305>();
};

/// The cipher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Aead {
    /// ChaCha20-Poly1305.
    #[default]
    ChaCha20Poly1305,
    /// AES-256-GCM.
    Aes256Gcm,
}

impl Aead {
    /// Every cipher.
    pub const ALL: [Aead; 2] = [Aead::ChaCha20Poly1305, Aead::Aes256Gcm];

    /// The name users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Aead::ChaCha20Poly1305 => "chacha20-poly1305",
            Aead::Aes256Gcm => "aes-256-gcm",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `aead`.
    pub fn parse(name: &str) -> Result<Aead> {
        Aead::ALL
            .into_iter()
            .find(|aead| aead.name() == name)
            .ok_or_else(|| KmsError::bad_request("no such AEAD").field("aead"))
    }

    /// Encrypts and authenticates: ciphertext ‖ tag.
    ///
    /// # Errors
    /// `TooLarge` for more than the cipher can take under one nonce (64 GiB and more).
    pub fn seal(
        self,
        key: &Secret<KEY_LEN>,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>> {
        // With its capacity for the tag, so that plaintext is never moved.
        let mut out = Vec::with_capacity(plaintext.len() + TAG_LEN);
        out.extend_from_slice(plaintext);
        let buffer = InOutBuf::from(&mut out[..]);
        let tag = scrubbed::<LIGHT, _>(|| match self {
            Aead::ChaCha20Poly1305 => ChaCha20Poly1305::new(key.expose().into())
                .encrypt_inout_detached(nonce.into(), aad, buffer)
                .map(<[u8; TAG_LEN]>::from),
            Aead::Aes256Gcm => Aes256Gcm::new(key.expose().into())
                .encrypt_inout_detached(nonce.into(), aad, buffer)
                .map(<[u8; TAG_LEN]>::from),
        });
        let Ok(tag) = tag else {
            zeroize::Zeroize::zeroize(&mut out);
            return Err(KmsError::new(
                kms_core::ErrorCode::TooLarge,
                "more than the cipher takes under one nonce",
            ));
        };
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// The plaintext of ciphertext ‖ tag, or `None`: the tag does not fit key, nonce, associated data and ciphertext.
    pub fn open(
        self,
        key: &Secret<KEY_LEN>,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
    ) -> Option<SecretBytes> {
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
        let mut out = SecretBytes::copy_of(ciphertext);
        let buffer = InOutBuf::from(out.expose_mut());
        let opened = scrubbed::<LIGHT, _>(|| match self {
            Aead::ChaCha20Poly1305 => ChaCha20Poly1305::new(key.expose().into())
                .decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()),
            Aead::Aes256Gcm => Aes256Gcm::new(key.expose().into()).decrypt_inout_detached(
                nonce.into(),
                aad,
                buffer,
                tag.into(),
            ),
        });
        opened.ok().map(|()| out)
    }
}

#[cfg(test)]
mod tests {
    use kms_testkit::vectors;

    use super::*;

    #[test]
    fn wycheproof() {
        for (aead, name) in
            [(Aead::Aes256Gcm, "aes_gcm"), (Aead::ChaCha20Poly1305, "chacha20_poly1305")]
        {
            let mut count = 0;
            for group in vectors::groups(&format!("wycheproof/{name}_test.json.gz")) {
                let ours = group["ivSize"] == 96 && group["keySize"] == 256;
                for case in vectors::tests(&group).iter().filter(|_| ours) {
                    let field = |name| vectors::hex_field(case, name);
                    let mut key: [u8; KEY_LEN] = field("key").try_into().expect("32 bytes");
                    let key = Secret::take(&mut key);
                    let nonce = field("iv").try_into().expect("12 bytes");
                    let sealed = [field("ct"), field("tag")].concat();
                    let opened = aead.open(&key, &nonce, &field("aad"), &sealed);
                    let name = format!("{name} tcId {}", case["tcId"]);
                    if case["result"] == "valid" {
                        assert_eq!(opened.expect(&name).expose(), field("msg"));
                        let again = aead.seal(&key, &nonce, &field("aad"), &field("msg")).unwrap();
                        assert_eq!(again, sealed, "{name}");
                    } else {
                        assert!(opened.is_none(), "{name}");
                    }
                    count += 1;
                }
            }
            assert!(count > 60, "{name}: {count}");
        }
    }

    #[test]
    fn what_is_shorter_than_a_tag_does_not_open() {
        let key = Secret::take(&mut [1; KEY_LEN]);
        for aead in Aead::ALL {
            let sealed = aead.seal(&key, &[0; NONCE_LEN], b"", b"").unwrap();
            assert!(
                aead.open(&key, &[0; NONCE_LEN], b"", &sealed).is_some_and(|out| out.is_empty())
            );
            assert!(aead.open(&key, &[0; NONCE_LEN], b"", &sealed[1..]).is_none());
            assert_eq!(Aead::parse(aead.name()), Ok(aead));
        }
        assert_eq!(Aead::parse("aes").unwrap_err().field.as_deref(), Some("aead"));
    }
}
