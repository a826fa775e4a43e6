//! The only place that reads and writes JavaScript's buffers.
//!
//! A typed array may share its memory with a worker that writes to it meanwhile. So keys, signatures
//! and whatever is signed are copied first; a message that is only verified is read exactly once, by
//! the hash. A typed array whose buffer was detached reads as empty here; TypeScript refuses it before.
//!
//! Reading an object runs the caller's getters, which may detach a buffer whose address is already
//! known: in every export objects and arrays come before buffers.

use kms_core::{KmsError, Result};
use napi::bindgen_prelude::Uint8ArraySlice;

/// Copies exactly `N` bytes.
///
/// # Errors
/// `BadRequest`, naming the argument.
pub(crate) fn fixed<const N: usize>(
    bytes: &Uint8ArraySlice<'_>,
    field: &'static str,
) -> Result<[u8; N]> {
    <[u8; N]>::try_from(bytes.as_ref())
        .map_err(|_| KmsError::bad_request(format!("must be {N} bytes")).field(field))
}

/// Copies all bytes.
pub(crate) fn owned(bytes: &Uint8ArraySlice<'_>) -> Vec<u8> {
    bytes.as_ref().to_vec()
}

/// Copies the bytes, and of more than `most` only one more, which is enough to be refused for its length.
pub(crate) fn at_most(bytes: &Uint8ArraySlice<'_>, most: usize) -> Vec<u8> {
    let bytes = bytes.as_ref();
    bytes[..bytes.len().min(most.saturating_add(1))].to_vec()
}

/// Writes a result into the caller's buffer, which must have exactly its length.
///
/// # Errors
/// `BadRequest`, field `out`.
pub(crate) fn write(out: &mut Uint8ArraySlice<'_>, result: &[u8]) -> Result<()> {
    // SAFETY: the slice is the live memory of a typed array of this call, on the JS thread, and no
    // other reference to it exists: every input was copied or dropped before the result is written.
    let out = unsafe { out.as_mut() };
    if out.len() != result.len() {
        return Err(KmsError::bad_request(format!("must be {} bytes", result.len())).field("out"));
    }
    out.copy_from_slice(result);
    Ok(())
}
