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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use kms_core::OsEntropy;

    use super::*;

    fn key(byte: u8) -> Secret<32> {
        Secret::take(&mut [byte; 32])
    }

    #[test]
    fn what_was_sealed_opens_in_its_place_only() {
        for len in [0, 1, 32, 4096] {
            let secret = vec![5; len];
            let sealed = seal(&key(1), b"here", &secret, &OsEntropy).unwrap();
            assert_eq!(sealed.len(), len + OVERHEAD);
            assert_eq!(open(&key(1), b"here", &sealed).unwrap().expose(), secret);
            assert!(open(&key(1), b"there", &sealed).is_none());
            assert!(open(&key(2), b"here", &sealed).is_none());
        }
        let sealed = seal(&key(1), b"here", b"secret", &OsEntropy).unwrap();
        for len in 0..sealed.len() {
            assert!(open(&key(1), b"here", &sealed[..len]).is_none());
        }
        let mut bad = sealed.clone();
        for bit in 0..8 * sealed.len() {
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(1), b"here", &bad).is_none());
            bad[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// A store that is killed, restored or copied has the same keys and headers again; only the salts are fresh.
    /// `KMS_SEALS=1000000` is the long form.
    #[test]
    fn no_pair_of_key_and_nonce_repeats_over_the_same_key_and_header() {
        let seals = std::env::var("KMS_SEALS").map_or(20_000, |it| it.parse().expect("a number"));
        let mut pairs = HashSet::with_capacity(seals);
        for number in 0..seals {
            let mut salt = [0; SALT_LEN];
            OsEntropy.fill(&mut salt).unwrap();
            let pair = one_use(&key(1), &salt, b"the same header").unwrap();
            assert!(pairs.insert(*pair.expose()), "seal {number}");
        }
        assert_eq!(pairs.len(), seals);
    }

    #[test]
    fn every_seal_draws_its_salt() {
        let sealed: HashSet<Vec<u8>> = (0..100)
            .map(|_| seal(&key(1), b"", b"secret", &OsEntropy).unwrap()[..SALT_LEN].to_vec())
            .collect();
        assert_eq!(sealed.len(), 100);
        struct Broken;
        impl Entropy for Broken {
            fn fill(&self, _: &mut [u8]) -> Result<(), KmsError> {
                Err(KmsError::internal("none"))
            }
        }
        assert!(seal(&key(1), b"", b"secret", &Broken).is_err());
    }

    #[test]
    fn tags_and_subkeys_depend_on_every_input() {
        assert_eq!(mac(&key(1), &[b"ab", b"c"]), mac(&key(1), &[b"a", b"bc"]));
        assert_ne!(mac(&key(1), &[b"abc"]), mac(&key(2), &[b"abc"]));
        assert!(mac_holds(&key(1), &[b"abc"], &mac(&key(1), &[b"abc"])));
        assert!(!mac_holds(&key(1), &[b"abd"], &mac(&key(1), &[b"abc"])));
        let subkey = |byte, purpose| *subkey(&key(byte), purpose).unwrap().expose();
        assert_ne!(subkey(1, "anchor"), subkey(1, "audit"));
        assert_ne!(subkey(1, "anchor"), subkey(2, "anchor"));
    }

    #[test]
    fn tags_are_hmac_sha_256() {
        // RFC 4231 has no 32-byte key; this is its test case 2 with the key filled up with zeros, as HMAC does itself.
        let mut padded = [0; 32];
        padded[..4].copy_from_slice(b"Jefe");
        let tag = mac(&Secret::take(&mut padded), &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(tag[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }
}
