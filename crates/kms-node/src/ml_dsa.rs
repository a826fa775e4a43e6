//! ML-DSA verification of public data, without a key service.

use kms_core::Result;
use kms_crypto::context::{Context, MAX_CONTEXT_LEN};
use kms_crypto::lane::Lane;
use kms_crypto::ml_dsa::{self, PublicKey, Set};
use napi::Env;
use napi::bindgen_prelude::{Object, Uint8ArraySlice};
use napi_derive::napi;

use crate::bytes;
use crate::lane;
use crate::task::{guard, pool, spawn};

/// The verdict on one signature. A signature of a wrong length is `false`; a key of a wrong length and a context over
/// 255 bytes throw.
#[napi]
pub fn ml_dsa_verify(
    set: String,
    lane_number: u32,
    public_key: Uint8ArraySlice<'_>,
    message: Uint8ArraySlice<'_>,
    context: Uint8ArraySlice<'_>,
    signature: Uint8ArraySlice<'_>,
) -> napi::Result<bool> {
    guard("mlDsaVerify", || {
        let key = import(&set, &public_key)?;
        verify(lane::numbered(lane_number)?, &key, &message, &context, &signature)
    })
}

/// As `mlDsaVerify`, on the addon's threads; the inputs are copied before this returns.
#[napi(ts_return_type = "Promise<boolean>")]
pub fn ml_dsa_verify_async<'env>(
    env: &'env Env,
    set: String,
    lane_number: u32,
    public_key: Uint8ArraySlice<'_>,
    message: Uint8ArraySlice<'_>,
    context: Uint8ArraySlice<'_>,
    signature: Uint8ArraySlice<'_>,
) -> napi::Result<Object<'env>> {
    let (lane, key, context) = guard("mlDsaVerifyAsync", || {
        let context = bytes::at_most(&context, MAX_CONTEXT_LEN);
        Context::new(&context)?;
        Ok((lane::numbered(lane_number)?, import(&set, &public_key)?, context))
    })?;
    let signature = bytes::at_most(&signature, key.set().signature_len());
    let message = bytes::owned(&message);
    let work = move || {
        let context = Context::new(&context)?;
        Ok(ml_dsa::verify(lane, &key, &message, context, &signature))
    };
    spawn(env, pool(), "mlDsaVerifyAsync.task", work, |_, verdict| Ok(verdict))
}

/// As `mlDsaVerify`, of the 64 bytes μ that stand for a message.
#[napi]
pub fn ml_dsa_verify_mu(
    set: String,
    lane_number: u32,
    public_key: Uint8ArraySlice<'_>,
    mu: Uint8ArraySlice<'_>,
    signature: Uint8ArraySlice<'_>,
) -> napi::Result<bool> {
    guard("mlDsaVerifyMu", || {
        let key = import(&set, &public_key)?;
        verify_mu(lane::numbered(lane_number)?, &key, &mu, &signature)
    })
}

/// A public key with its hash, and with its expanded form from its first verification in the lane `rustcrypto` on.
#[napi]
pub struct MlDsaPublicKey {
    key: PublicKey,
}

#[napi]
impl MlDsaPublicKey {
    /// Decodes a public key; throws `BadRequest` for a wrong length.
    #[napi(constructor)]
    pub fn new(set: String, public_key: Uint8ArraySlice<'_>) -> napi::Result<Self> {
        guard("MlDsaPublicKey", || Ok(Self { key: import(&set, &public_key)? }))
    }

    /// As `mlDsaVerify`, without hashing the key again.
    #[napi]
    pub fn verify(
        &self,
        lane_number: u32,
        message: Uint8ArraySlice<'_>,
        context: Uint8ArraySlice<'_>,
        signature: Uint8ArraySlice<'_>,
    ) -> napi::Result<bool> {
        guard("MlDsaPublicKey.verify", || {
            verify(lane::numbered(lane_number)?, &self.key, &message, &context, &signature)
        })
    }

    /// As `mlDsaVerifyMu`.
    #[napi]
    pub fn verify_mu(
        &self,
        lane_number: u32,
        mu: Uint8ArraySlice<'_>,
        signature: Uint8ArraySlice<'_>,
    ) -> napi::Result<bool> {
        guard("MlDsaPublicKey.verifyMu", || {
            verify_mu(lane::numbered(lane_number)?, &self.key, &mu, &signature)
        })
    }
}

fn import(set: &str, public_key: &Uint8ArraySlice<'_>) -> Result<PublicKey> {
    let set = Set::parse(set)?;
    PublicKey::from_bytes(set, &bytes::at_most(public_key, set.public_key_len()))
}

fn verify(
    lane: Lane,
    key: &PublicKey,
    message: &Uint8ArraySlice<'_>,
    context: &Uint8ArraySlice<'_>,
    signature: &Uint8ArraySlice<'_>,
) -> Result<bool> {
    let context = bytes::at_most(context, MAX_CONTEXT_LEN);
    let context = Context::new(&context)?;
    let signature = bytes::at_most(signature, key.set().signature_len());
    Ok(ml_dsa::verify(lane, key, message.as_ref(), context, &signature))
}

fn verify_mu(
    lane: Lane,
    key: &PublicKey,
    mu: &Uint8ArraySlice<'_>,
    signature: &Uint8ArraySlice<'_>,
) -> Result<bool> {
    let mu = bytes::fixed(mu, "mu")?;
    let signature = bytes::at_most(signature, key.set().signature_len());
    Ok(ml_dsa::verify_mu(lane, key, &mu, &signature))
}
