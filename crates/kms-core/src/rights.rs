//! What a caller may do, and with which keys: a capability, resolved into what is cheap to ask.
//!
//! Every question is answered from the text of a request alone, so nobody learns by a refusal whether a key exists.

use std::fmt;

use uuid::Uuid;

use crate::algorithm::Algorithm;
use crate::error::{ErrorCode, KmsError, Result};
use crate::key_id::{KidRef, Name, Version};

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scopes(u16);

impl Scopes {
    /// No scope.
    pub const NONE: Scopes = Scopes(0);
    /// `kms:read`: shows keys, evidence and the audit log.
    pub const READ: Scopes = Scopes(1);
    /// `kms:sign`.
    pub const SIGN: Scopes = Scopes(1 << 1);
    /// `kms:verify`.
    pub const VERIFY: Scopes = Scopes(1 << 2);
    /// `kms:wrap`.
    pub const WRAP: Scopes = Scopes(1 << 3);
    /// `kms:unwrap`.
    pub const UNWRAP: Scopes = Scopes(1 << 4);
    /// `kms:rotate`: makes keys and versions.
    pub const ROTATE: Scopes = Scopes(1 << 5);
    /// `kms:import`.
    pub const IMPORT: Scopes = Scopes(1 << 6);
    /// `kms:destroy`: takes keys out of use, for a time or for good.
    pub const DESTROY: Scopes = Scopes(1 << 7);
    /// `kms:admin`: mints capabilities.
    pub const ADMIN: Scopes = Scopes(1 << 8);
    /// `passport:issue`.
    pub const PASSPORT_ISSUE: Scopes = Scopes(1 << 9);
    /// `passport:admin`.
    pub const PASSPORT_ADMIN: Scopes = Scopes(1 << 10);

    /// Every scope by its name; the position is that of its bit.
    pub const NAMES: [&str; 11] = [
        "kms:read",
        "kms:sign",
        "kms:verify",
        "kms:wrap",
        "kms:unwrap",
        "kms:rotate",
        "kms:import",
        "kms:destroy",
        "kms:admin",
        "passport:issue",
        "passport:admin",
    ];

    /// The scope of a name.
    pub fn parse(name: &str) -> Option<Scopes> {
        Self::NAMES.iter().position(|known| *known == name).map(|bit| Scopes(1 << bit))
    }

    /// The set of some bits; `None` where one of them is no scope.
    pub fn from_bits(bits: u16) -> Option<Scopes> {
        (bits >> Self::NAMES.len() == 0).then_some(Scopes(bits))
    }

    /// Those in either set.
    #[must_use]
    pub const fn union(self, other: Scopes) -> Scopes {
        Scopes(self.0 | other.0)
    }

    /// Those in both sets.
    #[must_use]
    pub const fn intersection(self, other: Scopes) -> Scopes {
        Scopes(self.0 & other.0)
    }

    /// Whether all of `needed` are in the set.
    pub const fn contains(self, needed: Scopes) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names, in the order of [`Scopes::NAMES`].
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & (1 << bit) != 0)
            .map(|it| *it.1)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// A set of algorithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlgSet(u32);

// One bit an algorithm.
const _: () = assert!(Algorithm::ALL.len() <= 32);

impl AlgSet {
    /// The same set with one more.
    #[must_use]
    pub const fn with(self, alg: Algorithm) -> AlgSet {
        AlgSet(self.0 | 1 << alg.index())
    }

    /// Those in both sets.
    #[must_use]
    pub const fn intersection(self, other: AlgSet) -> AlgSet {
        AlgSet(self.0 & other.0)
    }

    /// Whether it is in the set.
    pub const fn contains(self, alg: Algorithm) -> bool {
        self.0 & 1 << alg.index() != 0
    }
}

/// A set of tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// Every one: `*`, which is no name of a tenant.
    All,
    /// These.
    Only(Vec<Box<str>>),
}

impl Tenants {
    /// Whether it is in the set.
    pub fn contains(&self, tenant: &str) -> bool {
        match self {
            Tenants::All => true,
            Tenants::Only(names) => names.iter().any(|name| **name == *tenant),
        }
    }

    /// Those in both sets.
    #[must_use]
    pub fn intersection(self, other: Tenants) -> Tenants {
        match (self, other) {
            (Tenants::All, other) | (other, Tenants::All) => other,
            (Tenants::Only(own), other) => {
                Tenants::Only(own.into_iter().filter(|name| other.contains(name)).collect())
            }
        }
    }

    /// Whether all of `other` are in this set.
    pub fn includes(&self, other: &Tenants) -> bool {
        match (self, other) {
            (Tenants::All, _) => true,
            (Tenants::Only(_), Tenants::All) => false,
            (own, Tenants::Only(names)) => names.iter().all(|name| own.contains(name)),
        }
    }

    /// The tenant, where there is exactly one.
    pub fn only(&self) -> Option<&str> {
        match self {
            Tenants::Only(names) if names.len() == 1 => names.first().map(|name| &**name),
            _ => None,
        }
    }
}

/// The first parts of a kid, each whole: `core/a` fits `core/a/…` and never `core/ab/…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KidPrefix {
    tenant: Box<str>,
    purpose: Option<Box<str>>,
    alg: Option<Algorithm>,
    uuid: Option<Uuid>,
    version: Option<Version>,
}

impl KidPrefix {
    /// Parses one to four parts of a kid with or without a slash after them, or a kid with its version. `None` for
    /// anything else: a part is never cut.
    pub fn parse(text: &str) -> Option<KidPrefix> {
        let open = text.strip_suffix('/').unwrap_or(text);
        let parts = open.split('/').count();
        if parts == 4 && open.len() == text.len() {
            let kid = KidRef::parse(text).ok()?;
            return Some(KidPrefix {
                tenant: kid.tenant.into(),
                purpose: Some(kid.purpose.into()),
                alg: Some(kid.alg),
                uuid: Some(kid.uuid),
                version: kid.version,
            });
        }
        if parts > 3 {
            return None;
        }
        let mut parts = open.split('/');
        let name = |part: &str| Name::parse(part, "kid").ok().map(|name| name.as_str().into());
        let tenant = name(parts.next()?)?;
        let purpose = parts.next().map(|part| name(part).ok_or(())).transpose().ok()?;
        let alg = parts.next().map(Algorithm::parse).transpose().ok()?;
        Some(KidPrefix { tenant, purpose, alg, uuid: None, version: None })
    }

    /// Whether it fits a kid. One with a version fits that version only, named: a kid without a version means the head,
    /// whichever that is.
    pub fn fits(&self, kid: &KidRef<'_>) -> bool {
        self.fits_new(kid.tenant, kid.purpose, kid.alg).unwrap_or_else(|| {
            self.fits_parts(kid.tenant, kid.purpose, kid.alg)
                && self.uuid == Some(kid.uuid)
                && (self.version.is_none() || self.version == kid.version)
        })
    }

    /// Whether it fits every key of these parts; `None` where that depends on the key.
    fn fits_new(&self, tenant: &str, purpose: &str, alg: Algorithm) -> Option<bool> {
        self.uuid.is_none().then(|| self.fits_parts(tenant, purpose, alg))
    }

    fn fits_parts(&self, tenant: &str, purpose: &str, alg: Algorithm) -> bool {
        *self.tenant == *tenant
            && self.purpose.as_deref().is_none_or(|own| own == purpose)
            && self.alg.is_none_or(|own| own == alg)
    }
}

/// What a caller may do. Every restriction holds on its own, whatever the others say.
#[derive(Clone, Debug)]
pub struct Rights {
    /// Operations.
    pub scopes: Scopes,
    /// Tenants whose keys may be touched.
    pub tenants: Tenants,
    /// Of each list one prefix must fit.
    pub kids: Vec<Vec<KidPrefix>>,
    /// Algorithms that kids may show; `None` for every one.
    pub algs: Option<AlgSet>,
    /// Purposes that kids may show; `None` for every one.
    pub purposes: Option<Vec<Box<str>>>,
    /// BLAKE3-256 of the payloads that may be signed or verified; `None` for every one. Where there is a list, nothing
    /// but signing and verifying is allowed.
    pub payloads: Option<Vec<[u8; 32]>>,
    /// The caveats as they were written, for what is minted within them.
    pub caveats: Box<[Box<str>]>,
    /// The capability's id, and those that it was minted with, up to the one that an operator made.
    pub ids: Box<[Uuid]>,
}

impl Rights {
    /// Refuses what needs a scope that is not there.
    ///
    /// # Errors
    /// `NoCapability`, field `scope`.
    pub fn permit_scopes(&self, needed: Scopes) -> Result<()> {
        if self.scopes.contains(needed) { Ok(()) } else { Err(refused("scope")) }
    }

    /// Refuses a tenant.
    ///
    /// # Errors
    /// `NoCapability`, field `tenant`.
    pub fn permit_tenant(&self, tenant: &str) -> Result<()> {
        if self.tenants.contains(tenant) { Ok(()) } else { Err(refused("tenant")) }
    }

    /// Refuses the use of a key, or of the version that the kid names.
    ///
    /// # Errors
    /// `NoCapability`, field `kid`, whether or not there is such a key.
    pub fn permit_kid(&self, kid: &KidRef<'_>) -> Result<()> {
        let fits = |list: &Vec<KidPrefix>| list.iter().any(|prefix| prefix.fits(kid));
        if self.permits_parts(kid.tenant, kid.purpose, kid.alg) && self.kids.iter().all(fits) {
            return Ok(());
        }
        Err(refused("kid"))
    }

    /// Refuses what touches a key as a whole, or makes a version of it, even where the kid names a version.
    ///
    /// # Errors
    /// As [`Rights::permit_kid`].
    pub fn permit_key(&self, kid: &KidRef<'_>) -> Result<()> {
        self.permit_kid(&KidRef { version: None, ..*kid })
    }

    /// Refuses to make a key whose UUID is not known yet: a prefix that names one fits none.
    ///
    /// # Errors
    /// `NoCapability`, naming the field that is at fault.
    pub fn permit_new_key(&self, tenant: &str, purpose: &str, alg: Algorithm) -> Result<()> {
        self.permit_tenant(tenant)?;
        if !self.permits_purpose(purpose) {
            return Err(refused("purpose"));
        }
        let fits = |list: &Vec<KidPrefix>| {
            list.iter().any(|prefix| prefix.fits_new(tenant, purpose, alg) == Some(true))
        };
        match self.permits_alg(alg) {
            true if self.kids.iter().all(fits) => Ok(()),
            true => Err(refused("kid")),
            false => Err(refused("alg")),
        }
    }

    /// Refuses to sign or verify another payload than those named, given by its BLAKE3-256, which is asked for only where
    /// it matters.
    ///
    /// # Errors
    /// `NoCapability`, field `payload_b3`.
    pub fn permit_payload(&self, digest: impl FnOnce() -> [u8; 32]) -> Result<()> {
        match &self.payloads {
            Some(allowed) if !allowed.contains(&digest()) => Err(refused("payload_b3")),
            _ => Ok(()),
        }
    }

    /// Refuses what has no payload, where payloads are named.
    ///
    /// # Errors
    /// `NoCapability`, field `payload_b3`.
    pub fn permit_without_payload(&self) -> Result<()> {
        if self.payloads.is_some() { Err(refused("payload_b3")) } else { Ok(()) }
    }

    /// Whether all matters of a tenant may be seen, not those of single keys only.
    pub fn covers_tenant(&self, tenant: &str) -> bool {
        self.tenants.contains(tenant) && self.names_no_keys()
    }

    /// Whether the matters of the service itself may be seen: those of no tenant.
    pub fn covers_service(&self) -> bool {
        self.tenants == Tenants::All && self.names_no_keys()
    }

    fn names_no_keys(&self) -> bool {
        let Rights { kids, algs, purposes, payloads, .. } = self;
        kids.is_empty() && algs.is_none() && purposes.is_none() && payloads.is_none()
    }

    fn permits_parts(&self, tenant: &str, purpose: &str, alg: Algorithm) -> bool {
        self.tenants.contains(tenant) && self.permits_purpose(purpose) && self.permits_alg(alg)
    }

    fn permits_purpose(&self, purpose: &str) -> bool {
        let named = |names: &Vec<Box<str>>| names.iter().any(|name| **name == *purpose);
        self.purposes.as_ref().is_none_or(named)
    }

    fn permits_alg(&self, alg: Algorithm) -> bool {
        self.algs.is_none_or(|algs| algs.contains(alg))
    }
}

/// The one refusal of what a capability does not cover.
fn refused(field: &'static str) -> KmsError {
    KmsError::new(ErrorCode::NoCapability, "the capability does not cover this").field(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0b2e7c1e-1111-4222-8333-444455556666";

    fn rights() -> Rights {
        Rights {
            scopes: Scopes::SIGN,
            tenants: Tenants::Only(vec!["core".into()]),
            kids: vec![],
            algs: None,
            purposes: None,
            payloads: None,
            caveats: Box::default(),
            ids: Box::default(),
        }
    }

    fn fits(prefix: &str, kid: &str) -> bool {
        KidPrefix::parse(prefix).unwrap().fits(&KidRef::parse(kid).unwrap())
    }

    #[test]
    fn a_prefix_ends_where_a_part_of_the_kid_ends() {
        let kid = format!("core/audit/ed25519/{UUID}");
        for good in ["core", "core/", "core/audit", "core/audit/", "core/audit/ed25519", &kid] {
            assert!(fits(good, &kid), "{good}");
            assert!(fits(good, &format!("{kid}#v7")), "{good}");
        }
        for other in ["cor", "core2", "core/aud", "core/audits", "core/audit/ml-dsa"] {
            assert!(!fits(other, &kid), "{other}");
        }
        let short = format!("core/a/ed25519/{UUID}");
        assert!(fits("core/a", &short));
        assert!(!fits("core/a", &short.replace("/a/", "/ab/")));
    }

    #[test]
    fn a_prefix_with_a_version_fits_that_version_alone() {
        let kid = format!("core/audit/ed25519/{UUID}");
        let first = format!("{kid}#v1");
        assert!(fits(&first, &first));
        assert!(!fits(&first, &format!("{kid}#v12")));
        assert!(!fits(&first, &kid), "the head may be another");
        let mut rights = rights();
        rights.kids = vec![vec![KidPrefix::parse(&first).unwrap()]];
        let named = KidRef::parse(&first).unwrap();
        assert!(rights.permit_kid(&named).is_ok());
        assert!(rights.permit_key(&named).is_err(), "another version would be made of it");
    }

    #[test]
    fn parts_that_are_no_parts_are_no_prefix() {
        let bad = [
            "",
            "/",
            "/core",
            "core//",
            "core//ed25519",
            "co re",
            "core/audit/rsa",
            "core/audit/ed25519/0b2e",
            "core/audit/ed25519/0b2e7c1e-1111-4222-8333-444455556666#",
            "core/audit/ed25519/0b2e7c1e-1111-4222-8333-444455556666#v0",
            "core/audit/ed25519/0b2e7c1e-1111-4222-8333-444455556666/x",
            "core/audit/ed25519/0b2e7c1e-1111-4222-8333-444455556666/x/y",
            "core#v1",
            "*",
        ];
        for text in bad {
            assert_eq!(KidPrefix::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_new_key_has_no_uuid_that_a_prefix_could_name() {
        let mut rights = rights();
        let new = |rights: &Rights| rights.permit_new_key("core", "audit", Algorithm::Ed25519);
        rights.kids = vec![vec![KidPrefix::parse("core/audit").unwrap()]];
        assert!(new(&rights).is_ok());
        let whole = format!("core/audit/ed25519/{UUID}");
        rights.kids.push(vec![KidPrefix::parse(&whole).unwrap()]);
        assert_eq!(new(&rights).unwrap_err().field.as_deref(), Some("kid"));
        let other = rights.permit_new_key("other", "audit", Algorithm::Ed25519).unwrap_err();
        assert_eq!((other.code, other.field.as_deref()), (ErrorCode::NoCapability, Some("tenant")));
    }

    #[test]
    fn named_payloads_leave_only_what_has_one() {
        let mut rights = rights();
        assert!(rights.permit_payload(|| unreachable!("nothing is named")).is_ok());
        rights.payloads = Some(vec![[7; 32]]);
        assert!(rights.permit_payload(|| [7; 32]).is_ok());
        assert!(rights.permit_payload(|| [8; 32]).is_err());
        assert!(rights.permit_without_payload().is_err());
    }

    #[test]
    fn every_scope_has_one_name_and_one_bit() {
        for (bit, name) in Scopes::NAMES.iter().enumerate() {
            let scope = Scopes::parse(name).unwrap();
            assert_eq!(scope, Scopes::from_bits(1 << bit).unwrap());
            assert_eq!(scope.names().collect::<Vec<_>>(), [*name]);
        }
        assert_eq!(Scopes::parse("passport:admin"), Some(Scopes::PASSPORT_ADMIN));
        assert_eq!(Scopes::from_bits(1 << 11), None);
        assert_eq!(Scopes::parse("kms:*"), None);
    }
}
