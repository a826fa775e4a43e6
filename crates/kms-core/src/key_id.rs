//! Key identifiers: `<tenant>/<purpose>/<alg>/<uuid>#vN`.
//!
//! The part before `#` is the *key*, N the *version*, counted from 1. There is exactly one
//! spelling of each kid: names are case-sensitive, the UUID is lower-case and hyphenated, N has no
//! sign and no leading zero.

use std::fmt;
use std::num::NonZeroU32;

use uuid::Uuid;

use crate::algorithm::Algorithm;
use crate::error::{KmsError, Result};

/// The version of a key, counted from 1.
pub type Version = NonZeroU32;

/// Longest tenant or purpose, in bytes.
pub const MAX_NAME_LEN: usize = 64;
/// Longest kid, in bytes; anything longer is refused before it is looked at.
pub const MAX_KID_LEN: usize = 2 * MAX_NAME_LEN + 96;
/// The tenant whose name is kept for the service's own statements, in any case.
pub const RESERVED_TENANT: &str = "ron-kms";

/// A tenant or a purpose: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// Parses a purpose, or a tenant that need not be creatable.
    ///
    /// # Errors
    /// `BadRequest`, with `field` as given.
    pub fn parse(text: &str, field: &'static str) -> Result<Name> {
        check_name(text, field)?;
        Ok(Name(text.into()))
    }

    /// Parses the tenant of a new key; `ron-kms` is reserved in any case.
    ///
    /// # Errors
    /// `BadRequest`, field `tenant`.
    pub fn parse_tenant(text: &str) -> Result<Name> {
        if text.eq_ignore_ascii_case(RESERVED_TENANT) {
            return Err(KmsError::bad_request("this tenant name is reserved").field("tenant"));
        }
        Name::parse(text, "tenant")
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_name(text: &str, field: &'static str) -> Result<()> {
    let fault = || KmsError::bad_request("must match [A-Za-z0-9][A-Za-z0-9._-]{0,63}").field(field);
    let bytes = text.as_bytes();
    let first_ok = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    let rest_ok =
        bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if first_ok && rest_ok && bytes.len() <= MAX_NAME_LEN { Ok(()) } else { Err(fault()) }
}

/// A key, without a version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyId {
    /// Who the key belongs to.
    pub tenant: Name,
    /// What it is for.
    pub purpose: Name,
    /// The (classical) algorithm.
    pub alg: Algorithm,
    /// Unique among all keys.
    pub uuid: Uuid,
}

impl KeyId {
    /// The kid of a version of this key.
    pub fn at(&self, version: Version) -> Kid {
        Kid { key: self.clone(), version }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.tenant.as_str(),
            self.purpose.as_str(),
            self.alg.name(),
            self.uuid.as_hyphenated()
        )
    }
}

/// A key and one of its versions; prints as `<tenant>/<purpose>/<alg>/<uuid>#vN`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kid {
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: Version,
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#v{}", self.key, self.version)
    }
}

/// A parsed kid that borrows its text: what a look-up needs, without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KidRef<'a> {
    /// Who the key belongs to.
    pub tenant: &'a str,
    /// What it is for.
    pub purpose: &'a str,
    /// The algorithm.
    pub alg: Algorithm,
    /// Unique among all keys.
    pub uuid: Uuid,
    /// `None` where the text had no `#vN`.
    pub version: Option<Version>,
}

impl<'a> KidRef<'a> {
    /// Parses a kid, with or without `#vN`.
    ///
    /// # Errors
    /// `BadRequest`, field `kid`, for anything but the one spelling of a kid.
    pub fn parse(text: &'a str) -> Result<KidRef<'a>> {
        Self::try_parse(text).ok_or_else(|| {
            KmsError::bad_request("must be <tenant>/<purpose>/<alg>/<uuid>#vN").field("kid")
        })
    }

    fn try_parse(text: &'a str) -> Option<KidRef<'a>> {
        if text.len() > MAX_KID_LEN {
            return None;
        }
        let (key, version) = match text.split_once('#') {
            Some((key, version)) => (key, Some(parse_version(version)?)),
            None => (text, None),
        };
        let mut parts = key.split('/');
        let tenant = parts.next()?;
        let purpose = parts.next()?;
        let alg = Algorithm::parse(parts.next()?).ok()?;
        let uuid = parse_uuid(parts.next()?)?;
        if parts.next().is_some() {
            return None;
        }
        check_name(tenant, "kid").ok()?;
        check_name(purpose, "kid").ok()?;
        Some(KidRef { tenant, purpose, alg, uuid, version })
    }

    /// A kid of parts that did not come as one text; they are held to the same rules.
    ///
    /// # Errors
    /// `BadRequest`, field `kid`, for a tenant or purpose that is not a name.
    pub fn from_parts(
        tenant: &'a str,
        purpose: &'a str,
        alg: Algorithm,
        uuid: Uuid,
        version: Option<Version>,
    ) -> Result<KidRef<'a>> {
        check_name(tenant, "kid")?;
        check_name(purpose, "kid")?;
        Ok(KidRef { tenant, purpose, alg, uuid, version })
    }

    /// Whether this kid, its version aside, names `key`.
    pub fn names(&self, key: &KeyId) -> bool {
        self.uuid == key.uuid
            && self.alg == key.alg
            && self.tenant == key.tenant.as_str()
            && self.purpose == key.purpose.as_str()
    }

    /// The version, for operations that need one.
    ///
    /// # Errors
    /// `BadRequest`, field `kid`, where the text had no `#vN`.
    pub fn require_version(&self) -> Result<Version> {
        self.version.ok_or_else(version_needed)
    }
}

impl fmt::Display for KidRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KidRef { tenant, purpose, alg, uuid, version } = self;
        write!(f, "{tenant}/{purpose}/{}/{}", alg.name(), uuid.as_hyphenated())?;
        version.map_or(Ok(()), |version| write!(f, "#v{version}"))
    }
}

impl<'a> From<&'a KeyId> for KidRef<'a> {
    fn from(key: &'a KeyId) -> Self {
        let KeyId { tenant, purpose, alg, uuid } = key;
        KidRef {
            tenant: tenant.as_str(),
            purpose: purpose.as_str(),
            alg: *alg,
            uuid: *uuid,
            version: None,
        }
    }
}

impl<'a> From<&'a Kid> for KidRef<'a> {
    fn from(kid: &'a Kid) -> Self {
        KidRef { version: Some(kid.version), ..KidRef::from(&kid.key) }
    }
}

/// The refusal of a kid without `#vN` where the version is needed.
pub fn version_needed() -> KmsError {
    KmsError::bad_request("the version (#vN) is needed here").field("kid")
}

/// `vN`, N from 1, decimal, no sign, no leading zero.
fn parse_version(text: &str) -> Option<Version> {
    let digits = text.strip_prefix('v')?;
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The hyphenated lower-case form only (RFC 9562, section 4).
fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() != 36 || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    Uuid::try_parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "core/audit/ed25519/0b2e7c1e-1111-4222-8333-444455556666#v3";

    #[test]
    fn a_kid_prints_as_it_was_parsed() {
        let parsed = KidRef::parse(TEXT).unwrap();
        let key = KeyId {
            tenant: Name::parse(parsed.tenant, "tenant").unwrap(),
            purpose: Name::parse(parsed.purpose, "purpose").unwrap(),
            alg: parsed.alg,
            uuid: parsed.uuid,
        };
        assert!(parsed.names(&key));
        assert_eq!(key.at(parsed.version.unwrap()).to_string(), TEXT);
    }

    #[test]
    fn a_borrowed_kid_prints_as_the_kid_it_borrows() {
        let parsed = KidRef::parse(TEXT).unwrap();
        assert_eq!(parsed.to_string(), TEXT);
        assert_eq!(KidRef { version: None, ..parsed }.to_string(), TEXT.trim_end_matches("#v3"));
        let key = KeyId {
            tenant: Name::parse(parsed.tenant, "tenant").unwrap(),
            purpose: Name::parse(parsed.purpose, "purpose").unwrap(),
            alg: parsed.alg,
            uuid: parsed.uuid,
        };
        assert_eq!(KidRef::from(&key.at(parsed.version.unwrap())), parsed);
        let parts = |tenant| KidRef::from_parts(tenant, "audit", parsed.alg, parsed.uuid, None);
        assert!(parts("core").is_ok() && parts("co/re").is_err());
    }

    #[test]
    fn a_kid_without_a_version_is_a_key() {
        let parsed = KidRef::parse(TEXT.split_once('#').unwrap().0).unwrap();
        assert_eq!(parsed.version, None);
        assert_eq!(parsed.require_version().unwrap_err().code.name(), "BadRequest");
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let uuid = "0b2e7c1e-1111-4222-8333-444455556666";
        let long = "a".repeat(65);
        let cases = [
            String::new(),
            "core".into(),
            format!("core/audit/ed25519/{uuid}#v0"),
            format!("core/audit/ed25519/{uuid}#v03"),
            format!("core/audit/ed25519/{uuid}#v+3"),
            format!("core/audit/ed25519/{uuid}#v4294967296"),
            format!("core/audit/ed25519/{uuid}#3"),
            format!("core/audit/ed25519/{uuid}#v3#v3"),
            format!("core/audit/ed25519/{uuid}#"),
            format!("core/audit/ed25519/{uuid}/x#v3"),
            format!("core/audit/ED25519/{uuid}#v3"),
            format!("core/audit/rsa/{uuid}#v3"),
            format!("core/audit/ed25519/{}#v3", uuid.to_uppercase()),
            format!("core/audit/ed25519/{{{uuid}}}#v3"),
            format!("core/audit/ed25519/{}#v3", uuid.replace('-', "")),
            format!("core/audit/ed25519/{}-#v3", &uuid[..35]),
            format!("/audit/ed25519/{uuid}#v3"),
            format!("core//ed25519/{uuid}#v3"),
            format!(".core/audit/ed25519/{uuid}#v3"),
            format!("co re/audit/ed25519/{uuid}#v3"),
            format!("{long}/audit/ed25519/{uuid}#v3"),
            format!("cör/audit/ed25519/{uuid}#v3"),
            format!(" core/audit/ed25519/{uuid}#v3"),
            format!("core/audit/ed25519/{uuid}#v3\n"),
        ];
        for case in cases {
            let error = KidRef::parse(&case).expect_err(&case);
            assert_eq!((error.code.name(), error.field.as_deref()), ("BadRequest", Some("kid")));
        }
    }

    #[test]
    fn the_tenant_of_our_own_statements_is_reserved_in_any_case() {
        for name in ["ron-kms", "RON-KMS", "Ron-Kms"] {
            assert!(Name::parse_tenant(name).is_err());
        }
        assert!(Name::parse_tenant("ron-kms2").is_ok());
    }
}
