//! Batches under kids, in packed buffers.

use std::sync::Arc;

use kms_core::{Context, Result};
use kms_engine::Engine;
use napi::Env;
use napi::bindgen_prelude::{Object, Uint8Array, Uint8ArraySlice, Uint32ArraySlice};
use napi_derive::napi;

use crate::bytes;
use crate::kms::NativeKms;
use crate::packed::{self, OwnedKids};
use crate::task::{Signing, guard, spawn, spawn_signing};

/// What a batch came to.
#[napi(object)]
pub struct BatchVerdicts {
    /// 0 invalid, 1 valid, 2 could not check; one byte an item.
    pub verdicts: Uint8Array,
    /// JSON array of `[item, error]`, absent when every item was checked.
    pub errors: Option<String>,
}

/// What a batch of messages came to.
#[napi(object)]
pub struct BatchSignatures {
    /// 64 bytes an item: Ed25519's, and zeros for others.
    pub signatures: Uint8Array,
    /// What became of the other items, absent when there are none.
    pub rest: Option<SignedRest>,
}

/// The items of a batch that have no Ed25519 signature.
#[napi(object)]
pub struct SignedRest {
    /// JSON array of `[item, error]`.
    pub errors: String,
    /// Items with signatures of other algorithms.
    pub items: Vec<u32>,
    /// Their signatures.
    pub signatures: Vec<Uint8Array>,
}

#[napi]
impl NativeKms {
    /// Signs a packed batch: item i is the message between the offsets i and i + 1. Its kid is known by
    /// `kidNumbers[i]`, or is the next of `kids` where that is 0. Writes 64 bytes for each item into `out`: Ed25519's
    /// signature, or zeros for an item of which `SignedRest` says the rest.
    #[napi]
    pub fn sign_batch(
        &self,
        kids: Vec<String>,
        kid_numbers: Uint32ArraySlice<'_>,
        messages: Uint8ArraySlice<'_>,
        offsets: Uint32ArraySlice<'_>,
        mut out: Uint8ArraySlice<'_>,
    ) -> napi::Result<Option<SignedRest>> {
        guard("signBatch", || {
            let known = self.known.borrow();
            let kids = packed::kids(&known, &kid_numbers, &kids)?;
            let offsets = offsets.to_vec();
            // A message is read twice: it must be the same both times.
            let messages = bytes::owned(&messages);
            let items = packed::messages(&kids, &messages, &offsets)?;
            self.engine.check_need_not_wait()?;
            let signed = packed::sign(&self.engine, &self.library, &items, false)?;
            bytes::write(&mut out, signed.packed.as_flattened())?;
            Ok(rest(signed))
        })
    }

    /// As `signBatch`, on the service's threads; the inputs are copied before this returns.
    #[napi(ts_return_type = "Promise<BatchSignatures>")]
    pub fn sign_batch_async<'env>(
        &self,
        env: &'env Env,
        kids: Vec<String>,
        kid_numbers: Uint32ArraySlice<'_>,
        messages: Uint8ArraySlice<'_>,
        offsets: Uint32ArraySlice<'_>,
    ) -> napi::Result<Object<'env>> {
        let owned = guard("signBatchAsync", || Ok(self.owned_kids(kids, &kid_numbers)))?;
        let asked = Arc::new((owned, bytes::owned(&messages), offsets.to_vec()));
        let again = Arc::clone(&asked);
        let signing = Signing {
            context: self.library.clone(),
            needs: move |engine: &Engine, context: &Context| -> Result<_> {
                let (owned, messages, offsets) = &*again;
                let items = packed::messages(&owned.kids()?, messages, offsets)?;
                Ok(engine.needs_of_items(context, &items))
            },
            work: move |engine: &Engine, context: &Context| -> Result<_> {
                let (owned, messages, offsets) = &*asked;
                let items = packed::messages(&owned.kids()?, messages, offsets)?;
                packed::sign(engine, context, &items, true)
            },
            is_short: false,
            times: None,
        };
        spawn_signing(env, &self.engine, "signBatchAsync.task", signing, |_, mut signed| {
            let signatures = std::mem::take(&mut signed.packed).into_flattened().into();
            Ok(BatchSignatures { signatures, rest: rest(signed) })
        })
    }

    /// Verifies a packed batch: item i has the i-th 64 bytes as its signature, or those between the i-th and the next of
    /// `signatureOffsets` where there are any; its message and kid are as in `signBatch`. Writes 0, 1 or 2 for each item into `out` and returns the errors as in `BatchVerdicts`.
    #[napi]
    pub fn verify_batch(
        &self,
        kids: Vec<String>,
        kid_numbers: Uint32ArraySlice<'_>,
        signatures: Uint8ArraySlice<'_>,
        signature_offsets: Uint32ArraySlice<'_>,
        messages: Uint8ArraySlice<'_>,
        offsets: Uint32ArraySlice<'_>,
        mut out: Uint8ArraySlice<'_>,
    ) -> napi::Result<Option<String>> {
        guard("verifyBatch", || {
            let known = self.known.borrow();
            let kids = packed::kids(&known, &kid_numbers, &kids)?;
            let offsets = offsets.to_vec();
            let items = packed::messages(&kids, messages.as_ref(), &offsets)?;
            let ends = signature_offsets.to_vec();
            let items = packed::signed(&items, signatures.as_ref(), &ends)?;
            let (verdicts, errors) = packed::verify(&self.engine, &self.library, &items, false)?;
            bytes::write(&mut out, &verdicts)?;
            Ok(errors)
        })
    }

    /// As `verifyBatch`, on the service's threads; the inputs are copied before this returns.
    #[napi(ts_return_type = "Promise<BatchVerdicts>")]
    pub fn verify_batch_async<'env>(
        &self,
        env: &'env Env,
        kids: Vec<String>,
        kid_numbers: Uint32ArraySlice<'_>,
        signatures: Uint8ArraySlice<'_>,
        signature_offsets: Uint32ArraySlice<'_>,
        messages: Uint8ArraySlice<'_>,
        offsets: Uint32ArraySlice<'_>,
    ) -> napi::Result<Object<'env>> {
        let owned = guard("verifyBatchAsync", || Ok(self.owned_kids(kids, &kid_numbers)))?;
        let (engine, context) = (Arc::clone(&self.engine), self.library.clone());
        let (signatures, offsets) = (bytes::owned(&signatures), offsets.to_vec());
        let (messages, ends) = (bytes::owned(&messages), signature_offsets.to_vec());
        let work = move || {
            let items = packed::messages(&owned.kids()?, &messages, &offsets)?;
            let items = packed::signed(&items, &signatures, &ends)?;
            packed::verify(&engine, &context, &items, true)
        };
        spawn(env, self.engine.pool(), "verifyBatchAsync.task", work, |_, (verdicts, errors)| {
            Ok(BatchVerdicts { verdicts: verdicts.into(), errors })
        })
    }

    /// The kids of a batch that leaves this thread.
    fn owned_kids(&self, named: Vec<String>, numbers: &[u32]) -> OwnedKids {
        OwnedKids { known: self.known.borrow().clone(), numbers: numbers.to_vec(), named }
    }
}

/// What a batch came to beside its Ed25519 signatures.
fn rest(signed: packed::Signed) -> Option<SignedRest> {
    let packed::Signed { errors, long, .. } = signed;
    if errors.is_none() && long.is_empty() {
        return None;
    }
    let (items, signatures) = long.into_iter().map(|(item, it)| (item, it.into())).unzip();
    Some(SignedRest { errors: errors.unwrap_or_else(|| "[]".to_owned()), items, signatures })
}
