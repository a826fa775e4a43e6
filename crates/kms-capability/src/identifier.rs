//! The identifier of a capability: `v1:<root key>:<id>[,<id>…]:<name>`.
//!
//! It is under the MAC, so nobody who holds a token can change it: whatever is appended, audit records, op_ids and the list
//! of revoked capabilities see the same one.

use std::fmt;

use kms_core::Name;
use uuid::Uuid;

use crate::root_keys::KeyName;

/// Most ids of one identifier: the capability's own, and those of the capabilities that it was minted with.
pub const MAX_IDS: usize = 4;
/// Longest identifier in bytes. The audit log takes 255.
pub const MAX_LEN: usize = 12 + MAX_IDS * 37 + 64;

/// Who a capability is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifier {
    /// The root key that it was minted with.
    pub root: KeyName,
    /// Its own id first, a UUIDv7 (RFC 9562) of the moment when it was minted; then, for one that was minted with
    /// another capability, that one's, and so on.
    pub ids: Box<[Uuid]>,
    /// For people.
    pub name: Name,
}

impl Identifier {
    /// Parses the one spelling of an identifier.
    pub fn parse(bytes: &[u8]) -> Option<Identifier> {
        if bytes.len() > MAX_LEN {
            return None;
        }
        let mut parts = std::str::from_utf8(bytes).ok()?.split(':');
        if parts.next()? != "v1" {
            return None;
        }
        let root = parse_root(parts.next()?)?;
        let ids = parts.next()?.split(',').map(parse_id).collect::<Option<Box<[Uuid]>>>()?;
        let name = Name::parse(parts.next()?, "name").ok()?;
        let whole = parts.next().is_none() && ids.len() <= MAX_IDS;
        whole.then_some(Identifier { root, ids, name })
    }

    /// Its own id.
    pub fn id(&self) -> Uuid {
        self.ids.first().copied().unwrap_or_default()
    }

    /// When it was minted, in Unix milliseconds.
    pub fn minted_ms(&self) -> u64 {
        self.id().as_u64_pair().0 >> 16
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1:{:08x}:", u32::from_be_bytes(self.root))?;
        for (i, id) in self.ids.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { "," }, id.as_hyphenated())?;
        }
        write!(f, ":{}", self.name.as_str())
    }
}

fn parse_root(text: &str) -> Option<KeyName> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = u32::from_str_radix(text, 16).ok()?;
    (digits && text.len() == 8).then(|| number.to_be_bytes())
}

/// A hyphenated lower-case UUIDv7.
pub(crate) fn parse_id(text: &str) -> Option<Uuid> {
    if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let id = Uuid::try_parse(text).ok()?;
    let is_v7 = id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122;
    is_v7.then_some(id)
}
