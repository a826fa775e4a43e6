//! A root key of 32 random bytes in a file.

use kms_core::custody::RootKey;
use kms_core::{Entropy, KmsError, Result, Secret, SecretBytes};

use crate::seal;

/// 32 bytes, used as they are.
pub struct KeyFile(Secret<32>);

impl KeyFile {
    /// Takes the content of the file: 32 bytes, or 64 lower-case hex digits with or without a line feed.
    ///
    /// # Errors
    /// `BadRequest`, field `root_key`, for anything else.
    pub fn parse(content: &SecretBytes) -> Result<KeyFile> {
        let bytes = content.expose();
        if bytes.len() == 32 {
            return Ok(KeyFile(Secret::fill(|out| out.copy_from_slice(bytes))));
        }
        let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let mut good = digits.len() == 64;
        let key = Secret::fill(|out: &mut [u8; 32]| {
            for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
                let (high, low) = (nibble(pair[0]), nibble(pair[1]));
                good &= high < 16 && low < 16;
                *byte = high << 4 | low & 15;
            }
        });
        if good {
            Ok(KeyFile(key))
        } else {
            let fault = KmsError::bad_request("a root key file has 32 bytes, or 64 hex digits");
            Err(fault.field("root_key"))
        }
    }
}

/// 255 for what is no digit.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => 255,
    }
}

impl RootKey for KeyFile {
    fn kind(&self) -> &'static str {
        "key-file"
    }

    fn seal(&self, key: &Secret<32>, context: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>> {
        seal::seal(&self.0, context, key.expose(), entropy)
    }

    fn unseal(&self, sealed: &[u8], context: &[u8]) -> Result<Secret<32>> {
        super::open(&self.0, context, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_the_same_key_and_nothing_else_is_one() {
        let parse = |bytes: &[u8]| KeyFile::parse(&SecretBytes::copy_of(bytes));
        let hex = b"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let with_feed = [&hex[..], b"\n"].concat();
        let raw = parse(hex).unwrap();
        assert_eq!(raw.0.expose()[..4], [0x00, 0x11, 0x22, 0x33]);
        assert_eq!(parse(raw.0.expose()).unwrap().0.expose(), raw.0.expose());
        assert_eq!(parse(&with_feed).unwrap().0.expose(), raw.0.expose());
        let upper = hex.to_ascii_uppercase();
        let twice = [&with_feed[..], b"\n"].concat();
        for bad in [&b""[..], &hex[..63], &hex[1..], &upper, &twice, &[0; 31], &[0; 33], &[0; 64]] {
            assert_eq!(parse(bad).err().unwrap().field.as_deref(), Some("root_key"));
        }
    }
}
