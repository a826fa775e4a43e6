//! Ed25519 verification of public data, without a key service.

use std::sync::Arc;

use kms_core::{KmsError, Result};
use kms_crypto::digest;
use kms_crypto::ed25519::{
    self, KeyHandle, KeyRef, PackedBatch, PublicKey, SIGNATURE_LEN, VerifyLane,
};
use napi::Env;
use napi::bindgen_prelude::{Object, Uint8Array, Uint8ArraySlice, Uint32ArraySlice};
use napi_derive::napi;

use crate::bytes;
use crate::handles;
use crate::task::{guard, pool, spawn};

fn lane(number: u32) -> Result<VerifyLane> {
    VerifyLane::ALL
        .get(number as usize)
        .copied()
        .ok_or_else(|| KmsError::bad_request("no such lane in this build").field("lane"))
}

/// BLAKE3-256 of `payload`, into 32 bytes.
#[napi]
pub fn blake3(payload: Uint8ArraySlice<'_>, mut out: Uint8ArraySlice<'_>) -> napi::Result<()> {
    guard("blake3", || bytes::write(&mut out, &digest::blake3(payload.as_ref())))
}

/// The strict verdict on one signature. A signature of a wrong length, or a key that does not decode,
/// is `false`; a key of a wrong length throws.
#[napi]
pub fn ed25519_verify(
    lane_number: u32,
    public_key: Uint8ArraySlice<'_>,
    message: Uint8ArraySlice<'_>,
    signature: Uint8ArraySlice<'_>,
) -> napi::Result<bool> {
    guard("ed25519Verify", || {
        let lane = lane(lane_number)?;
        let key = bytes::fixed(&public_key, "publicKey")?;
        Ok(verify(lane, KeyRef::Bytes(&key), &message, &signature))
    })
}

fn verify(
    lane: VerifyLane,
    key: KeyRef<'_>,
    message: &Uint8ArraySlice<'_>,
    signature: &Uint8ArraySlice<'_>,
) -> bool {
    bytes::fixed::<SIGNATURE_LEN>(signature, "signature")
        .is_ok_and(|signature| ed25519::verify(lane, key, message.as_ref(), &signature))
}

/// A decoded public key, with its table from its first successful verification on.
#[napi]
pub struct Ed25519PublicKey {
    key: Arc<KeyHandle>,
    number: u32,
}

impl Drop for Ed25519PublicKey {
    fn drop(&mut self) {
        handles::release(self.number);
    }
}

#[napi]
impl Ed25519PublicKey {
    /// Decodes 32 bytes; throws `BadRequest` for a key under which nothing verifies.
    #[napi(constructor)]
    pub fn new(public_key: Uint8ArraySlice<'_>) -> napi::Result<Self> {
        guard("Ed25519PublicKey", || {
            let key = PublicKey::from_bytes(&bytes::fixed(&public_key, "publicKey")?)?;
            let key = KeyHandle::import(key);
            let number = handles::number(&key);
            Ok(Self { key, number })
        })
    }

    /// Names the key in the batches of this process, for as long as this object lives.
    #[napi(getter)]
    pub fn number(&self) -> napi::Result<u32> {
        guard("Ed25519PublicKey.number", || Ok(self.number))
    }

    /// As `ed25519Verify`, without decoding the key again.
    #[napi]
    pub fn verify(
        &self,
        lane_number: u32,
        message: Uint8ArraySlice<'_>,
        signature: Uint8ArraySlice<'_>,
    ) -> napi::Result<bool> {
        guard("Ed25519PublicKey.verify", || {
            Ok(verify(lane(lane_number)?, KeyRef::Handle(&self.key), &message, &signature))
        })
    }
}

/// Verifies a packed batch: n keys of 32 bytes, n signatures of 64 bytes, the messages end to end and
/// n + 1 offsets into them. `key_numbers` has the numbers of keys that are imported and 0 for others, or is
/// empty. Writes 0 or 1 for each item into `out`.
#[napi]
pub fn ed25519_verify_batch(
    lane_number: u32,
    public_keys: Uint8ArraySlice<'_>,
    key_numbers: Uint32ArraySlice<'_>,
    signatures: Uint8ArraySlice<'_>,
    messages: Uint8ArraySlice<'_>,
    offsets: Uint32ArraySlice<'_>,
    mut out: Uint8ArraySlice<'_>,
) -> napi::Result<()> {
    guard("ed25519VerifyBatch", || {
        let lane = lane(lane_number)?;
        let handles = handles::resolve(&key_numbers);
        // Each is read more than once, and another thread may write to them meanwhile: R between the hash and the
        // comparison, say, which would make a signature of any message. Messages are read once.
        let (public_keys, signatures) = (bytes::owned(&public_keys), bytes::owned(&signatures));
        let offsets = offsets.to_vec();
        let batch = PackedBatch::new(&public_keys, &signatures, messages.as_ref(), &offsets)?
            .with_handles(&handles);
        let mut verdicts = vec![0; batch.len()];
        batch.verify(lane, &mut verdicts);
        bytes::write(&mut out, &verdicts)
    })
}

/// As `ed25519VerifyBatch`, on the addon's threads; the inputs are copied before this returns.
/// At most `threads` of them take part; 0 means all.
#[napi(ts_return_type = "Promise<Uint8Array>")]
pub fn ed25519_verify_batch_async<'env>(
    env: &'env Env,
    lane_number: u32,
    public_keys: Uint8ArraySlice<'_>,
    key_numbers: Uint32ArraySlice<'_>,
    signatures: Uint8ArraySlice<'_>,
    messages: Uint8ArraySlice<'_>,
    offsets: Uint32ArraySlice<'_>,
    threads: u32,
) -> napi::Result<Object<'env>> {
    let lane = guard("ed25519VerifyBatchAsync", || lane(lane_number))?;
    let (keys, signatures) = (bytes::owned(&public_keys), bytes::owned(&signatures));
    let (messages, offsets) = (bytes::owned(&messages), offsets.to_vec());
    let handles = handles::resolve(&key_numbers);
    let work = move || {
        let batch = PackedBatch::new(&keys, &signatures, &messages, &offsets)?;
        let batch = batch.with_handles(&handles);
        let mut verdicts = vec![0; batch.len()];
        verify_on_threads(lane, &batch, threads as usize, &mut verdicts)?;
        Ok(verdicts)
    };
    spawn(env, pool(), "ed25519VerifyBatchAsync.task", work, |_, verdicts| {
        Ok(Uint8Array::from(verdicts))
    })
}

/// Cuts a batch over the threads; the order of verdicts is the order of items.
fn verify_on_threads(
    lane: VerifyLane,
    batch: &PackedBatch<'_>,
    threads: usize,
    verdicts: &mut [u8],
) -> Result<()> {
    let share = pool().share(batch.len(), threads)?;
    pool().threads()?.scope(|scope| {
        for (i, verdicts) in verdicts.chunks_mut(share).enumerate() {
            let run = batch.slice(i * share, i * share + verdicts.len());
            scope.spawn(move |_| run.verify(lane, verdicts));
        }
    });
    Ok(())
}
