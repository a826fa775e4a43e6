//! HKDF (RFC 5869) with SHA-256 and SHA-512, and the labels of derived keys.

use hkdf::Hkdf;
use kms_core::{KmsError, Name, Result, SecretBytes};
use sha2::{Sha256, Sha512};

use crate::stack::{LIGHT, scrubbed};

/// Longest context of a label in bytes.
pub const MAX_LABEL_CONTEXT_LEN: usize = 256;

/// The hash below HKDF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256: at most 8,160 bytes.
    #[default]
    Sha256,
    /// SHA-512: at most 16,320 bytes.
    Sha512,
}

impl Hash {
    /// The most that can be derived at once, in bytes (section 2.3: 255 outputs of the hash).
    pub const fn max_len(self) -> usize {
        match self {
            Hash::Sha256 => 255 * 32,
            Hash::Sha512 => 255 * 64,
        }
    }
}

/// HKDF-Extract and HKDF-Expand (sections 2.2 and 2.3), into place. An empty `salt` is a string of zeros.
///
/// # Errors
/// `BadRequest`, field `length`, for more than [`Hash::max_len`].
pub fn derive_into(hash: Hash, salt: &[u8], key: &[u8], info: &[u8], out: &mut [u8]) -> Result<()> {
    // `None` where there is no salt is the same string of zeros.
    let expanded = scrubbed::<LIGHT, _>(|| match hash {
        Hash::Sha256 => Hkdf::<Sha256>::new(Some(salt), key).expand(info, out),
        Hash::Sha512 => Hkdf::<Sha512>::new(Some(salt), key).expand(info, out),
    });
    expanded.map_err(|_| KmsError::bad_request("more than HKDF can derive").field("length"))
}

/// [`derive_into`] fresh secret memory.
///
/// # Errors
/// As [`derive_into`].
pub fn derive(hash: Hash, salt: &[u8], key: &[u8], info: &[u8], len: usize) -> Result<SecretBytes> {
    if len > hash.max_len() {
        return Err(KmsError::bad_request("more than HKDF can derive").field("length"));
    }
    let mut result = Ok(());
    let out = SecretBytes::fill(len, |out| result = derive_into(hash, salt, key, info, out));
    result.map(|()| out)
}

/// The label that every key derived for a caller carries as HKDF's `info`:
/// `ron-kms::<tenant>::<purpose>::<context>`.
///
/// Names hold no colon, so two labels are equal only if all three parts are; and no label of ours begins so, so no
/// caller derives what the service derives for itself.
///
/// # Errors
/// `BadRequest`, field `context`, unless the context has 1 to 256 bytes without control characters.
pub fn derive_label(tenant: &Name, purpose: &Name, context: &str) -> Result<String> {
    let fault = |why: &'static str| Err(KmsError::bad_request(why).field("context"));
    if context.is_empty() || context.len() > MAX_LABEL_CONTEXT_LEN {
        return fault("must have 1 to 256 bytes");
    }
    if context.chars().any(char::is_control) {
        return fault("must not hold control characters");
    }
    Ok(format!("ron-kms::{}::{}::{context}", tenant.as_str(), purpose.as_str()))
}

#[cfg(test)]
mod tests {
    use kms_testkit::vectors;

    use super::*;

    #[test]
    fn wycheproof() {
        for (hash, name) in [(Hash::Sha256, "hkdf_sha256"), (Hash::Sha512, "hkdf_sha512")] {
            let file = vectors::json(&format!("wycheproof/{name}_test.json"));
            for case in vectors::cases(&file) {
                let field = |name| vectors::hex_field(case, name);
                let len = case["size"].as_u64().expect("a size") as usize;
                let derived = derive(hash, &field("salt"), &field("ikm"), &field("info"), len);
                let name = format!("{name} tcId {}", case["tcId"]);
                match derived {
                    Ok(derived) => assert_eq!(derived.expose(), field("okm"), "{name}"),
                    Err(error) => {
                        assert_eq!(case["result"], "invalid", "{name}");
                        assert_eq!(error.field.as_deref(), Some("length"));
                    }
                }
            }
        }
    }

    #[test]
    fn lengths_up_to_the_limit_are_derived() {
        for hash in [Hash::Sha256, Hash::Sha512] {
            let whole = derive(hash, b"", b"k", b"", hash.max_len()).expect("the most");
            let part = derive(hash, b"", b"k", b"", 7).expect("a little");
            assert_eq!(whole.expose()[..7], *part.expose());
            assert!(derive(hash, b"", b"k", b"", hash.max_len() + 1).is_err());
        }
    }

    #[test]
    fn labels_name_tenant_purpose_and_context() {
        let name = |text| Name::parse(text, "tenant").expect("a name");
        let (tenant, purpose) = (name("acme"), name("db.at-rest"));
        assert_eq!(
            derive_label(&tenant, &purpose, "table::users é").unwrap(),
            "ron-kms::acme::db.at-rest::table::users é"
        );
        let longest = "x".repeat(MAX_LABEL_CONTEXT_LEN);
        assert!(derive_label(&tenant, &purpose, &longest).is_ok());
        for bad in ["", &format!("{longest}x"), "a\nb", "\u{7f}", "\u{85}"] {
            let error = derive_label(&tenant, &purpose, bad).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("context"));
        }
    }
}
