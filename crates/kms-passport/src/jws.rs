//! Compact JWS (RFC 7515, section 7.1), of which little is taken.

use std::borrow::Cow;

use crate::base64url;
use crate::json::{Fault, Kind, Reader, faults};

/// The parts of a token, still encoded.
pub(crate) struct Compact<'a> {
    pub(crate) header: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) signature: &'a str,
    /// What is signed: the first two parts and the dot between them.
    pub(crate) signed: &'a str,
}

/// Cuts a token into its three parts.
pub(crate) fn cut(token: &str) -> Option<Compact<'_>> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    // A fourth part's dot would be no base64url, so it is found when the payload is decoded.
    Some(Compact { header, payload, signature, signed })
}

/// The kid of a protected header.
///
/// # Errors
/// For any header but `alg`, `kid` and `typ`: one that carries a key (`jwk`), says where to fetch one (`jku`, `x5u`),
/// demands understanding (`crit`) or changes what is signed (`b64`) has no effect here, and no entry.
pub(crate) fn kid(header: &[u8]) -> Result<Cow<'_, str>, Fault> {
    let mut reader = Reader::<false>::new(header, 1)?;
    let (mut alg, mut kid, mut typ) = (None, None, None);
    let mut more = reader.begin_object()?;
    while more {
        let name = reader.name()?;
        let slot = match &*name {
            "alg" => &mut alg,
            "kid" => &mut kid,
            "typ" => &mut typ,
            _ => return Err(faults::HEADER),
        };
        if slot.is_some() {
            return Err(faults::DUPLICATE);
        }
        if reader.peek()? != Kind::String {
            return Err(faults::HEADER);
        }
        *slot = Some(reader.string()?);
        more = reader.more_members()?;
    }
    reader.finish()?;
    let is_ours = matches!(alg.as_deref(), Some("EdDSA" | "Ed25519"));
    // A media type, so in either case (RFC 7515, section 4.1.9).
    let is_jwt = typ.is_none_or(|typ: Cow<'_, str>| typ.eq_ignore_ascii_case("JWT"));
    if is_ours && is_jwt { kid.ok_or(faults::HEADER) } else { Err(faults::HEADER) }
}

/// Writes the protected header and the payload, which is what is signed.
pub(crate) fn signing_input(kid: &str, payload: &[u8]) -> Vec<u8> {
    let mut header = crate::json::Writer::new(64 + kid.len());
    header.out.extend_from_slice(br#"{"alg":"EdDSA","kid":"#);
    header.string(kid);
    header.out.extend_from_slice(br#","typ":"JWT"}"#);
    let mut signed = Vec::with_capacity((header.out.len() + payload.len()) * 4 / 3 + 8);
    base64url::encode_into(&header.out, &mut signed);
    signed.push(b'.');
    base64url::encode_into(payload, &mut signed);
    signed
}
