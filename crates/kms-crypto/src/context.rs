//! The context of a signature (FIPS 204, Algorithm 2; FIPS 205, Algorithm 22).

use kms_core::{KmsError, Result};

/// Longest context in bytes.
pub const MAX_CONTEXT_LEN: usize = 255;

/// A context that fits: 0 to 255 bytes. Signatures under one context do not verify under another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context<'a>(&'a [u8]);

impl<'a> Context<'a> {
    /// The context of callers that give none.
    pub const EMPTY: Context<'static> = Context(&[]);

    /// Checks the length.
    ///
    /// # Errors
    /// `BadRequest`, field `context`.
    pub fn new(bytes: &'a [u8]) -> Result<Context<'a>> {
        if bytes.len() > MAX_CONTEXT_LEN {
            return Err(KmsError::bad_request("at most 255 bytes").field("context"));
        }
        Ok(Context(bytes))
    }

    /// A context whose length is checked when this is compiled.
    pub(crate) const fn of_array<const N: usize>(bytes: &'a [u8; N]) -> Context<'a> {
        const { assert!(N <= MAX_CONTEXT_LEN) };
        Context(bytes)
    }

    /// The bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The two bytes in front of the context in the message of a pure signature: 0x00 ‖ length.
    pub(crate) fn prefix(self) -> [u8; 2] {
        [0, u8::try_from(self.0.len()).unwrap_or(u8::MAX)]
    }
}
