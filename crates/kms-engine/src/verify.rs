//! Verifying: every published version, for as long as it is in use.

use std::borrow::Cow;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use kms_core::{Algorithm, Context, KmsError, Result};
use kms_crypto::context::Context as SignatureContext;
use kms_crypto::ed25519::SIGNATURE_LEN;
use smallvec::{SmallVec, smallvec};

use crate::checks::{Check, VerifyLanes, verdicts};
use crate::engine::{Engine, Trace, contain};
use crate::key::Key;
use crate::known::{ItemKid, KnownKid};
use crate::op::Op;
use crate::policy::{Demand, Mode};
use crate::recording::AuditVerify;
use crate::sign::Payload;
use crate::suite::Suite;

/// One signature to check.
#[derive(Clone, Debug, Hash)]
pub struct SignatureEntry<'a> {
    /// Its algorithm.
    pub alg: Algorithm,
    /// Its bytes; a wrong length is an invalid signature.
    pub signature: SmallVec<[u8; SIGNATURE_LEN]>,
    /// Its kid, with a version; needed where the request has none.
    pub kid: Option<Cow<'a, str>>,
}

/// A wish for a verdict.
#[derive(Clone, Debug, Hash)]
pub struct VerifyRequest<'a> {
    /// The kid of all signatures, with a version; `None` where each carries its own.
    pub kid: Option<Cow<'a, str>>,
    /// What was signed.
    pub payload: Payload<'a>,
    /// The context that it was signed under; empty where none was.
    pub context: Vec<u8>,
    /// The signatures.
    pub sigs: SmallVec<[SignatureEntry<'a>; 1]>,
    /// What must hold for each kid, beside what the service and the key ask for.
    pub mode: Option<Mode>,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whether the mode is satisfied for every kid.
    pub ok: bool,
    /// The algorithms whose signatures were checked, in order of first appearance.
    pub checked: SmallVec<[Algorithm; 2]>,
    /// The mode that was asked for in the end, where it is satisfied; of several kids the loosest.
    pub satisfied_mode: Option<Mode>,
    /// While a token is away whose keys are among them: for how long.
    pub cache_age_ms: Option<u64>,
}

impl Engine {
    /// Verifies one signature of a key with one track, in process. `Ok(false)` is a verdict; an error means that
    /// there is none.
    ///
    /// # Errors
    /// `NotFound`; `BadRequest` for a kid that is malformed or has no version; `Conflict` for a version that is not in
    /// use; `Unsupported` for a hybrid key.
    pub fn verify_one(
        &self,
        context: &Context,
        kid: ItemKid<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool> {
        self.run(Op::Verify, context, |trace| {
            let kid = self.find_item(context, kid)?;
            let (alg, mut group) = self.one_track(&kid, trace)?;
            let payload = Payload::Local(message);
            let check = self.check(&kid, alg, &payload, SignatureContext::EMPTY, signature)?;
            group.halves[0] = Some(check.verdict(self.verify_lanes()));
            kid.key.check_enabled(kid.version.ok_or_else(kms_core::version_needed)?)?;
            let ok = self.conclude(&group);
            trace.invalid = !ok;
            let counts = (1, usize::from(!ok));
            let input: &[&[u8]] = &[message, signature];
            self.audit_verification(AuditVerify::All, Op::Verify, context, counts, input);
            Ok(ok)
        })
    }

    /// Verifies the signatures of one request.
    ///
    /// # Errors
    /// `NotFound`; `BadRequest` for kids that are missing, malformed, unversioned or at odds with
    /// each other; `Conflict` for a version that is not in use; `Unsupported` where the payload does not fit the key.
    pub fn verify(&self, context: &Context, wish: &VerifyRequest<'_>) -> Result<Verified> {
        self.run(Op::Verify, context, |trace| {
            let mut checks = Vec::with_capacity(wish.sigs.len());
            let mut plan = self.plan(context, wish, trace, &mut checks, &mut None)?;
            let verdicts = verdicts(self.verify_lanes(), &checks);
            let verified = self.verified(&mut plan, &verdicts)?;
            trace.invalid = !verified.ok;
            Ok(verified)
        })
    }

    /// Verifies the signatures of many requests side by side: an answer each, in order, the one that
    /// [`Engine::verify`] gives.
    ///
    /// Each request counts as one verification; with `timed` its latency is that of the whole call,
    /// because that is how long it waited.
    pub(crate) fn verify_together<'a, 'b: 'a>(
        &self,
        requests: impl ExactSizeIterator<Item = (&'a Context, &'a Result<VerifyRequest<'b>>)>,
        timed: bool,
    ) -> Vec<Result<Verified>> {
        let started = Instant::now();
        let mut traces = Vec::with_capacity(requests.len());
        let mut checks = Vec::with_capacity(requests.len());
        let mut planned = Vec::with_capacity(requests.len());
        let mut recent = None;
        for (context, request) in requests {
            let (mut trace, from) = (Trace::default(), checks.len());
            let plan = request.as_ref().map_err(Clone::clone).and_then(|wish| {
                self.admit(context)?;
                contain(AssertUnwindSafe(|| {
                    self.plan(context, wish, &mut trace, &mut checks, &mut recent)
                }))
            });
            if plan.is_err() {
                checks.truncate(from);
            }
            planned.push(plan.map(|plan| (plan, from..checks.len())));
            traces.push(trace);
        }
        let verdicts = contain(AssertUnwindSafe(|| Ok(verdicts(self.verify_lanes(), &checks))));
        let answers = planned.into_iter().zip(&mut traces).map(|(planned, trace)| {
            let (mut plan, own): (Plan, Range<usize>) = planned?;
            let verdicts = verdicts.as_ref().map_err(Clone::clone)?;
            let answer = self.verified(&mut plan, &verdicts[own])?;
            trace.invalid = !answer.ok;
            Ok(answer)
        });
        let answers: Vec<_> = answers.collect();
        for (answer, trace) in answers.iter().zip(&traces) {
            self.ended(Op::Verify, trace, answer, timed.then(|| started.elapsed()));
        }
        answers
    }

    pub(crate) fn verify_lanes(&self) -> VerifyLanes {
        VerifyLanes { ed25519: self.config.verify_lane, pq: self.config.pq_lane }
    }

    /// The one track of a version that has no other, and its group.
    ///
    /// # Errors
    /// `NotFound`, `BadRequest`; `Unsupported` for a hybrid key and one that wraps.
    pub(crate) fn one_track<'a>(
        &self,
        kid: &'a KnownKid,
        trace: &mut Trace,
    ) -> Result<(Algorithm, Group<'a>)> {
        let suite = self.version_of(kid)?.suite;
        trace.alg = suite.label();
        if suite.is_hybrid() || suite.wraps() {
            let why = "this key makes bundles of signatures, or none; verify the bundle";
            return Err(KmsError::unsupported(why).field("kid"));
        }
        let demand = self.demand(&kid.key);
        Ok((suite.named_by(), Group { key: &kid.key, suite, demand, halves: [None; 2] }))
    }

    /// Resolves the signatures of a request into checks. On an error some may have been added.
    fn plan<'a>(
        &self,
        context: &'a Context,
        wish: &'a VerifyRequest<'_>,
        trace: &mut Trace,
        checks: &mut Vec<Check<'a>>,
        recent: &mut Option<Recent<'a>>,
    ) -> Result<Plan> {
        let is_recent = |kid: &str| recent.as_ref().is_some_and(|it| it.names(context, kid));
        self.check_verifies(context, wish, is_recent)?;
        if wish.sigs.is_empty() {
            return Err(KmsError::bad_request("at least one signature is needed").field("sigs"));
        }
        let signed_under = SignatureContext::new(&wish.context)?;
        let mut plan = Plan { groups: smallvec![], places: smallvec![], checked: smallvec![] };
        let mut kids: SmallVec<[&str; 1]> = smallvec![];
        for (i, entry) in wish.sigs.iter().enumerate() {
            let kid = kid_of(wish, entry, i)?;
            let at = |error: KmsError| match (&wish.kid, error.field.as_deref()) {
                (None, Some("kid")) | (_, Some("alg")) => error.within(&format!("sigs[{i}]")),
                _ => error,
            };
            let group = match kids.iter().position(|known| *known == kid) {
                Some(group) => group,
                None => {
                    let found = match recent {
                        Some(recent) if recent.names(context, kid) => Rc::clone(&recent.found),
                        _ => {
                            let found = Rc::new(self.find_signer(context, kid, trace).map_err(at)?);
                            *recent = Some(Recent { context, kid, found: Rc::clone(&found) });
                            found
                        }
                    };
                    trace.alg = found.suite.label();
                    let demand = found.demand.and(wish.mode);
                    plan.groups.push(OwnedGroup { found, demand, halves: [None; 2] });
                    kids.push(kid);
                    kids.len() - 1
                }
            };
            let Found { kid, suite, .. } = &*plan.groups[group].found;
            let payload = &wish.payload;
            let check = self.check(kid, entry.alg, payload, signed_under, &entry.signature);
            checks.push(check.map_err(at)?);
            let track = suite.algs().iter().position(|alg| *alg == entry.alg).unwrap_or_default();
            if plan.places.contains(&(group, track)) {
                let error = KmsError::bad_request("two signatures of one algorithm for one kid");
                return Err(error.field(format!("sigs[{i}]")));
            }
            plan.places.push((group, track));
            if !plan.checked.contains(&entry.alg) {
                plan.checked.push(entry.alg);
            }
        }
        Ok(plan)
    }

    /// Finds the key of a kid, whose version must be in use and sign.
    fn find_signer(&self, context: &Context, kid: &str, trace: &mut Trace) -> Result<Found> {
        let kid = self.know(context, kid)?;
        let suite = self.version_of(&kid)?.suite;
        trace.alg = suite.label();
        if suite.wraps() {
            let error = KmsError::unsupported("this key wraps, and does not sign");
            return Err(error.field("kid"));
        }
        let demand = self.demand(&kid.key);
        Ok(Found { kid, suite, demand })
    }

    fn check<'a>(
        &self,
        kid: &KnownKid,
        alg: Algorithm,
        payload: &'a Payload<'_>,
        context: SignatureContext<'a>,
        signature: &'a [u8],
    ) -> Result<Check<'a>> {
        let version = kid.version.ok_or_else(kms_core::version_needed)?;
        let covered = payload.covered(kid.key.facts.signs)?;
        Check::new(&kid.key, version, alg, covered, context, signature)
    }

    /// # Errors
    /// `Conflict` for a version that was taken out of use meanwhile.
    fn verified(&self, plan: &mut Plan, verdicts: &[bool]) -> Result<Verified> {
        let mut cache_age_ms = None;
        for OwnedGroup { found, .. } in &plan.groups {
            let kid = &found.kid;
            let version = kid.version.ok_or_else(kms_core::version_needed)?;
            kid.key.check_enabled(version)?;
            cache_age_ms = cache_age_ms.max(self.cache_age_ms(kid.key.published(version)?)?);
        }
        for ((group, track), verdict) in plan.places.iter().zip(verdicts) {
            plan.groups[*group].halves[*track] = Some(*verdict);
        }
        // Every group is counted, whatever the others came to.
        let held = plan.groups.iter().filter(|group| self.conclude(&group.lend())).count();
        let ok = held == plan.groups.len();
        let is_asked = |mode: &Mode| plan.groups.iter().any(|group| group.demand.mode() == *mode);
        let least = Mode::ALL.into_iter().find(is_asked);
        Ok(Verified {
            ok,
            checked: std::mem::take(&mut plan.checked),
            satisfied_mode: least.filter(|_| ok),
            cache_age_ms,
        })
    }

    /// Whether the halves that were given satisfy the mode. Counts what held by its classical half alone, and what
    /// only policy refused.
    pub(crate) fn conclude(&self, group: &Group<'_>) -> bool {
        let Group { key, suite, demand, halves } = group;
        let held = halves.map(|half| half == Some(true));
        let ok = demand.is_met(*suite, held, || self.config.clock.unix_ms());
        let classical = !suite.named_by().is_post_quantum();
        if ok && classical && !held[1] {
            key.facts.classical_only.fetch_add(1, Relaxed);
        }
        let sound = halves.iter().flatten().all(|half| *half);
        if !ok && sound {
            self.counters.pq_refused();
        }
        ok
    }
}

/// The signatures of one kid, and what came of those that were given.
pub(crate) struct Group<'a> {
    key: &'a Arc<Key>,
    suite: Suite,
    demand: Demand,
    /// By track, the classical one first.
    pub(crate) halves: [Option<bool>; 2],
}

/// A kid, found, and what its signatures must satisfy.
struct Found {
    kid: KnownKid,
    suite: Suite,
    demand: Demand,
}

/// The kid that was found last: requests that come together often name the same.
struct Recent<'a> {
    context: &'a Context,
    kid: &'a str,
    found: Rc<Found>,
}

impl Recent<'_> {
    /// Whether it is this kid, and was found for a caller who may do the same.
    fn names(&self, context: &Context, kid: &str) -> bool {
        self.kid == kid && self.context.permits_as(context)
    }
}

struct OwnedGroup {
    found: Rc<Found>,
    /// What the request asks for, too.
    demand: Demand,
    halves: [Option<bool>; 2],
}

impl OwnedGroup {
    fn lend(&self) -> Group<'_> {
        let Found { kid, suite, .. } = &*self.found;
        Group { key: &kid.key, suite: *suite, demand: self.demand, halves: self.halves }
    }
}

/// What a request asks for, with its kids resolved.
struct Plan {
    groups: SmallVec<[OwnedGroup; 1]>,
    /// The group and the track of each signature, in order.
    places: SmallVec<[(usize, usize); 2]>,
    checked: SmallVec<[Algorithm; 2]>,
}

/// The kid of a signature: the request's, or its own where the request has none.
pub(crate) fn kid_of<'a>(
    wish: &'a VerifyRequest<'_>,
    entry: &'a SignatureEntry<'_>,
    i: usize,
) -> Result<&'a str> {
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
