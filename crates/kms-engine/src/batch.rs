//! Batches in process: many items, one call, one verdict each.

use std::sync::Arc;

use kms_core::{Context, KidRef, KmsError, Result};
use kms_crypto::digest;
use kms_crypto::ed25519::{self, Item, KeyHandle, KeyRef, SIGNATURE_LEN};
use rayon::prelude::*;

use crate::counters::Outcome;
use crate::engine::Engine;
use crate::key::Key;
use crate::op::Op;

/// Fewest and most items a thread takes at a time: enough work (about 0.3 ms) to pay for the
/// hand-over, and not so many that a thread ends long after the others.
const CHUNK: std::ops::RangeInclusive<usize> = 16..=256;

/// One signature to check.
#[derive(Clone, Copy, Debug)]
pub struct BatchItem<'a> {
    /// Index into the list of kids.
    pub kid: usize,
    /// What was signed.
    pub message: &'a [u8],
    /// The signature; a wrong length is an invalid signature.
    pub signature: &'a [u8],
}

/// Invalid, valid, or could not be checked.
const INVALID: u8 = 0;
const VALID: u8 = 1;
const UNCHECKED: u8 = 2;

impl Engine {
    /// Writes 0 (invalid), 1 (valid) or 2 (could not check) for each item, in order, and returns the
    /// errors of the kids that could not be resolved, by index into `kids`.
    ///
    /// Each verdict is [`Engine::verify_one`]'s and depends on nothing else in the batch, except in
    /// lane `dalek-batch`. With `parallel` the work is cut over the engine's threads.
    ///
    /// # Errors
    /// `StoreUnavailable` after `close`.
    ///
    /// # Panics
    /// If `out` is not as long as `items`, or an item's index is out of `kids`.
    pub fn verify_items(
        &self,
        context: &Context,
        kids: &[&str],
        items: &[BatchItem<'_>],
        parallel: bool,
        out: &mut [u8],
    ) -> Result<Vec<(usize, KmsError)>> {
        assert_eq!(items.len(), out.len(), "one verdict an item");
        self.run(Op::VerifyBatch, context, |_| {
            let mut errors = Vec::new();
            let mut resolved = Vec::with_capacity(kids.len());
            for (i, kid) in kids.iter().enumerate() {
                resolved
                    .push(self.resolve(context, kid).map_err(|error| errors.push((i, error))).ok());
            }
            if parallel {
                let threads = self.pool.threads()?;
                let share = items.len().div_ceil(threads.current_num_threads());
                let chunk = share.clamp(*CHUNK.start(), *CHUNK.end());
                threads.install(|| {
                    let chunks = items.par_chunks(chunk).zip(out.par_chunks_mut(chunk));
                    chunks.for_each(|(items, out)| self.verify_resolved(&resolved, items, out));
                });
            } else {
                self.verify_resolved(&resolved, items, out);
            }
            self.count_verdicts(&resolved, &errors, items, out);
            Ok(errors)
        })
    }

    fn resolve(&self, context: &Context, kid: &str) -> Result<Resolved> {
        let parsed = KidRef::parse(kid)?;
        let wanted = parsed.require_version()?;
        let key = self.find(&parsed, context)?;
        let head = key.head(self.now_ms())?;
        let version = key.version(&head, wanted).ok_or_else(KmsError::not_found)?;
        let public = Arc::clone(&version.public);
        Ok(Resolved { key, public })
    }

    fn verify_resolved(&self, kids: &[Option<Resolved>], items: &[BatchItem<'_>], out: &mut [u8]) {
        // Neither a key nor an S can be all ones: nothing verifies with either.
        const NO_KEY: [u8; 32] = [0xff; 32];
        const NEVER: [u8; SIGNATURE_LEN] = [0xff; SIGNATURE_LEN];
        let digests: Vec<Option<[u8; 32]>> = items
            .iter()
            .map(|item| {
                let resolved = kids[item.kid].as_ref()?;
                (resolved.key.signs == kms_core::Signs::Digest)
                    .then(|| digest::blake3(item.message))
            })
            .collect();
        let checks: Vec<Item<'_>> = items
            .iter()
            .zip(&digests)
            .map(|(item, digest)| Item {
                key: kids[item.kid]
                    .as_ref()
                    .map_or(KeyRef::Bytes(&NO_KEY), |resolved| KeyRef::Handle(&resolved.public)),
                message: digest.as_ref().map_or(item.message, |digest| digest),
                signature: item.signature.try_into().unwrap_or(&NEVER),
            })
            .collect();
        ed25519::verify_batch(self.config.verify_lane, &checks, out);
        for (item, verdict) in items.iter().zip(out) {
            if kids[item.kid].is_none() {
                *verdict = UNCHECKED;
            }
        }
    }

    fn count_verdicts(
        &self,
        kids: &[Option<Resolved>],
        errors: &[(usize, KmsError)],
        items: &[BatchItem<'_>],
        out: &[u8],
    ) {
        self.count_batch(Op::VerifyBatch, items.len());
        for (item, verdict) in items.iter().zip(out) {
            let alg = kids[item.kid].as_ref().map(|resolved| resolved.key.id.alg);
            let outcome = match *verdict {
                VALID => Outcome::Ok,
                INVALID => Outcome::Invalid,
                // `errors` is in the order of `kids`.
                _ => match errors.binary_search_by_key(&item.kid, |(kid, _)| *kid) {
                    Ok(at) => Outcome::Err(errors[at].1.code),
                    Err(_) => Outcome::Err(kms_core::ErrorCode::Internal),
                },
            };
            self.count_item(Op::Verify, alg, outcome);
        }
    }
}

/// A kid that names a published version.
struct Resolved {
    key: Arc<Key>,
    public: Arc<KeyHandle>,
}
