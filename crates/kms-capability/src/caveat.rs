//! Caveats: `name = value`, with one space on each side of the sign, lists separated by commas alone.
//!
//! There is one spelling of each name. What is not a caveat of this table denies the whole capability.

use kms_core::{AlgSet, Algorithm, KidPrefix, Name, Scopes, Tenants};

use crate::network::Network;

/// A first-party caveat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caveat {
    /// `scope`: what may be done.
    Scope(Scopes),
    /// `tenant`: whose keys; `*` is every tenant.
    Tenant(Tenants),
    /// `kid`: the first parts of kids, see [`KidPrefix`].
    Kid(Vec<KidPrefix>),
    /// `alg`: what kids show.
    Alg(AlgSet),
    /// `purpose`.
    Purpose(Vec<Box<str>>),
    /// `exp`: until when, in Unix seconds; at that moment it is over.
    Exp(u64),
    /// `nbf`: from when on, in Unix seconds.
    Nbf(u64),
    /// `rps`: requests a second, from 1.
    Rps(u32),
    /// `ip`: addresses and networks of callers.
    Ip(Vec<Network>),
    /// `payload_b3`: BLAKE3-256 of payloads, in lower-case hex.
    PayloadB3(Vec<[u8; 32]>),
}

/// The highest `rps`.
pub const MAX_RPS: u32 = 1_000_000;
/// The highest `exp` and `nbf`: no product with 1,000 is ever near a limit.
const MAX_SECONDS: u64 = 99_999_999_999;

impl Caveat {
    /// Parses a caveat; `None` for anything that is none.
    pub fn parse(bytes: &[u8]) -> Option<Caveat> {
        let text = std::str::from_utf8(bytes).ok()?;
        // Of printable ASCII without the space: nothing that somebody could read otherwise.
        let (name, value) = text.split_once(" = ")?;
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let items = || value.split(',');
        Some(match name {
            "scope" => Caveat::Scope(
                items()
                    .try_fold(Scopes::NONE, |set, item| Some(set.union(Scopes::parse(item)?)))?,
            ),
            "tenant" if value == "*" => Caveat::Tenant(Tenants::All),
            "tenant" => Caveat::Tenant(Tenants::Only(names(value)?)),
            "kid" => Caveat::Kid(items().map(KidPrefix::parse).collect::<Option<_>>()?),
            "alg" => Caveat::Alg(items().try_fold(AlgSet::default(), |set, item| {
                Some(set.with(Algorithm::parse(item).ok()?))
            })?),
            "purpose" => Caveat::Purpose(names(value)?),
            "exp" => Caveat::Exp(seconds(value)?),
            "nbf" => Caveat::Nbf(seconds(value)?),
            "rps" => {
                let rps = number(value).and_then(|rps| u32::try_from(rps).ok())?;
                Caveat::Rps(Some(rps).filter(|rps| (1..=MAX_RPS).contains(rps))?)
            }
            "ip" => Caveat::Ip(items().map(Network::parse).collect::<Option<_>>()?),
            "payload_b3" => Caveat::PayloadB3(items().map(digest).collect::<Option<_>>()?),
            _ => return None,
        })
    }
}

fn names(value: &str) -> Option<Vec<Box<str>>> {
    let name = |item| Name::parse(item, "caveat").ok().map(|name| name.as_str().into());
    value.split(',').map(name).collect()
}

fn seconds(value: &str) -> Option<u64> {
    number(value).filter(|seconds| *seconds <= MAX_SECONDS)
}

/// Decimal digits without a sign and without a zero in front.
fn number(value: &str) -> Option<u64> {
    let plain = value == "0" || !value.starts_with('0');
    let digits = value.len() <= 11 && value.bytes().all(|byte| byte.is_ascii_digit());
    if plain && digits { value.parse().ok() } else { None }
}

fn digest(item: &str) -> Option<[u8; 32]> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut out = [0; 32];
    if item.len() != 64 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(item.as_bytes().chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(out)
}
