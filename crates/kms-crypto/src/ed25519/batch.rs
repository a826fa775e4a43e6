//! Batches: one verdict an item, in order.

use std::sync::Arc;

use kms_core::{KmsError, Result};

#[cfg(feature = "aws-lc")]
use super::aws_lc;
use super::key::{KeyRef, PublicKey};
use super::lane::VerifyLane;
use super::precomputed::KeyHandle;
#[cfg(feature = "ring")]
use super::ring;
use super::{PUBLIC_KEY_LEN, SIGNATURE_LEN, dalek, dalek_batch, simd};

/// One signature to check.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    /// The key; under one that does not decode nothing verifies.
    pub key: KeyRef<'a>,
    /// What was signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: &'a [u8; SIGNATURE_LEN],
}

/// Writes 1 (valid) or 0 (invalid) for each item, in order.
///
/// In every lane but `dalek-batch` each verdict is [`verify`](super::verify)'s and depends on nothing
/// else in the batch. `dalek-batch` first checks one random linear combination of all equations: it
/// accepts some signatures whose R or A carries torsion, which strict verification refuses, depending on
/// what else is in the batch. If the combination fails, every item is checked alone.
///
/// # Panics
/// If `out` is not as long as `items`.
pub fn verify_batch(lane: VerifyLane, items: &[Item<'_>], out: &mut [u8]) {
    assert_eq!(items.len(), out.len(), "one verdict an item");
    match lane {
        VerifyLane::Auto | VerifyLane::Simd => simd::verify_batch(items, out),
        VerifyLane::Dalek => verify_each(&decode(items), out, dalek::verify),
        VerifyLane::DalekBatch => dalek_batch::verify(&decode(items), out),
        #[cfg(feature = "aws-lc")]
        VerifyLane::AwsLc => verify_each(&decode(items), out, aws_lc::verify),
        #[cfg(feature = "ring")]
        VerifyLane::Ring => verify_each(&decode(items), out, ring::verify),
    }
}

/// An item whose key was decoded; `None` where it did not decode.
pub(super) struct Decoded<'a> {
    pub(super) key: Option<PublicKey>,
    pub(super) message: &'a [u8],
    pub(super) signature: &'a [u8; SIGNATURE_LEN],
}

/// Decodes the keys; runs of equal ones once.
fn decode<'a>(items: &[Item<'a>]) -> Vec<Decoded<'a>> {
    let mut decoded: Vec<Decoded<'a>> = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let repeats = i > 0 && items[i - 1].key.bytes() == item.key.bytes();
        let key = match decoded.last() {
            Some(last) if repeats => last.key,
            _ => item.key.decoded(),
        };
        decoded.push(Decoded { key, message: item.message, signature: item.signature });
    }
    decoded
}

/// Each item by the verdict of a lane on one signature.
pub(super) fn verify_each(
    items: &[Decoded<'_>],
    out: &mut [u8],
    verify: fn(&PublicKey, &[u8], &[u8; SIGNATURE_LEN]) -> bool,
) {
    for (item, verdict) in items.iter().zip(out) {
        let valid = item.key.is_some_and(|key| verify(&key, item.message, item.signature));
        *verdict = u8::from(valid);
    }
}

/// A batch packed into four buffers: n public keys of 32 bytes, n signatures of 64 bytes, all
/// messages end to end, and n + 1 offsets into them.
#[derive(Clone, Copy)]
pub struct PackedBatch<'a> {
    public_keys: &'a [[u8; PUBLIC_KEY_LEN]],
    signatures: &'a [[u8; SIGNATURE_LEN]],
    messages: &'a [u8],
    offsets: &'a [u32],
    handles: &'a [Option<Arc<KeyHandle>>],
}

impl<'a> PackedBatch<'a> {
    /// Checks the layout.
    ///
    /// # Errors
    /// `BadRequest`, naming the buffer whose length or content does not fit the others.
    pub fn new(
        public_keys: &'a [u8],
        signatures: &'a [u8],
        messages: &'a [u8],
        offsets: &'a [u32],
    ) -> Result<PackedBatch<'a>> {
        let fault = |field, why: &'static str| Err(KmsError::bad_request(why).field(field));
        let (public_keys, rest) = public_keys.as_chunks();
        if !rest.is_empty() {
            return fault("publicKeys", "length must be 32 bytes an item");
        }
        let (signatures, rest) = signatures.as_chunks();
        if !rest.is_empty() || signatures.len() != public_keys.len() {
            return fault("signatures", "length must be 64 bytes an item");
        }
        if offsets.len() != public_keys.len() + 1 {
            return fault("offsets", "length must be one more than the number of items");
        }
        let ascending = offsets.is_sorted() && offsets.first() == Some(&0);
        if !ascending || offsets.last().map(|end| *end as usize) != Some(messages.len()) {
            return fault("offsets", "must ascend from 0 to the length of messages");
        }
        Ok(PackedBatch { public_keys, signatures, messages, offsets, handles: &[] })
    }

    /// Names handles that the items' keys are thought to have. One that is of another key is not used.
    #[must_use]
    pub fn with_handles(self, handles: &'a [Option<Arc<KeyHandle>>]) -> PackedBatch<'a> {
        PackedBatch { handles, ..self }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.public_keys.len()
    }

    /// Whether there is nothing to verify.
    pub fn is_empty(&self) -> bool {
        self.public_keys.is_empty()
    }

    /// Items `start..end` as a batch of their own.
    #[must_use]
    pub fn slice(&self, start: usize, end: usize) -> PackedBatch<'a> {
        PackedBatch {
            public_keys: &self.public_keys[start..end],
            signatures: &self.signatures[start..end],
            messages: self.messages,
            offsets: &self.offsets[start..=end],
            handles: self.handles.get(start..end).unwrap_or_default(),
        }
    }

    /// [`verify_batch`] over the packed items.
    pub fn verify(&self, lane: VerifyLane, out: &mut [u8]) {
        let keyed = self.public_keys.iter().zip(self.signatures);
        let items: Vec<Item<'_>> = keyed
            .zip(self.offsets.windows(2))
            .enumerate()
            .map(|(i, ((key, signature), ends))| Item {
                key: self.key(i, key),
                message: &self.messages[ends[0] as usize..ends[1] as usize],
                signature,
            })
            .collect();
        verify_batch(lane, &items, out);
    }

    fn key(&self, i: usize, bytes: &'a [u8; PUBLIC_KEY_LEN]) -> KeyRef<'a> {
        match self.handles.get(i) {
            Some(Some(handle)) if handle.public().as_bytes() == bytes => KeyRef::Handle(handle),
            _ => KeyRef::Bytes(bytes),
        }
    }
}
