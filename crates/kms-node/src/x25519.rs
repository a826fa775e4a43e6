//! X25519 with other people's public keys.

use kms_crypto::x25519::{self, PUBLIC_KEY_LEN};
use napi::bindgen_prelude::Uint8ArraySlice;
use napi_derive::napi;

use crate::bytes;
use crate::task::guard;

/// Throws `BadRequest` for a wrong length and for a point of small order, in every encoding.
#[napi]
pub fn x25519_check_public_key(public_key: Uint8ArraySlice<'_>) -> napi::Result<()> {
    guard("x25519CheckPublicKey", || {
        x25519::check_public_key(&bytes::at_most(&public_key, PUBLIC_KEY_LEN)).map(drop)
    })
}
