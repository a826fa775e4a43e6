//! Entrances for `fuzz/`, which sees parsers that are private. No part of the API.

use crate::json::Reader;
use crate::{claims, jws, request};

/// Whether bytes are taken as canonical JSON.
pub fn is_canonical(bytes: &[u8]) -> bool {
    let Ok(mut reader) = Reader::<true>::new(bytes, crate::MAX_DEPTH) else { return false };
    reader.skip().and_then(|()| reader.finish()).is_ok()
}

/// Whether bytes are taken as claims of an envelope, and as those of a JWS.
pub fn claims(bytes: &[u8]) -> (bool, bool) {
    let envelope = claims::Claims::read::<true>(bytes).is_ok();
    (envelope, claims::Claims::read::<false>(bytes).is_ok())
}

/// Whether bytes are taken as a protected header.
pub fn header(bytes: &[u8]) -> bool {
    jws::kid(bytes).is_ok()
}

/// Whether bytes are taken as one request, and as a batch.
pub fn requests(bytes: &[u8]) -> (bool, bool) {
    (matches!(request::one(bytes), Ok(Some(_))), request::batch(bytes, 512).is_ok())
}
