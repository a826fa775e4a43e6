//! The keys that every chain begins with: read from the operator's file or variable, kept in secret memory, never written.

use kms_core::{KmsError, Result, Secret, SecretBytes};
use zeroize::Zeroize;

use crate::chain::{derive, hmac};

/// Bytes of a root key.
pub const KEY_LEN: usize = 32;
/// Most keys that are accepted side by side.
pub const MAX_KEYS: usize = 16;

/// The name of a root key in identifiers: it says nothing about the key.
pub type KeyName = [u8; 4];

/// Root keys, one or more. The last one mints; the others are accepted, so that what they minted lives on while the keys
/// are rotated.
pub struct RootKeys(Vec<(KeyName, Secret<32>)>);

impl RootKeys {
    /// Takes the content of a file or a variable: a line of 64 lower-case hex digits for each key, the newest last.
    ///
    /// # Errors
    /// `BadRequest`, field `capability.root_key`, for anything else, for a key that is there twice and for too many.
    pub fn parse(content: &SecretBytes) -> Result<RootKeys> {
        let text = content.expose();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let mut keys: Vec<(KeyName, Secret<32>)> = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let mut key = [0; KEY_LEN];
            if keys.len() == MAX_KEYS || !read_hex(line, &mut key) {
                key.zeroize();
                return Err(fault("must be 1 to 16 lines of 64 hex digits"));
            }
            let named = (name_of(&key), derive(&key));
            key.zeroize();
            if keys.iter().any(|(name, _)| *name == named.0) {
                return Err(fault("a key is there twice"));
            }
            keys.push(named);
        }
        Ok(RootKeys(keys))
    }

    /// The key of a name.
    pub(crate) fn get(&self, name: &KeyName) -> Option<&Secret<32>> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, key)| key)
    }

    /// The key that mints.
    pub(crate) fn newest(&self) -> Option<&(KeyName, Secret<32>)> {
        self.0.last()
    }

    /// The names of all keys, the newest last.
    pub fn names(&self) -> Vec<KeyName> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

fn name_of(key: &[u8; KEY_LEN]) -> KeyName {
    let mut mac = hmac(key, b"ron-kms/capability-root-key-name/v1");
    let name = mac.first_chunk().copied().unwrap_or_default();
    mac.zeroize();
    name
}

/// Whether there are exactly as many digits as `out` takes.
fn read_hex(digits: &[u8], out: &mut [u8; KEY_LEN]) -> bool {
    let mut good = digits.len() == 2 * KEY_LEN;
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (nibble(pair[0]), nibble(pair[1]));
        good &= high < 16 && low < 16;
        *byte = high << 4 | low & 15;
    }
    good
}

/// 255 for what is no digit.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => 255,
    }
}

fn fault(why: &'static str) -> KmsError {
    KmsError::bad_request(why).field("capability.root_key")
}
