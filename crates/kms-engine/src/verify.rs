//! Verifying: every published version, for ever.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use kms_core::{Algorithm, Context, KmsError, Result};
use kms_crypto::ed25519::{self, Item, KeyHandle, KeyRef, SIGNATURE_LEN, VerifyLane};

use crate::engine::{Engine, Trace, contain};
use crate::known::{ItemKid, KnownKid};
use crate::op::Op;
use crate::sign::Payload;

/// Which halves of a hybrid signature must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Any half that the version has.
    Or,
    /// Every half that the version has.
    #[default]
    And,
    /// The post-quantum half; a classical key has none and never satisfies it.
    PqOnly,
}

impl Mode {
    /// The name in `policy.mode`.
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Or => "or",
            Mode::And => "and",
            Mode::PqOnly => "pq_only",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `BadRequest`, field `policy.mode`.
    pub fn parse(name: &str) -> Result<Mode> {
        [Mode::Or, Mode::And, Mode::PqOnly].into_iter().find(|mode| mode.name() == name).ok_or_else(
            || KmsError::bad_request("must be `or`, `and` or `pq_only`").field("policy.mode"),
        )
    }
}

/// One signature to check.
#[derive(Clone, Debug, Hash)]
pub struct SignatureEntry {
    /// Its algorithm.
    pub alg: Algorithm,
    /// Its bytes; a wrong length is an invalid signature.
    pub signature: Vec<u8>,
    /// Its kid, with a version; needed where the request has none.
    pub kid: Option<String>,
}

/// A wish for a verdict.
#[derive(Clone, Debug, Hash)]
pub struct VerifyRequest {
    /// The kid of all signatures, with a version; `None` where each carries its own.
    pub kid: Option<String>,
    /// What was signed.
    pub payload: Payload<'static>,
    /// The signatures.
    pub sigs: Vec<SignatureEntry>,
    /// Which of them must hold, for each kid.
    pub mode: Mode,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whether the mode is satisfied for every kid.
    pub ok: bool,
    /// The algorithms whose signatures were checked, in order of first appearance.
    pub checked: Vec<Algorithm>,
    /// The mode, where it is satisfied.
    pub satisfied_mode: Option<Mode>,
}

impl Engine {
    /// Verifies one signature in process. `Ok(false)` is a verdict; an error means that there is none.
    ///
    /// # Errors
    /// `NotFound`, and `BadRequest` for a kid that is malformed or has no version.
    pub fn verify_one(
        &self,
        context: &Context,
        kid: ItemKid<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool> {
        self.run(Op::Verify, context, |trace| {
            let payload = Payload::Local(message);
            let kid = self.find_item(context, kid)?;
            let check = self.check(&kid, &payload, signature, trace)?;
            let valid = check.verdict(self.config.verify_lane);
            trace.invalid = !valid;
            Ok(valid)
        })
    }

    /// Verifies the signatures of one request.
    ///
    /// # Errors
    /// `NotFound`; `BadRequest` for kids that are missing, malformed, unversioned or at odds with
    /// each other; `Unsupported` where the payload does not fit the key.
    pub fn verify(&self, context: &Context, wish: &VerifyRequest) -> Result<Verified> {
        self.run(Op::Verify, context, |trace| {
            let mut checks = Vec::with_capacity(wish.sigs.len());
            self.plan(context, wish, trace, &mut checks)?;
            let valid = checks.iter().all(|check| check.verdict(self.config.verify_lane));
            let verified = conclude(wish, valid);
            trace.invalid = !verified.ok;
            Ok(verified)
        })
    }

    /// Verifies the signatures of many requests side by side: an answer each, in order, the one that
    /// [`Engine::verify`] gives.
    ///
    /// Each request counts as one verification; with `timed` its latency is that of the whole call,
    /// because that is how long it waited.
    pub(crate) fn verify_together(
        &self,
        requests: &[(Context, Result<VerifyRequest>)],
        timed: bool,
    ) -> Vec<Result<Verified>> {
        let started = Instant::now();
        let mut traces = Vec::with_capacity(requests.len());
        let mut checks = Vec::with_capacity(requests.len());
        let mut planned = Vec::with_capacity(requests.len());
        for (context, request) in requests {
            let (mut trace, from) = (Trace::default(), checks.len());
            let plan = request.as_ref().map_err(Clone::clone).and_then(|wish| {
                self.admit(context)?;
                contain(AssertUnwindSafe(|| self.plan(context, wish, &mut trace, &mut checks)))?;
                Ok(wish)
            });
            if plan.is_err() {
                checks.truncate(from);
            }
            planned.push(plan.map(|wish| (wish, from..checks.len())));
            traces.push(trace);
        }
        let mut verdicts = vec![0; checks.len()];
        let items: Vec<Item<'_>> = checks.iter().map(Check::item).collect();
        let verified = contain(AssertUnwindSafe(|| {
            ed25519::verify_batch(self.config.verify_lane, &items, &mut verdicts);
            Ok(())
        }));
        let answers = planned.into_iter().zip(&mut traces).map(|(plan, trace)| {
            let (wish, checks) = plan?;
            verified.clone()?;
            let answer = conclude(wish, verdicts[checks].iter().all(|verdict| *verdict == 1));
            trace.invalid = !answer.ok;
            Ok(answer)
        });
        let answers: Vec<_> = answers.collect();
        for (answer, trace) in answers.iter().zip(&traces) {
            self.ended(Op::Verify, trace, answer, timed.then(|| started.elapsed()));
        }
        answers
    }

    /// Resolves the signatures of a request into checks. On an error some may have been added.
    fn plan<'a>(
        &self,
        context: &Context,
        wish: &'a VerifyRequest,
        trace: &mut Trace,
        checks: &mut Vec<Check<'a>>,
    ) -> Result<()> {
        if wish.sigs.is_empty() {
            return Err(KmsError::bad_request("at least one signature is needed").field("sigs"));
        }
        let mut seen: Vec<&str> = Vec::with_capacity(wish.sigs.len());
        for (i, entry) in wish.sigs.iter().enumerate() {
            let kid = kid_of(wish, entry, i)?;
            if seen.contains(&kid) {
                let error = KmsError::bad_request("two signatures of one algorithm for one kid");
                return Err(error.field(format!("sigs[{i}]")));
            }
            seen.push(kid);
            let at = |error: KmsError| match (&wish.kid, error.field.as_deref()) {
                (None, Some("kid")) => error.field(format!("sigs[{i}].kid")),
                _ => error,
            };
            let known = self.know(context, kid).map_err(at)?;
            checks.push(self.check(&known, &wish.payload, &entry.signature, trace).map_err(at)?);
        }
        Ok(())
    }

    fn check<'a>(
        &self,
        kid: &KnownKid,
        payload: &'a Payload<'_>,
        signature: &'a [u8],
        trace: &mut Trace,
    ) -> Result<Check<'a>> {
        trace.alg = Some(kid.key.id.alg);
        let key = Arc::clone(&self.version_of(kid)?.public);
        let covered = payload.covered(kid.key.signs)?;
        let signature = signature.try_into().unwrap_or(&NEVER_VALID);
        Ok(Check { key, covered, signature })
    }
}

/// A signature that no key verifies: its S is not below the order. Stands for one of another length.
pub(crate) const NEVER_VALID: [u8; SIGNATURE_LEN] = [0xff; SIGNATURE_LEN];

/// One signature, with its key resolved and the bytes that it covers.
struct Check<'a> {
    key: Arc<KeyHandle>,
    covered: Cow<'a, [u8]>,
    signature: &'a [u8; SIGNATURE_LEN],
}

impl Check<'_> {
    fn item(&self) -> Item<'_> {
        Item { key: KeyRef::Handle(&self.key), message: &self.covered, signature: self.signature }
    }

    fn verdict(&self, lane: VerifyLane) -> bool {
        let Item { key, message, signature } = self.item();
        ed25519::verify(lane, key, message, signature)
    }
}

fn conclude(wish: &VerifyRequest, all_valid: bool) -> Verified {
    // Every version of this build has one classical track, so `or` and `and` ask the same of it.
    let ok = all_valid && wish.mode != Mode::PqOnly;
    Verified { ok, checked: vec![Algorithm::Ed25519], satisfied_mode: ok.then_some(wish.mode) }
}

/// The kid of a signature: the request's, or its own where the request has none.
fn kid_of<'a>(wish: &'a VerifyRequest, entry: &'a SignatureEntry, i: usize) -> Result<&'a str> {
    match (wish.kid.as_deref(), entry.kid.as_deref()) {
        (Some(kid), None) => Ok(kid),
        (Some(kid), Some(own)) if kid == own => Ok(kid),
        (Some(_), Some(_)) => {
            Err(KmsError::bad_request("differs from the request's kid")
                .field(format!("sigs[{i}].kid")))
        }
        (None, Some(own)) => Ok(own),
        (None, None) => {
            Err(KmsError::bad_request("is needed here or in every signature").field("kid"))
        }
    }
}
