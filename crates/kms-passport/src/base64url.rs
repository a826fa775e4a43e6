//! base64url without padding (RFC 4648, section 5), one spelling a value: no padding, white space or trailing bits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Decodes at the end of `out`. `None`, with `out` as it was, for any other spelling.
pub(crate) fn decode_into(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    out.resize(start + text.len() / 4 * 3 + 3, 0);
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut out[start..]);
    out.truncate(start + length.as_ref().copied().unwrap_or(0));
    length.ok().map(drop)
}

/// Decodes a signature. `None` for another spelling, `Some(None)` for another length.
pub(crate) fn decode_signature(text: &str) -> Option<Option<[u8; 64]>> {
    // A longer text need not be decoded to know that its length is wrong, but its spelling counts.
    if text.len() != 86 {
        let mut bytes = Vec::new();
        return decode_into(text, &mut bytes).map(|()| None);
    }
    let mut bytes = [0; 66];
    URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    Some(bytes.first_chunk().copied())
}

/// Encodes at the end of `out`.
pub(crate) fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let length = URL_SAFE_NO_PAD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + length);
}
