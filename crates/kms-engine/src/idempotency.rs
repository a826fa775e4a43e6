//! Recorded answers: the same op_id with the same body gives the same answer again.
//!
//! An op_id belongs to its tenant, operation and actor, which is the identifier of a capability. Only successes are recorded, so a request
//! that failed may be sent again under its op_id.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kms_core::{ErrorCode, KmsError, Result};
use uuid::Uuid;

use crate::dispatch::Response;
use crate::op::Op;

/// How long an answer is kept: 24 hours, in milliseconds.
const KEEP_MS: u64 = 24 * 3_600_000;
/// Most answers kept, where an answer counts once for each 512 bytes of each of its signatures: some tens of
/// megabytes. A tenant may fill as much of it as is still free: half of it alone, half of what is left after another. So nobody fills it for the others. Past that mutations with a new op_id are refused until old ones expire.
const CAPACITY: usize = 65_536;

/// To whom an op_id belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) tenant: Box<str>,
    pub(crate) actor: Box<str>,
    pub(crate) op: Op,
    pub(crate) op_id: Uuid,
}

/// BLAKE3-256 of a request.
pub(crate) type Fingerprint = [u8; 32];

/// The fingerprint of a decoded request: spelling and order of its JSON do not matter.
pub(crate) fn fingerprint(request: &impl Hash) -> Fingerprint {
    struct Blake3(blake3::Hasher);
    impl Hasher for Blake3 {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            unreachable!("the full hash is read instead")
        }
    }
    let mut hasher = Blake3(blake3::Hasher::new());
    request.hash(&mut hasher);
    *hasher.0.finalize().as_bytes()
}

#[derive(Default)]
struct Answers {
    by_scope: HashMap<Scope, (Fingerprint, Option<Response>)>,
    /// In order of expiry, which is the order of arrival.
    expiry: VecDeque<(u64, Scope)>,
    /// What counts against [`CAPACITY`].
    weight: usize,
    /// The same by tenant, where it is not 0.
    by_tenant: HashMap<Box<str>, usize>,
}

/// The answers of one engine.
#[derive(Default)]
pub(crate) struct Idempotency(Mutex<Answers>);

impl Idempotency {
    /// Finds the recorded answer, or claims the op_id for the caller to act under.
    ///
    /// # Errors
    /// `Conflict` where the op_id is in flight (retryable) or had another body (not);
    /// `Backpressure` where the record is full.
    pub(crate) fn begin(
        &self,
        scope: Scope,
        fingerprint: Fingerprint,
        now_ms: u64,
    ) -> Result<Begun<'_>> {
        let mut answers = self.lock();
        answers.expire(now_ms);
        if let Some((recorded, answer)) = answers.by_scope.get(&scope) {
            return match answer {
                _ if *recorded != fingerprint => {
                    Err(KmsError::conflict("op_id was used with another body").field("op_id"))
                }
                Some(answer) => Ok(Begun::Answered(Box::new(answer.clone()))),
                None => {
                    Err(KmsError::conflict("op_id is in flight").field("op_id").retryable(true))
                }
            };
        }
        if !answers.has_room(&scope.tenant) {
            let error = KmsError::new(ErrorCode::Backpressure, "no room to record another op_id");
            return Err(error.retry_after_ms(60_000));
        }
        answers.by_scope.insert(scope.clone(), (fingerprint, None));
        answers.add(&scope.tenant, 1);
        Ok(Begun::Claimed(Claim { record: self, scope, fingerprint }))
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        // Each critical section is a few map operations that keep both collections consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    fn has_room(&self, tenant: &str) -> bool {
        let own = self.by_tenant.get(tenant).copied().unwrap_or_default();
        own < CAPACITY.saturating_sub(self.weight)
    }

    fn add(&mut self, tenant: &str, weight: usize) {
        self.weight += weight;
        *self.by_tenant.entry(tenant.into()).or_default() += weight;
    }

    fn take(&mut self, tenant: &str, weight: usize) {
        self.weight -= weight;
        if let Some(own) = self.by_tenant.get_mut(tenant) {
            *own -= weight;
            if *own == 0 {
                self.by_tenant.remove(tenant);
            }
        }
    }

    fn expire(&mut self, now_ms: u64) {
        while self.expiry.front().is_some_and(|(due, _)| *due <= now_ms) {
            if let Some((_, scope)) = self.expiry.pop_front() {
                let answer = self.by_scope.remove(&scope).and_then(|(_, answer)| answer);
                self.take(&scope.tenant, answer.as_ref().map_or(1, weight));
            }
        }
    }
}

fn weight(response: &Response) -> usize {
    match response {
        Response::Signed(signed, _) => {
            signed.iter().map(|it| it.signature.as_bytes().len().div_ceil(512)).sum()
        }
        _ => 1,
    }
}

/// What became of an op_id.
pub(crate) enum Begun<'a> {
    /// It was carried out before; this was the answer.
    Answered(Box<Response>),
    /// It is the caller's to carry out.
    Claimed(Claim<'a>),
}

/// An op_id in flight; given back when the operation fails or panics.
pub(crate) struct Claim<'a> {
    record: &'a Idempotency,
    scope: Scope,
    fingerprint: Fingerprint,
}

impl Claim<'_> {
    /// Records the answer.
    pub(crate) fn keep(self, response: Response, now_ms: u64) {
        let mut answers = self.record.lock();
        answers.add(&self.scope.tenant, weight(&response) - 1);
        answers.by_scope.insert(self.scope.clone(), (self.fingerprint, Some(response)));
        answers.expiry.push_back((now_ms.saturating_add(KEEP_MS), self.scope.clone()));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut answers = self.record.lock();
        if matches!(answers.by_scope.get(&self.scope), Some((_, None))) {
            answers.by_scope.remove(&self.scope);
            answers.take(&self.scope.tenant, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::SetOrOne::One;
    use crate::material::Signature;
    use crate::sign::Signed;

    fn claim<'a>(record: &'a Idempotency, tenant: &str, n: u128, now_ms: u64) -> Result<Begun<'a>> {
        let (tenant, actor, op_id) = (tenant.into(), "a".into(), Uuid::from_u128(n));
        record.begin(Scope { tenant, actor, op: Op::Create, op_id }, [0; 32], now_ms)
    }

    /// Answers that a tenant can have recorded before it is refused.
    fn fill(record: &Idempotency, tenant: &str) -> usize {
        for n in 0.. {
            match claim(record, tenant, n, 0) {
                Ok(Begun::Claimed(claim)) => claim.keep(Response::Signed(signed(), One), 0),
                Ok(Begun::Answered(_)) => panic!("a fresh op_id"),
                Err(error) => {
                    assert_eq!(error.code, ErrorCode::Backpressure);
                    assert!(error.retryable);
                    return usize::try_from(n).unwrap();
                }
            }
        }
        unreachable!()
    }

    /// One of weight 16.
    fn signed() -> Vec<Signed> {
        let key = kms_core::KeyId {
            tenant: kms_core::Name::parse("core", "tenant").unwrap(),
            purpose: kms_core::Name::parse("audit", "purpose").unwrap(),
            alg: kms_core::Algorithm::MlDsa65,
            uuid: Uuid::nil(),
        };
        let kid = key.at(kms_core::Version::MIN);
        let signature = Signature::Long(vec![0; 16 * 512]);
        vec![Signed {
            kid,
            alg: kms_core::Algorithm::MlDsa65,
            signature,
            attestation: None,
            audit: None,
        }]
    }

    #[test]
    fn no_tenant_fills_the_record_for_the_others() {
        let record = Idempotency::default();
        let whole = CAPACITY / 16;
        assert_eq!(fill(&record, "one"), whole / 2);
        assert_eq!(fill(&record, "two"), whole / 4, "of what the first left, half");
        assert!(matches!(claim(&record, "three", 0, 0), Ok(Begun::Claimed(_))));
        assert!(claim(&record, "one", u128::MAX, 0).is_err());
        assert!(matches!(claim(&record, "one", 0, 0), Ok(Begun::Answered(_))), "still replayed");
        assert!(matches!(claim(&record, "one", u128::MAX, KEEP_MS), Ok(Begun::Claimed(_))));
        assert!(record.lock().by_tenant.is_empty() && record.lock().weight == 0, "all expired");
    }

    #[test]
    fn an_op_id_that_is_given_back_weighs_nothing() {
        let record = Idempotency::default();
        for n in 0..u128::try_from(2 * CAPACITY).unwrap() {
            assert!(matches!(claim(&record, "one", n, 0), Ok(Begun::Claimed(_))));
        }
        assert_eq!(record.lock().weight, 0);
    }
}
