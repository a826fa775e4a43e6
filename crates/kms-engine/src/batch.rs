//! Batches in process: many items, one call, one verdict each.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use kms_core::{Algorithm, Context, KmsError, Result, Signs, Version, version_needed};
use kms_crypto::context::Context as SignatureContext;
use kms_crypto::digest;
use kms_crypto::ed25519::{self, Item, KeyRef, VerifyLane};
use rayon::prelude::*;

use crate::checks::{Check, NEVER_VALID, VerifyLanes, verdicts};
use crate::counters::Outcome;
use crate::engine::{Engine, Trace, contain};
use crate::key::Key;
use crate::known::ItemKid;
use crate::material::{PublicHalf, Signature};
use crate::op::Op;
use crate::recording::AuditVerify;
use crate::sign::{Payload, SigningHead, faulty};
use crate::suite::Label;
use crate::verify::Group;

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
            let errors = self.verify_shares(context, items, parallel, out)?;
            if !self.records(AuditVerify::All) {
                return Ok(errors);
            }
            let failures = out.iter().filter(|verdict| **verdict != VALID).count();
            let input: Vec<&[u8]> =
                items.iter().flat_map(|item| [item.message, item.signature]).collect();
            let counts = (items.len(), failures);
            self.audit_verification(AuditVerify::All, Op::VerifyBatch, context, counts, &input);
            Ok(errors)
        })
    }

    fn verify_shares(
        &self,
        context: &Context,
        items: &[BatchItem<'_>],
        parallel: bool,
        out: &mut [u8],
    ) -> Result<Vec<(usize, KmsError)>> {
        if !parallel {
            return Ok(self.verify_share(context, items, out));
        }
        let share = self.pool.share(items.len(), 0)?;
        let errors: Vec<Vec<_>> = self.pool.threads()?.install(|| {
            let shares = items.par_chunks(share).zip(out.par_chunks_mut(share));
            shares.map(|(items, out)| self.verify_share(context, items, out)).collect()
        });
        let shares = errors.into_iter().enumerate();
        Ok(shares
            .flat_map(|(i, errors)| errors.into_iter().map(move |(at, it)| (i * share + at, it)))
            .collect())
    }

    /// The verdicts on items that one thread takes, and the errors of those that were not checked.
    fn verify_share(
        &self,
        context: &Context,
        items: &[BatchItem<'_>],
        out: &mut [u8],
    ) -> Vec<(usize, KmsError)> {
        let kids: Vec<_> = items.iter().map(|item| self.find_item(context, item.kid)).collect();
        let resolved: Vec<Result<Resolved<'_>>> = kids
            .iter()
            .map(|kid| {
                let kid = kid.as_ref().map_err(Clone::clone)?;
                let mut trace = Trace::default();
                let (alg, group) = self.one_track(kid, &mut trace)?;
                let version = kid.version.ok_or_else(version_needed)?;
                let public = &kid.key.published(version)?.public;
                Ok(Resolved { key: &kid.key, version, alg, public, group, trace })
            })
            .collect();
        self.verify_resolved(items, &resolved, out);
        self.count_verdicts(resolved, out)
    }

    fn verify_resolved(
        &self,
        items: &[BatchItem<'_>],
        keys: &[Result<Resolved<'_>>],
        out: &mut [u8],
    ) {
        // Not canonical: nothing verifies under it.
        const NO_KEY: [u8; 32] = [0xff; 32];
        let signs = |key: &Result<Resolved<'_>>| {
            key.as_ref().map_or(Signs::Message, |it| it.key.facts.signs)
        };
        let digests: Vec<Option<[u8; 32]>> = items
            .iter()
            .zip(keys)
            .map(|(item, key)| (signs(key) == Signs::Digest).then(|| digest::blake3(item.message)))
            .collect();
        let covered = items
            .iter()
            .zip(&digests)
            .map(|(item, digest)| digest.as_ref().map_or(item.message, |digest| digest));
        let checks: Vec<Item<'_>> = items
            .iter()
            .zip(keys)
            .zip(covered.clone())
            .map(|((item, key), message)| Item {
                key: key
                    .as_ref()
                    .ok()
                    .and_then(|it| it.public.ed25519())
                    .map_or(KeyRef::Bytes(&NO_KEY), KeyRef::Handle),
                message,
                signature: item.signature.try_into().unwrap_or(&NEVER_VALID),
            })
            .collect();
        ed25519::verify_batch(self.config.verify_lane, &checks, out);
        for (((item, key), message), verdict) in items.iter().zip(keys).zip(covered).zip(out) {
            match key {
                Ok(key) if key.alg != Algorithm::Ed25519 => {
                    *verdict = u8::from(key.verify(self.verify_lanes(), message, item.signature));
                }
                Ok(_) => {}
                Err(_) => *verdict = UNCHECKED,
            }
        }
    }

    /// Applies policy to each verdict, counts it, and gives the errors of those that were not checked.
    fn count_verdicts(
        &self,
        keys: Vec<Result<Resolved<'_>>>,
        out: &mut [u8],
    ) -> Vec<(usize, KmsError)> {
        let mut errors = Vec::new();
        let mut tally = self.tally(Op::Verify);
        for (i, (key, verdict)) in keys.into_iter().zip(out).enumerate() {
            // A version that was taken out of use meanwhile has no verdict.
            let key = key.and_then(|it| it.key.check_enabled(it.version).map(|()| it));
            let (alg, outcome) = match key {
                Ok(Resolved { mut group, trace, .. }) => {
                    group.halves[0] = Some(*verdict == VALID);
                    let ok = self.conclude(&group);
                    *verdict = u8::from(ok);
                    (trace.alg, if ok { Outcome::Ok } else { Outcome::Invalid })
                }
                Err(error) => {
                    *verdict = UNCHECKED;
                    let code = error.code;
                    errors.push((i, error));
                    (Label::NONE, Outcome::Err(code))
                }
            };
            tally.add(alg, outcome);
        }
        errors
    }
}

impl Engine {
    /// Signs each item under the head of its kid, in order. What cannot be signed is an error in its place, and
    /// spoils no other.
    ///
    /// With `parallel` the work is cut over the engine's threads; without, slow keys do not sign here.
    ///
    /// # Errors
    /// `StoreUnavailable` after `close`.
    pub fn sign_items(
        &self,
        context: &Context,
        items: &[SignItem<'_>],
        parallel: bool,
    ) -> Result<Vec<Result<Signature>>> {
        self.run(Op::SignBatch, context, |_| {
            self.count_batch(Op::SignBatch, items.len());
            if !parallel {
                return Ok(self.sign_share(context, items, false));
            }
            let share = self.pool.share(items.len(), 0)?;
            let shares: Result<Vec<_>> = self.pool.threads()?.install(|| {
                let sign =
                    |items| contain(AssertUnwindSafe(|| Ok(self.sign_share(context, items, true))));
                items.par_chunks(share).map(sign).collect()
            });
            Ok(shares?.into_iter().flatten().collect())
        })
    }

    fn sign_share(
        &self,
        context: &Context,
        items: &[SignItem<'_>],
        may_block: bool,
    ) -> Vec<Result<Signature>> {
        let kids: Vec<_> = items.iter().map(|item| self.find_item(context, item.kid)).collect();
        let mut traces: Vec<Trace> = items.iter().map(|_| Trace::default()).collect();
        let mut made: Vec<Result<Made<'_>>> = items
            .iter()
            .zip(&kids)
            .zip(&mut traces)
            .map(|((item, kid), trace)| {
                let payload = Payload::Local(item.message);
                let kid = kid.as_ref().map_err(Clone::clone)?;
                let head = self.signing_head(context, kid, trace)?;
                payload.check_not_reserved()?;
                let alg = head.only_track(may_block)?;
                let covered = match head.key.facts.signs {
                    Signs::Message => Cow::Borrowed(item.message),
                    Signs::Digest => Cow::Owned(digest::blake3(item.message).to_vec()),
                };
                let empty = SignatureContext::EMPTY;
                let signature = self.sign_unverified(&head, alg, &covered, empty)?;
                Ok(Made { head, alg, covered, signature })
            })
            .collect();
        let from_token =
            |made: &Result<Made<'_>>| made.as_ref().is_ok_and(|made| made.head.is_remote(made.alg));
        if self.config.verify_after_sign || made.iter().any(from_token) {
            self.withhold_faulty(&mut made);
        }
        let mut tally = self.tally(Op::Sign);
        let signed = made.into_iter().zip(traces).map(|(made, trace)| {
            let signature = made.and_then(|made| {
                self.audit_signature(Op::Sign, context, &made.head, &made.covered)?;
                Ok(made.signature)
            });
            let outcome = match &signature {
                Ok(_) => Outcome::Ok,
                Err(error) => {
                    self.audit_refusal(Op::Sign, context, trace.key.as_deref(), error);
                    Outcome::Err(error.code)
                }
            };
            tally.add(trace.alg, outcome);
            signature
        });
        signed.collect()
    }

    /// Verifies signatures that were just made, side by side, and turns those that fail into errors.
    fn withhold_faulty(&self, made: &mut [Result<Made<'_>>]) {
        let checks: Result<Vec<Check<'_>>> = made
            .iter()
            .flatten()
            .map(|made| {
                let Made { head, alg, covered, signature } = made;
                let covered = Cow::Borrowed(&**covered);
                let (key, version) = (head.key, head.version);
                let empty = SignatureContext::EMPTY;
                Check::new(key, version, *alg, covered, empty, signature.as_bytes())
            })
            .collect();
        // Never in a lane that is not strict.
        let lanes = VerifyLanes { ed25519: VerifyLane::Auto, ..self.verify_lanes() };
        let count = made.iter().flatten().count();
        let verdicts =
            checks.map_or_else(|_| vec![false; count], |checks| verdicts(lanes, &checks));
        for (made, valid) in made.iter_mut().filter(|made| made.is_ok()).zip(verdicts) {
            if !valid {
                *made = Err(faulty());
            }
        }
    }
}

/// A signature on its way out.
struct Made<'a> {
    head: SigningHead<'a>,
    alg: Algorithm,
    covered: Cow<'a, [u8]>,
    signature: Signature,
}

/// A published version of a key with one track.
struct Resolved<'a> {
    key: &'a Arc<Key>,
    version: Version,
    alg: Algorithm,
    public: &'a PublicHalf,
    group: Group<'a>,
    trace: Trace,
}

impl Resolved<'_> {
    /// The verdict on a signature of another algorithm than Ed25519.
    fn verify(&self, lanes: VerifyLanes, message: &[u8], signature: &[u8]) -> bool {
        let covered = Cow::Borrowed(message);
        let empty = SignatureContext::EMPTY;
        Check::new(self.key, self.version, self.alg, covered, empty, signature)
            .is_ok_and(|check| check.verdict(lanes))
    }
}
