//! Strings: where one ends, what its escapes mean, how it is written.

use std::borrow::Cow;

use super::reader::{Fault, faults};

/// Index of the first quote, backslash or control character at or after `at`; the length where there is none.
#[inline]
pub(super) fn next_special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Each term marks every byte of its kind, and may mark more above one that it marked rightly; the lowest mark of
    // all is right.
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let x = u64::from_le_bytes(*chunk);
        let quote = zero(x ^ (ONES * u64::from(b'"')));
        let backslash = zero(x ^ (ONES * u64::from(b'\\')));
        let control = x.wrapping_sub(ONES * 0x20) & !x;
        let marks = (quote | backslash | control) & HIGH;
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(special).unwrap_or(rest.len())
}

/// Reads a string whose opening quote is before `start`. Gives its text and the index after the closing quote.
///
/// In canonical form an escape is there only where it must be, in the shortest way (RFC 8785, section 3.2.2.2).
pub(super) fn read(
    source: &str,
    start: usize,
    canonical: bool,
) -> Result<(Cow<'_, str>, usize), Fault> {
    let bytes = source.as_bytes();
    let end = next_special(bytes, start);
    match bytes.get(end) {
        Some(b'"') => Ok((Cow::Borrowed(&source[start..end]), end + 1)),
        Some(b'\\') => unescape(source, start, end, canonical),
        Some(_) => Err(faults::CONTROL),
        None => Err(faults::SYNTAX),
    }
}

fn unescape(
    source: &str,
    start: usize,
    first: usize,
    canonical: bool,
) -> Result<(Cow<'_, str>, usize), Fault> {
    let bytes = source.as_bytes();
    let mut text = String::from(&source[start..first]);
    let mut at = first;
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok((Cow::Owned(text), at + 1)),
            Some(b'\\') => {
                let (decoded, next) = escape(bytes, at, canonical)?;
                text.push(decoded);
                at = next;
            }
            Some(byte) if *byte < 0x20 => return Err(faults::CONTROL),
            Some(_) => {
                let end = next_special(bytes, at);
                text.push_str(&source[at..end]);
                at = end;
            }
            None => return Err(faults::SYNTAX),
        }
    }
}

/// The character of the escape at `at`, and the index after it.
fn escape(bytes: &[u8], at: usize, canonical: bool) -> Result<(char, usize), Fault> {
    let short = match bytes.get(at + 1).ok_or(faults::SYNTAX)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' if canonical => return Err(faults::NOT_CANONICAL),
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return long_escape(bytes, at, canonical),
        _ => return Err(faults::SYNTAX),
    };
    Ok((short, at + 2))
}

fn long_escape(bytes: &[u8], at: usize, canonical: bool) -> Result<(char, usize), Fault> {
    let unit = hex4(bytes, at + 2)?;
    if canonical {
        let has_short_form = matches!(unit, 0x8 | 0x9 | 0xa | 0xc | 0xd);
        let lower = !bytes[at + 2..at + 6].iter().any(u8::is_ascii_uppercase);
        if unit >= 0x20 || has_short_form || !lower {
            return Err(faults::NOT_CANONICAL);
        }
    }
    let (code, next) = match unit {
        0xd800..=0xdbff => {
            let pair = bytes.get(at + 6..at + 8) == Some(b"\\u");
            let low = if pair { hex4(bytes, at + 8)? } else { 0 };
            if !(0xdc00..=0xdfff).contains(&low) {
                return Err(faults::SURROGATE);
            }
            (0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00), at + 12)
        }
        0xdc00..=0xdfff => return Err(faults::SURROGATE),
        _ => (unit, at + 6),
    };
    Ok((char::from_u32(code).ok_or(faults::SURROGATE)?, next))
}

fn hex4(bytes: &[u8], at: usize) -> Result<u32, Fault> {
    let digits = bytes.get(at..at + 4).ok_or(faults::SYNTAX)?;
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(faults::SYNTAX)?;
        Ok(value * 16 + digit)
    })
}

/// Writes a string in canonical form (RFC 8785, section 3.2.2.2), with its quotes.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut at = 0;
    loop {
        let end = next_special(bytes, at);
        out.extend_from_slice(&bytes[at..end]);
        let Some(byte) = bytes.get(end) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x8 => out.extend_from_slice(b"\\b"),
            0x9 => out.extend_from_slice(b"\\t"),
            0xa => out.extend_from_slice(b"\\n"),
            0xc => out.extend_from_slice(b"\\f"),
            0xd => out.extend_from_slice(b"\\r"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
        at = end + 1;
    }
    out.push(b'"');
}
