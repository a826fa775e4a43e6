//! SLH-DSA verification of public data, without a key service.

use kms_crypto::context::{Context, MAX_CONTEXT_LEN};
use kms_crypto::slh_dsa::{self, PublicKey, Set};
use napi::bindgen_prelude::Uint8ArraySlice;
use napi_derive::napi;

use crate::bytes;
use crate::task::guard;

/// The verdict on one signature. A signature of a wrong length is `false`; a key of a wrong length and a context over
/// 255 bytes throw.
#[napi]
pub fn slh_dsa_verify(
    set: String,
    public_key: Uint8ArraySlice<'_>,
    message: Uint8ArraySlice<'_>,
    context: Uint8ArraySlice<'_>,
    signature: Uint8ArraySlice<'_>,
) -> napi::Result<bool> {
    guard("slhDsaVerify", || {
        let set = Set::parse(&set)?;
        let key = PublicKey::from_bytes(set, &bytes::at_most(&public_key, set.public_key_len()))?;
        let context = bytes::at_most(&context, MAX_CONTEXT_LEN);
        let context = Context::new(&context)?;
        let signature = bytes::at_most(&signature, set.signature_len());
        Ok(slh_dsa::verify(&key, message.as_ref(), context, &signature))
    })
}
