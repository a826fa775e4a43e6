//! Batches in process: many items, one call, one verdict each.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use kms_core::{Context, KmsError, Result, Signs, Version};
use kms_crypto::digest;
use kms_crypto::ed25519::{self, Item, KeyHandle, KeyRef, SIGNATURE_LEN, VerifyLane};
use rayon::prelude::*;

use crate::counters::Outcome;
use crate::engine::{Engine, Trace, contain};
use crate::key::Key;
use crate::known::ItemKid;
use crate::op::Op;
use crate::sign::{Payload, faulty};
use crate::verify::NEVER_VALID;

/// One message to sign.
#[derive(Clone, Copy)]
pub struct SignItem<'a> {
    /// Who signs.
    pub kid: ItemKid<'a>,
    /// What is signed.
    pub message: &'a [u8],
}

/// One signature to check.
#[derive(Clone, Copy)]
pub struct BatchItem<'a> {
    /// Who signed.
    pub kid: ItemKid<'a>,
    /// What was signed.
    pub message: &'a [u8],
    /// The signature; a wrong length is an invalid signature.
    pub signature: &'a [u8],
}

/// Verdicts; 0 is an invalid signature.
const VALID: u8 = 1;
const UNCHECKED: u8 = 2;

impl Engine {
    /// Writes 0 (invalid), 1 (valid) or 2 (could not check) for each item, in order, and returns the errors
    /// of those that could not be checked, by index and in order.
    ///
    /// Each verdict is [`Engine::verify_one`]'s and depends on nothing else in the batch, except in
    /// lane `dalek-batch`. With `parallel` the work is cut over the engine's threads.
    ///
    /// # Errors
    /// `StoreUnavailable` after `close`.
    ///
    /// # Panics
    /// If `out` is not as long as `items`.
    pub fn verify_items(
        &self,
        context: &Context,
        items: &[BatchItem<'_>],
        parallel: bool,
        out: &mut [u8],
    ) -> Result<Vec<(usize, KmsError)>> {
        assert_eq!(items.len(), out.len(), "one verdict an item");
        self.run(Op::VerifyBatch, context, |_| {
            self.count_batch(Op::VerifyBatch, items.len());
            let kids: Vec<_> = items.iter().map(|item| self.find_item(context, item.kid)).collect();
            let resolved: Vec<Result<Resolved<'_>>> = kids
                .iter()
                .map(|kid| {
                    let kid = kid.as_ref().map_err(Clone::clone)?;
                    Ok(Resolved { key: &kid.key, public: &self.version_of(kid)?.public })
                })
                .collect();
            if parallel {
                let share = self.pool.share(items.len(), 0)?;
                self.pool.threads()?.install(|| {
                    let items = items.par_chunks(share).zip(resolved.par_chunks(share));
                    items
                        .zip(out.par_chunks_mut(share))
                        .for_each(|((items, keys), out)| self.verify_resolved(items, keys, out));
                });
            } else {
                self.verify_resolved(items, &resolved, out);
            }
            Ok(self.count_verdicts(resolved, out))
        })
    }

    fn verify_resolved(
        &self,
        items: &[BatchItem<'_>],
        keys: &[Result<Resolved<'_>>],
        out: &mut [u8],
    ) {
        // Not canonical: nothing verifies under it.
        const NO_KEY: [u8; 32] = [0xff; 32];
        let signs =
            |key: &Result<Resolved<'_>>| key.as_ref().map_or(Signs::Message, |it| it.key.signs);
        let digests: Vec<Option<[u8; 32]>> = items
            .iter()
            .zip(keys)
            .map(|(item, key)| (signs(key) == Signs::Digest).then(|| digest::blake3(item.message)))
            .collect();
        let checks: Vec<Item<'_>> = items
            .iter()
            .zip(keys)
            .zip(&digests)
            .map(|((item, key), digest)| Item {
                key: key.as_ref().map_or(KeyRef::Bytes(&NO_KEY), |it| KeyRef::Handle(it.public)),
                message: digest.as_ref().map_or(item.message, |digest| digest),
                signature: item.signature.try_into().unwrap_or(&NEVER_VALID),
            })
            .collect();
        ed25519::verify_batch(self.config.verify_lane, &checks, out);
        for (key, verdict) in keys.iter().zip(out) {
            if key.is_err() {
                *verdict = UNCHECKED;
            }
        }
    }

    /// Counts what became of each item, and gives the errors of those that were not checked.
    fn count_verdicts(
        &self,
        keys: Vec<Result<Resolved<'_>>>,
        out: &[u8],
    ) -> Vec<(usize, KmsError)> {
        let mut errors = Vec::new();
        for (i, (key, verdict)) in keys.into_iter().zip(out).enumerate() {
            let (alg, outcome) = match key {
                Ok(it) if *verdict == VALID => (Some(it.key.id.alg), Outcome::Ok),
                Ok(it) => (Some(it.key.id.alg), Outcome::Invalid),
                Err(error) => {
                    let code = error.code;
                    errors.push((i, error));
                    (None, Outcome::Err(code))
                }
            };
            self.count_item(Op::Verify, alg, outcome);
        }
        errors
    }
}

impl Engine {
    /// Signs each item under the head of its kid into its place in `out`, and returns the errors of those that
    /// could not be signed, by index into `items` and in order; their places are zero.
    ///
    /// With `parallel` the work is cut over the engine's threads.
    ///
    /// # Errors
    /// `StoreUnavailable` after `close`.
    ///
    /// # Panics
    /// If `out` is not as long as `items`.
    pub fn sign_items(
        &self,
        context: &Context,
        items: &[SignItem<'_>],
        parallel: bool,
        out: &mut [[u8; SIGNATURE_LEN]],
    ) -> Result<Vec<(usize, KmsError)>> {
        assert_eq!(items.len(), out.len(), "one signature an item");
        self.run(Op::SignBatch, context, |_| {
            self.count_batch(Op::SignBatch, items.len());
            if !parallel {
                return Ok(self.sign_share(context, items, out));
            }
            let share = self.pool.share(items.len(), 0)?;
            let shares: Result<Vec<_>> = self.pool.threads()?.install(|| {
                let shares = items.par_chunks(share).zip(out.par_chunks_mut(share));
                shares
                    .map(|(items, out)| {
                        contain(AssertUnwindSafe(|| Ok(self.sign_share(context, items, out))))
                    })
                    .collect()
            });
            let shares = shares?.into_iter().enumerate();
            let errors = shares.flat_map(|(i, errors)| {
                errors.into_iter().map(move |(item, error)| (i * share + item, error))
            });
            Ok(errors.collect())
        })
    }

    fn sign_share(
        &self,
        context: &Context,
        items: &[SignItem<'_>],
        out: &mut [[u8; SIGNATURE_LEN]],
    ) -> Vec<(usize, KmsError)> {
        out.fill([0; SIGNATURE_LEN]);
        let kids: Vec<_> = items.iter().map(|item| self.find_item(context, item.kid)).collect();
        let mut traces: Vec<Trace> = items.iter().map(|_| Trace::default()).collect();
        let mut signed: Vec<Result<Signature<'_>>> = items
            .iter()
            .zip(&kids)
            .zip(&mut traces)
            .map(|((item, kid), trace)| {
                crate::faults::point("sign.act");
                Payload::Local(item.message).check_not_reserved()?;
                let kid = kid.as_ref().map_err(Clone::clone)?;
                let version = self.signing_version(kid, trace)?;
                let covered = match kid.key.signs {
                    Signs::Message => Cow::Borrowed(item.message),
                    Signs::Digest => Cow::Owned(digest::blake3(item.message).to_vec()),
                };
                let head = kid.key.published(version)?;
                let signature = self.sign_unverified(head, &covered)?;
                Ok(Signature { key: &kid.key, version, public: &head.public, covered, signature })
            })
            .collect();
        if self.config.verify_after_sign {
            withhold_faulty(&mut signed);
        }
        let mut errors = Vec::new();
        for (i, ((result, trace), out)) in signed.into_iter().zip(traces).zip(out).enumerate() {
            let recorded = result.and_then(|it| {
                self.audit_signature(Op::Sign, context, it.key, it.version, &it.covered)?;
                Ok(it.signature)
            });
            let outcome = match recorded {
                Ok(signature) => {
                    *out = signature;
                    Outcome::Ok
                }
                Err(error) => {
                    let code = error.code;
                    errors.push((i, error));
                    Outcome::Err(code)
                }
            };
            self.count_item(Op::Sign, trace.alg, outcome);
        }
        errors
    }
}

/// A signature on its way out.
struct Signature<'a> {
    key: &'a Key,
    version: Version,
    public: &'a Arc<KeyHandle>,
    covered: Cow<'a, [u8]>,
    signature: [u8; SIGNATURE_LEN],
}

/// Verifies signatures that were just made, side by side, and turns those that fail into errors.
fn withhold_faulty(signed: &mut [Result<Signature<'_>>]) {
    let made: Vec<Item<'_>> = signed
        .iter()
        .flatten()
        .map(|it| Item {
            key: KeyRef::Handle(it.public),
            message: &it.covered,
            signature: &it.signature,
        })
        .collect();
    let mut verdicts = vec![0; made.len()];
    ed25519::verify_batch(VerifyLane::Auto, &made, &mut verdicts);
    drop(made);
    for (made, verdict) in signed.iter_mut().filter(|it| it.is_ok()).zip(verdicts) {
        if verdict != VALID {
            *made = Err(faulty());
        }
    }
}

/// A published version of a key.
struct Resolved<'a> {
    key: &'a Key,
    public: &'a Arc<KeyHandle>,
}
