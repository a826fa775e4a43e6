//! AES-256 keys of the token, under which secrets are sealed that live outside of it: post-quantum companions of a
//! key, and the root of a store.
//!
//! ```text
//! 1 ‖ UUID of the wrapping key, 16 bytes ‖ IV, 12 bytes ‖ AES-256-GCM ciphertext ‖ tag, 16 bytes
//! ```
//!
//! The associated data is `ron-kms/hsm-seal/v1`, a zero byte, the first 17 bytes and the context. The IV is random; a
//! token that insists on its own writes it in place of ours. The plaintext is in this process before it is sealed and
//! after it was opened: what the token keeps is the key, so that the sealed form is worth nothing without it.

use std::time::Duration;

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectHandle};
use kms_core::{Entropy, SecretBytes};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::calls::Function;
use crate::error::{Error, Result};
use crate::object_id::{ObjectId, wrapping_id, wrapping_label};
use crate::session::Live;
use crate::token::Token;

/// Longest secret that is sealed, in bytes.
pub const MAX_SECRET_LEN: usize = 8 * 1024;
const FORMAT: u8 = 1;
const HEADER_LEN: usize = 1 + 16;
const IV_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// How much longer the sealed form is, in bytes.
pub const OVERHEAD: usize = HEADER_LEN + IV_LEN + TAG_LEN;
const LABEL: &[u8] = b"ron-kms/hsm-seal/v1\0";

impl Token {
    /// Makes an AES-256 key, sensitive and not extractable, for sealing.
    ///
    /// # Errors
    /// [`Error::KeyExists`], [`Error::Unsupported`], and those of every call.
    pub fn generate_wrapping_key(&self, key: &Uuid, within: Duration) -> Result<()> {
        if !self.capabilities().aes_gcm {
            return Err(Error::Unsupported { what: "AES-GCM" });
        }
        if !self.capabilities().writable {
            return Err(Error::Unsupported { what: "new keys: it is write-protected" });
        }
        let started = std::time::Instant::now();
        if self.has_wrapping_key(key, within)? {
            return Err(Error::KeyExists);
        }
        let template = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(32.into()),
            Attribute::Id(wrapping_id(key).to_vec()),
            Attribute::Label(wrapping_label(key)),
        ];
        self.run(within.saturating_sub(started.elapsed()), false, move |live| {
            let mechanism = Mechanism::AesKeyGen;
            live.call(Function::GenerateKey, |session| session.generate_key(&mechanism, &template))
                .map(|_| ())
        })
    }

    /// Whether there is such a wrapping key.
    ///
    /// # Errors
    /// Those of every call.
    pub fn has_wrapping_key(&self, key: &Uuid, within: Duration) -> Result<bool> {
        let id = ObjectId::wrapping(key);
        self.run(within, true, move |live| match live.object(&id) {
            Ok(_) => Ok(true),
            Err(Error::NoSuchKey) => Ok(false),
            Err(error) => Err(error),
        })
    }

    /// Seals a secret, of 1 to [`MAX_SECRET_LEN`] bytes, in its context. Nothing in the result repeats.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`], [`Error::Unsupported`] for the length or a token without AES-GCM, and those of every call.
    pub fn wrap(
        &self,
        key: &Uuid,
        secret: &SecretBytes,
        context: &[u8],
        entropy: &dyn Entropy,
        within: Duration,
    ) -> Result<Vec<u8>> {
        if !self.capabilities().aes_gcm {
            return Err(Error::Unsupported { what: "AES-GCM" });
        }
        if !(1..=MAX_SECRET_LEN).contains(&secret.len()) {
            return Err(Error::Unsupported { what: "sealing secrets of this length" });
        }
        let mut drawn = [[0; IV_LEN]; 2];
        entropy.fill(drawn.as_flattened_mut())?;
        let (id, header, context) = (ObjectId::wrapping(key), header_of(key), context.to_vec());
        let secret = SecretBytes::copy_of(secret.expose());
        let mut ivs = drawn.into_iter();
        self.run(within, true, move |live| {
            // A second try has an IV of its own: the first may have been used.
            let iv = ivs.next().ok_or(Error::Panicked)?;
            let key = live.object(&id)?;
            seal(live, key, &header, iv, &context, secret.expose())
        })
    }

    /// Opens what [`Token::wrap`] gave, in the same context.
    ///
    /// # Errors
    /// [`Error::NotOpened`] for damage, another key or another context; [`Error::NoSuchKey`], and those of every call.
    pub fn unwrap(&self, sealed: &[u8], context: &[u8], within: Duration) -> Result<SecretBytes> {
        let Some((header, rest)) = sealed.split_first_chunk::<HEADER_LEN>() else {
            return Err(Error::NotOpened);
        };
        let length = sealed.len();
        let uuid = Uuid::from_slice(&header[1..]).map_err(|_| Error::NotOpened)?;
        if header[0] != FORMAT || !(OVERHEAD + 1..=OVERHEAD + MAX_SECRET_LEN).contains(&length) {
            return Err(Error::NotOpened);
        }
        if !self.capabilities().aes_gcm {
            return Err(Error::Unsupported { what: "AES-GCM" });
        }
        let (id, header, context) = (ObjectId::wrapping(&uuid), *header, context.to_vec());
        let rest = rest.to_vec();
        self.run(within, true, move |live| {
            let key = live.object(&id)?;
            match open(live, key, &header, &context, &rest) {
                Err(error @ Error::Call { .. }) => Err(why(live, key, &header, error)),
                opened => opened,
            }
        })
    }
}

fn header_of(key: &Uuid) -> [u8; HEADER_LEN] {
    let mut header = [FORMAT; HEADER_LEN];
    header[1..].copy_from_slice(key.as_bytes());
    header
}

fn associated(header: &[u8; HEADER_LEN], context: &[u8]) -> Vec<u8> {
    [LABEL, header, context].concat()
}

fn seal(
    live: &Live,
    key: ObjectHandle,
    header: &[u8; HEADER_LEN],
    mut iv: [u8; IV_LEN],
    context: &[u8],
    secret: &[u8],
) -> Result<Vec<u8>> {
    let aad = associated(header, context);
    let params = GcmParams::new(&mut iv, &aad, 128.into());
    let params = params.map_err(|_| Error::Unsupported { what: "a context of this length" })?;
    let mut mechanism = Mechanism::AesGcm(params);
    let sealed =
        live.call(Function::Encrypt, |session| session.encrypt(&mechanism, key, secret))?;
    if sealed.len() != secret.len() + TAG_LEN {
        return Err(Error::Malformed { what: "a ciphertext of another length" });
    }
    // Read back from where the token may have written its own.
    let Mechanism::AesGcm(params) = &mut mechanism else { return Err(Error::Panicked) };
    let mut out = header.to_vec();
    out.extend_from_slice(params.iv());
    out.extend_from_slice(&sealed);
    Ok(out)
}

/// Opens `IV ‖ ciphertext ‖ tag`.
fn open(
    live: &Live,
    key: ObjectHandle,
    header: &[u8; HEADER_LEN],
    context: &[u8],
    sealed: &[u8],
) -> Result<SecretBytes> {
    let (iv, ciphertext) = sealed.split_first_chunk::<IV_LEN>().ok_or(Error::NotOpened)?;
    let (mut iv, aad) = (*iv, associated(header, context));
    let params = GcmParams::new(&mut iv, &aad, 128.into());
    let params = params.map_err(|_| Error::Unsupported { what: "a context of this length" })?;
    let mechanism = Mechanism::AesGcm(params);
    // The bindings give a heap buffer, which is wiped as soon as it is copied into secret memory.
    let opened =
        live.call(Function::Decrypt, |session| session.decrypt(&mechanism, key, ciphertext))?;
    let opened = Zeroizing::new(opened);
    if opened.len() + TAG_LEN != ciphertext.len() {
        return Err(Error::Malformed { what: "a plaintext of another length" });
    }
    Ok(SecretBytes::copy_of(&opened))
}

/// What a failed decryption means. Tokens report a tag that does not fit with codes that also stand for a broken
/// device, so the device is asked to open something that certainly fits.
fn why(live: &Live, key: ObjectHandle, header: &[u8; HEADER_LEN], error: Error) -> Error {
    let mut iv = [0; IV_LEN];
    if kms_core::OsEntropy.fill(&mut iv).is_err() {
        return error;
    }
    let good = seal(live, key, header, iv, b"", &[0; 16])
        .and_then(|sealed| open(live, key, header, b"", &sealed[HEADER_LEN..]));
    if good.is_ok() { Error::NotOpened } else { error }
}
