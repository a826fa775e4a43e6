//! Bytes in their one spelling: what records are written with and strictly read by.
//!
//! Integers are big-endian. A short text is its length in one byte and UTF-8 without control characters; bytes are
//! their length in two bytes and themselves; an option is 0, or 1 and the value.

use std::str;

use crate::error::Malformed;

/// Appends to a buffer that the caller owns.
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn array(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    pub(crate) fn option(&mut self, value: Option<&[u8]>) {
        self.u8(value.is_some().into());
        self.array(value.unwrap_or_default());
    }

    /// A text of at most 255 bytes.
    pub(crate) fn text(&mut self, field: &'static str, value: &str) -> Result<(), Malformed> {
        let len = u8::try_from(value.len()).map_err(|_| Malformed(field))?;
        check_text(field, value)?;
        self.u8(len);
        self.array(value.as_bytes());
        Ok(())
    }

    /// Bytes, at most 65,535.
    pub(crate) fn bytes(&mut self, field: &'static str, value: &[u8]) -> Result<(), Malformed> {
        let len = u16::try_from(value.len()).map_err(|_| Malformed(field))?;
        self.array(&len.to_be_bytes());
        self.array(value);
        Ok(())
    }

    /// The length of a list, which must be in `1..=max`.
    pub(crate) fn count(
        &mut self,
        field: &'static str,
        len: usize,
        max: u8,
    ) -> Result<(), Malformed> {
        match u8::try_from(len) {
            Ok(len) if len > 0 && len <= max => {
                self.u8(len);
                Ok(())
            }
            _ => Err(Malformed(field)),
        }
    }
}

fn check_text(field: &'static str, value: &str) -> Result<(), Malformed> {
    if value.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        Err(Malformed(field))
    } else {
        Ok(())
    }
}

/// Reads from the front of borrowed bytes; every method names the field that it could not read.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn slice(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], Malformed> {
        let (value, rest) = self.0.split_at_checked(len).ok_or(Malformed(field))?;
        self.0 = rest;
        Ok(value)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], Malformed> {
        let (value, rest) = self.0.split_first_chunk().ok_or(Malformed(field))?;
        self.0 = rest;
        Ok(*value)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array(field)?))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    pub(crate) fn option<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<Option<[u8; N]>, Malformed> {
        match self.u8(field)? {
            0 => Ok(None),
            1 => self.array(field).map(Some),
            _ => Err(Malformed(field)),
        }
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, Malformed> {
        let len = self.u8(field)?;
        let bytes = self.slice(field, len.into())?;
        let text = str::from_utf8(bytes).map_err(|_| Malformed(field))?;
        check_text(field, text)?;
        Ok(text)
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let len = u16::from_be_bytes(self.array(field)?);
        self.slice(field, len.into())
    }

    pub(crate) fn count(&mut self, field: &'static str, max: u8) -> Result<u8, Malformed> {
        match self.u8(field)? {
            len if len > 0 && len <= max => Ok(len),
            _ => Err(Malformed(field)),
        }
    }

    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("length")) }
    }
}
