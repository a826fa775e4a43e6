//! The bytes of a macaroon: libmacaroons' version 2 binary format (`doc/format.txt` there), in base64url without padding
//! (RFC 4648, section 5).
//!
//! Stricter than the format: there is one spelling of each macaroon. Lengths are checked before anything is allocated.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Longest token in bytes, as text.
pub const MAX_TOKEN_LEN: usize = 8 * 1024;
/// Most caveats of one macaroon.
pub const MAX_CAVEATS: usize = 64;
/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 32;

const VERSION: u8 = 2;
const END: u64 = 0;
const LOCATION: u64 = 1;
const IDENTIFIER: u64 = 2;
const VERIFICATION_ID: u64 = 4;
const SIGNATURE: u64 = 6;

/// A macaroon, cut into its parts. Nothing about it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Macaroon<'a> {
    /// Where it is for; not under the MAC.
    pub location: Option<&'a [u8]>,
    /// Who it is.
    pub identifier: &'a [u8],
    /// At most [`MAX_CAVEATS`].
    pub caveats: Vec<Packet<'a>>,
    /// The end of the chain: who has it has the token.
    pub signature: &'a [u8; SIGNATURE_LEN],
}

/// A caveat as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Only third-party caveats have one.
    pub location: Option<&'a [u8]>,
    /// What it says.
    pub identifier: &'a [u8],
    /// Only third-party caveats have one.
    pub verification_id: Option<&'a [u8]>,
}

impl Packet<'_> {
    /// Whether somebody else would have to vouch for it.
    pub fn is_third_party(&self) -> bool {
        self.location.is_some() || self.verification_id.is_some()
    }
}

/// The bytes of a token; `None` for text that is too long, padded, or not the one spelling of its bytes.
pub fn decode(token: &str) -> Option<Vec<u8>> {
    if token.len() > MAX_TOKEN_LEN {
        return None;
    }
    URL_SAFE_NO_PAD.decode(token).ok()
}

/// The token of some bytes.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl<'a> Macaroon<'a> {
    /// Cuts bytes; `None` for anything but one macaroon with at most [`MAX_CAVEATS`] caveats and nothing after it.
    pub fn parse(bytes: &'a [u8]) -> Option<Macaroon<'a>> {
        let mut reader = Reader { rest: bytes.strip_prefix(&[VERSION])? };
        let location = reader.optional(LOCATION)?;
        let identifier = reader.needed(IDENTIFIER)?;
        reader.end()?;
        let mut caveats = Vec::new();
        while !reader.at_end() {
            if caveats.len() == MAX_CAVEATS {
                return None;
            }
            let location = reader.optional(LOCATION)?;
            let identifier = reader.needed(IDENTIFIER)?;
            let verification_id = reader.optional(VERIFICATION_ID)?;
            reader.end()?;
            caveats.push(Packet { location, identifier, verification_id });
        }
        reader.end()?;
        let signature = reader.needed(SIGNATURE)?.try_into().ok()?;
        reader.rest.is_empty().then_some(Macaroon { location, identifier, caveats, signature })
    }

    /// The bytes that [`Macaroon::parse`] takes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        push_optional(&mut out, LOCATION, self.location);
        push_field(&mut out, IDENTIFIER, self.identifier);
        push_number(&mut out, END);
        for caveat in &self.caveats {
            push_optional(&mut out, LOCATION, caveat.location);
            push_field(&mut out, IDENTIFIER, caveat.identifier);
            push_optional(&mut out, VERIFICATION_ID, caveat.verification_id);
            push_number(&mut out, END);
        }
        push_number(&mut out, END);
        push_field(&mut out, SIGNATURE, self.signature);
        out
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn at_end(&self) -> bool {
        self.rest.first() == Some(&0)
    }

    fn end(&mut self) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[0])?;
        Some(())
    }

    fn needed(&mut self, kind: u64) -> Option<&'a [u8]> {
        self.optional(kind)?
    }

    /// The field, if it is of this kind. `None` for what is no field.
    #[expect(clippy::option_option, reason = "malformed, absent and present are three things")]
    fn optional(&mut self, kind: u64) -> Option<Option<&'a [u8]>> {
        let before = self.rest;
        let found = self.number()?;
        if found == END || found != kind {
            self.rest = before;
            return Some(None);
        }
        let len = usize::try_from(self.number()?).ok()?;
        let (field, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Some(field))
    }

    /// A varint in its shortest form.
    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        // Nothing here is longer than a token, so three bytes are enough.
        for at in 0..3 {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return (at == 0 || *byte != 0).then_some(value);
            }
        }
        None
    }
}

fn push_optional(out: &mut Vec<u8>, kind: u64, bytes: Option<&[u8]>) {
    if let Some(bytes) = bytes {
        push_field(out, kind, bytes);
    }
}

fn push_field(out: &mut Vec<u8>, kind: u64, bytes: &[u8]) {
    push_number(out, kind);
    push_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
