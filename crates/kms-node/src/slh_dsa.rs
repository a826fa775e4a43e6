//! SLH-DSA verification of public data, without a key service.

use kms_core::Result;
use kms_crypto::context::{Context, MAX_CONTEXT_LEN};
use kms_crypto::slh_dsa::{self, PublicKey, Set};
use napi::Env;
use napi::bindgen_prelude::{Object, Uint8ArraySlice};
use napi_derive::napi;

use crate::bytes;
use crate::task::{guard, pool, spawn};

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
        let signed = Signed::copy(&set, &public_key, &context, &signature)?;
        signed.verify(message.as_ref())
    })
}

/// As `slhDsaVerify`, on the addon's threads; the inputs are copied before this returns.
#[napi(ts_return_type = "Promise<boolean>")]
pub fn slh_dsa_verify_async<'env>(
    env: &'env Env,
    set: String,
    public_key: Uint8ArraySlice<'_>,
    message: Uint8ArraySlice<'_>,
    context: Uint8ArraySlice<'_>,
    signature: Uint8ArraySlice<'_>,
) -> napi::Result<Object<'env>> {
    let signed =
        guard("slhDsaVerifyAsync", || Signed::copy(&set, &public_key, &context, &signature))?;
    let message = bytes::owned(&message);
    let work = move || signed.verify(&message);
    spawn(env, pool(), "slhDsaVerifyAsync.task", work, |_, verdict| Ok(verdict))
}

/// What is checked beside the message.
struct Signed {
    key: PublicKey,
    context: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    fn copy(
        set: &str,
        public_key: &Uint8ArraySlice<'_>,
        context: &Uint8ArraySlice<'_>,
        signature: &Uint8ArraySlice<'_>,
    ) -> Result<Signed> {
        let set = Set::parse(set)?;
        let key = PublicKey::from_bytes(set, &bytes::at_most(public_key, set.public_key_len()))?;
        let context = bytes::at_most(context, MAX_CONTEXT_LEN);
        Context::new(&context)?;
        let signature = bytes::at_most(signature, set.signature_len());
        Ok(Signed { key, context, signature })
    }

    fn verify(&self, message: &[u8]) -> Result<bool> {
        Ok(slh_dsa::verify(&self.key, message, Context::new(&self.context)?, &self.signature))
    }
}
