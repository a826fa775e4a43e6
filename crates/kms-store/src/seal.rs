//! The seal: each use draws a 32-byte salt, and HKDF of key, salt and header gives the cipher key and the nonce of
//! this one use. So no pair of key and nonce repeats, even if the process, its clock or the whole directory is copied or
//! set back: a repeat would need two equal salts.
//!
//! ```text
//! key ‖ nonce = HKDF-SHA-256(salt, key, "ron-kms/seal/v1" ‖ 0x00 ‖ header), 32 and 12 bytes
//! sealed      = salt ‖ ChaCha20-Poly1305(key, nonce, header, secret)
//! ```
//!
//! The header says what is sealed, and is authenticated with it: bytes of another place do not open.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use kms_core::{Entropy, KmsError, Secret, SecretBytes};
use sha2::Sha256;

/// Length of the salt in bytes.
pub const SALT_LEN: usize = 32;
/// Length of the tag in bytes.
const TAG_LEN: usize = 16;
/// How much longer than the secret its sealed form is, in bytes.
pub const OVERHEAD: usize = SALT_LEN + TAG_LEN;
/// Length of the tag that authenticates a file, in bytes.
pub const MAC_LEN: usize = 32;

const SEAL_LABEL: &[u8] = b"ron-kms/seal/v1\0";
const KEY_LABEL: &[u8] = b"ron-kms/store-key/v1\0";

// The cipher wipes its key only with its feature `zeroize`: without it this does not compile.
const _: fn() = || {
    fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<ChaCha20Poly1305>();
};

/// The cipher key and nonce of one use.
pub(crate) fn one_use(
    key: &Secret<32>,
    salt: &[u8; SALT_LEN],
    header: &[u8],
) -> Result<Secret<44>, KmsError> {
    expand(Some(salt), key, &[SEAL_LABEL, header])
}

/// HKDF (RFC 5869). Its one failure, an output over 8,160 bytes, does not happen here.
fn expand<const N: usize>(
    salt: Option<&[u8]>,
    key: &Secret<32>,
    info: &[&[u8]],
) -> Result<Secret<N>, KmsError> {
    let mut expanded = Ok(());
    let out = Secret::fill(|out: &mut [u8; N]| {
        expanded = Hkdf::<Sha256>::new(salt, key.expose()).expand_multi_info(info, out);
    });
    expanded.map_err(|_| KmsError::internal("more than HKDF can derive"))?;
    Ok(out)
}

/// Seals `secret` under `key` for the place that `header` names.
///
/// # Errors
/// `Internal` without randomness.
pub fn seal(
    key: &Secret<32>,
    header: &[u8],
    secret: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, KmsError> {
    let mut salt = [0; SALT_LEN];
    entropy.fill(&mut salt)?;
    // With its capacity for all, so that plaintext is never moved.
    let mut out = Vec::with_capacity(OVERHEAD + secret.len());
    out.extend_from_slice(&salt);
    out.extend_from_slice(secret);
    let one_use = one_use(key, &salt, header)?;
    let (cipher, nonce) = cipher(&one_use)?;
    let tag = cipher
        .encrypt_inout_detached(nonce.into(), header, InOutBuf::from(&mut out[SALT_LEN..]))
        .map(<[u8; TAG_LEN]>::from);
    let Ok(tag) = tag else {
        zeroize::Zeroize::zeroize(&mut out);
        return Err(KmsError::internal("more than the cipher takes under one nonce"));
    };
    out.extend_from_slice(&tag);
    Ok(out)
}

/// The secret, or `None`: it was sealed under another key or for another place, or is damaged.
pub fn open(key: &Secret<32>, header: &[u8], sealed: &[u8]) -> Option<SecretBytes> {
    let (salt, rest) = sealed.split_first_chunk::<SALT_LEN>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>()?;
    let one_use = one_use(key, salt, header).ok()?;
    let (cipher, nonce) = cipher(&one_use).ok()?;
    let mut out = SecretBytes::copy_of(ciphertext);
    let buffer = InOutBuf::from(out.expose_mut());
    cipher.decrypt_inout_detached(nonce.into(), header, buffer, tag.into()).ok()?;
    Some(out)
}

fn cipher(one_use: &Secret<44>) -> Result<(ChaCha20Poly1305, &[u8; 12]), KmsError> {
    let fault = || KmsError::internal("a derived key has a wrong length");
    let (key, nonce) = one_use.expose().split_first_chunk::<32>().ok_or_else(fault)?;
    let nonce = nonce.try_into().map_err(|_| fault())?;
    Ok((ChaCha20Poly1305::new(key.into()), nonce))
}

/// A key for one purpose below another key.
///
/// # Errors
/// None today.
pub fn subkey(key: &Secret<32>, purpose: &str) -> Result<Secret<32>, KmsError> {
    expand(None, key, &[KEY_LABEL, purpose.as_bytes()])
}

/// HMAC-SHA-256 over the parts, one after the other.
pub(crate) fn mac(key: &Secret<32>, parts: &[&[u8]]) -> [u8; MAC_LEN] {
    started(key, parts).finalize().into_bytes().into()
}

/// Whether `tag` is [`mac`] of the parts, in constant time.
pub(crate) fn mac_holds(key: &Secret<32>, parts: &[&[u8]], tag: &[u8; MAC_LEN]) -> bool {
    started(key, parts).verify_slice(tag).is_ok()
}

fn started(key: &Secret<32>, parts: &[&[u8]]) -> Hmac<Sha256> {
    // RFC 2104 fills a short key up with zeros.
    let block = Secret::<64>::fill(|out| out[..32].copy_from_slice(key.expose()));
    let mut mac = <Hmac<Sha256> as KeyInit>::new(block.expose().into());
    for part in parts {
        mac.update(part);
    }
    mac
}
