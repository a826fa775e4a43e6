//! From a presented passport to the parts that are checked: base64url, header, limits.

use std::borrow::Cow;
use std::ops::Range;

use kms_crypto::ed25519::SIGNATURE_LEN;

use crate::base64url;
use crate::json::Fault;
use crate::jws;
use crate::request::{Form, Item};

/// An item whose outer form was read.
pub(crate) struct Opened<'a> {
    pub(crate) signed: Signed<'a>,
    /// Where the payload is in the arena.
    pub(crate) payload: Range<usize>,
    /// `None` for a wrong length.
    pub(crate) signature: Option<[u8; SIGNATURE_LEN]>,
    pub(crate) kid: Cow<'a, str>,
    pub(crate) audience: Option<Cow<'a, str>>,
    pub(crate) scopes: Vec<Cow<'a, str>>,
}

/// What is signed.
pub(crate) enum Signed<'a> {
    /// The payload, which must be canonical.
    Payload,
    /// So many bytes of a token.
    Token(Cow<'a, str>, usize),
}

/// Why an item could not be opened. A single request is refused for the first and the last.
pub(crate) enum NotOpened {
    /// Not base64url, or not of three parts.
    Undecodable(Fault),
    /// Answered as a verdict.
    Malformed,
    /// A payload over the limit.
    TooLarge,
}

/// Longest protected header, encoded.
const MAX_HEADER: usize = 1024;
const TOKEN: Fault = "has a token that is not three parts";
const BASE64URL: Fault = "has a part that is not base64url without padding";

/// Decodes what is around the payload, and the payload of at most `most` bytes into the arena.
pub(crate) fn open<'a>(
    item: Item<'a>,
    most: usize,
    arena: &mut Vec<u8>,
) -> Result<Opened<'a>, NotOpened> {
    let item = item.ok_or(NotOpened::Malformed)?;
    let start = arena.len();
    let (msg, sig) = match &item.form {
        Form::Envelope { msg, sig, .. } => (&**msg, &**sig),
        Form::Token(token) => {
            let parts = jws::cut(token).ok_or(NotOpened::Undecodable(TOKEN))?;
            (parts.payload, parts.signature)
        }
    };
    // 4 characters for 3 bytes, so this is known before it is decoded.
    if msg.len() * 3 / 4 > most {
        return Err(NotOpened::TooLarge);
    }
    base64url::decode_into(msg, arena).ok_or(NotOpened::Undecodable(BASE64URL))?;
    let payload = start..arena.len();
    let signature = base64url::decode_signature(sig).ok_or(NotOpened::Undecodable(BASE64URL))?;
    let (kid, signed) = match item.form {
        Form::Envelope { alg, kid, .. } => {
            if alg != "Ed25519" {
                return Err(NotOpened::Malformed);
            }
            (kid, Signed::Payload)
        }
        Form::Token(token) => {
            let parts = jws::cut(&token).ok_or(NotOpened::Undecodable(TOKEN))?;
            if parts.header.len() > MAX_HEADER {
                return Err(NotOpened::Malformed);
            }
            let mut header = Vec::new();
            base64url::decode_into(parts.header, &mut header)
                .ok_or(NotOpened::Undecodable(BASE64URL))?;
            let kid = jws::kid(&header).map_err(|_| NotOpened::Malformed)?.into_owned();
            let length = parts.signed.len();
            (Cow::Owned(kid), Signed::Token(token, length))
        }
    };
    Ok(Opened { signed, payload, signature, kid, audience: item.audience, scopes: item.scopes })
}
