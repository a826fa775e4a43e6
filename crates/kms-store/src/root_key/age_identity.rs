//! A root key from an age identity, as `age-keygen` writes it.
//!
//! The identity's 32 bytes serve as key material (through HKDF), so whoever keeps age identities has one kind of
//! secret to look after. What it seals is not an age file: the crate `age` needs an earlier generation of seven crypto
//! crates, and a second copy of each is a worse trade than this.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use kms_core::custody::RootKey;
use kms_core::{Entropy, KmsError, Result, Secret, SecretBytes};

use crate::seal;

/// An X25519 identity (`AGE-SECRET-KEY-1…`).
pub struct AgeIdentity(Secret<32>);

impl AgeIdentity {
    /// Takes the content of an identity file: lines that are empty or begin with `#`, and exactly one identity.
    ///
    /// # Errors
    /// `BadRequest`, field `root_key`, for anything else; plugin and passphrase-protected identities are something
    /// else.
    pub fn parse(content: &SecretBytes) -> Result<AgeIdentity> {
        let fault = || {
            KmsError::bad_request("an age identity file has one line AGE-SECRET-KEY-1…")
                .field("root_key")
        };
        let text = std::str::from_utf8(content.expose()).map_err(|_| fault())?;
        let mut lines = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or_else(fault)?;
        // age writes its secrets in upper case only.
        if lines.next().is_some() || line.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(fault());
        }
        let checked = CheckedHrpstring::new::<Bech32>(line).map_err(|_| fault())?;
        if checked.hrp() != Hrp::parse_unchecked("age-secret-key-") {
            return Err(fault());
        }
        if checked.byte_iter().len() != 32 {
            return Err(fault());
        }
        let scalar = Secret::fill(|out: &mut [u8; 32]| {
            for (to, from) in out.iter_mut().zip(checked.byte_iter()) {
                *to = from;
            }
        });
        Ok(AgeIdentity(seal::subkey(&scalar, "age-identity")?))
    }
}

impl RootKey for AgeIdentity {
    fn kind(&self) -> &'static str {
        "age-identity"
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

    /// The example of age's own specification and documentation.
    const IDENTITY: &str =
        "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

    fn parse(text: &str) -> Result<AgeIdentity> {
        AgeIdentity::parse(&SecretBytes::copy_of(text.as_bytes()))
    }

    #[test]
    fn a_file_of_age_keygen_is_read() {
        let file = format!("# created: 2026-11-24T00:00:00Z\n# public key: age1…\n{IDENTITY}\n");
        assert_eq!(parse(&file).unwrap().0.expose(), parse(IDENTITY).unwrap().0.expose());
    }

    #[test]
    fn anything_else_is_refused() {
        let flipped = IDENTITY.replace("GQ9", "GQ8");
        let two = format!("{IDENTITY}\n{IDENTITY}");
        let lower = IDENTITY.to_lowercase();
        for bad in ["", "# nothing", &flipped, &two, &lower, &IDENTITY[..73], "AGE-PLUGIN-X-1"] {
            assert_eq!(parse(bad).err().unwrap().field.as_deref(), Some("root_key"), "{bad}");
        }
    }
}
