//! Root keys that need nothing but a file or a passphrase.

mod age_identity;
mod key_file;
mod passphrase;

pub use age_identity::AgeIdentity;
pub use key_file::KeyFile;
pub use passphrase::{Cost, Passphrase};

use kms_core::{ErrorCode, KmsError, Result, Secret, SecretBytes};

use crate::seal;

/// Opens a seal of 32 bytes.
fn open(key: &Secret<32>, header: &[u8], sealed: &[u8]) -> Result<Secret<32>> {
    seal::open(key, header, sealed).and_then(|bytes| secret(&bytes)).ok_or_else(refused)
}

/// The one refusal: another root key and damage look alike.
fn refused() -> KmsError {
    KmsError::new(ErrorCode::StoreUnavailable, "the root key does not open this store")
        .retryable(false)
}

fn secret(bytes: &SecretBytes) -> Option<Secret<32>> {
    let bytes: &[u8; 32] = bytes.expose().try_into().ok()?;
    Some(Secret::fill(|out| out.copy_from_slice(bytes)))
}

#[cfg(test)]
mod tests {
    use kms_core::custody::RootKey;
    use kms_core::{OsEntropy, Secret};

    use super::*;

    fn all(number: u8) -> [Box<dyn RootKey>; 3] {
        let identity = [
            "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX",
            "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33",
        ];
        [
            Box::new(KeyFile::parse(&SecretBytes::copy_of(&[number; 32])).unwrap()),
            Box::new(
                Passphrase::new(SecretBytes::copy_of(&[b'a' + number; 20]), Cost::LEAST).unwrap(),
            ),
            Box::new(
                AgeIdentity::parse(&SecretBytes::copy_of(identity[number as usize].as_bytes()))
                    .unwrap(),
            ),
        ]
    }

    #[test]
    fn a_root_key_opens_what_it_sealed_and_nothing_else() {
        let key = Secret::take(&mut [7; 32]);
        for (own, other) in all(0).into_iter().zip(all(1)) {
            let sealed = own.seal(&key, b"here", &OsEntropy).unwrap();
            let again = own.seal(&key, b"here", &OsEntropy).unwrap();
            assert_ne!(sealed, again, "nothing repeats");
            assert_eq!(own.unseal(&sealed, b"here").unwrap().expose(), key.expose());
            assert!(own.unseal(&sealed, b"there").is_err());
            let error = other.unseal(&sealed, b"here").err().unwrap();
            assert_eq!((error.code.name(), error.retryable), ("StoreUnavailable", false));
            // The parameters of a passphrase are tried by its own tests; here only what is cheap.
            for len in 0..sealed.len().min(8) {
                assert!(own.unseal(&sealed[..len], b"here").is_err());
            }
            let mut flipped = sealed.clone();
            *flipped.last_mut().unwrap() ^= 1;
            assert!(own.unseal(&flipped, b"here").is_err());
        }
    }
}
