//! From a body to its answer.

use std::sync::Arc;

use kms_core::{ErrorCode, KmsError, Result};

use crate::answer::{self, Outcome};
use crate::counters::Counters;
use crate::keys::Keys;
use crate::open::{NotOpened, open};
use crate::reason::Reason;
use crate::replay::ReplayWindow;
use crate::request::{self, BatchFault, NOT_A_PASSPORT};
use crate::time::Now;
use crate::work::Work;

/// What a verifier insists on.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How far clocks may differ, in seconds.
    pub clock_skew_s: u64,
    /// Longest payload in bytes.
    pub max_msg_bytes: usize,
    /// Most items of a batch.
    pub max_batch: usize,
    /// Whether a caller must say which audience it is.
    pub require_aud: bool,
    /// Kids that are this and the number of a version, and are not known, may become known: they are asked for. Empty for
    /// none.
    pub own_key: String,
}

/// Verifies passports under the keys that it was given.
pub struct Verifier {
    pub(crate) policy: Policy,
    pub(crate) keys: Keys,
    pub(crate) replay: Option<Arc<ReplayWindow>>,
    pub(crate) counters: Counters,
}

impl Verifier {
    /// A verifier that trusts no key yet.
    pub fn new(policy: Policy, replay: Option<Arc<ReplayWindow>>) -> Verifier {
        if let Some(window) = &replay {
            window.serve(policy.clock_skew_s);
        }
        Verifier { policy, keys: Keys::default(), replay, counters: Counters::default() }
    }

    /// Trusts a public key under a kid from now on.
    ///
    /// # Errors
    /// `BadRequest`, field `publicKey`, for a key under which nothing verifies.
    pub fn trust(&self, kid: &str, public_key: &[u8; 32]) -> Result<()> {
        self.keys.insert(kid, public_key)
    }

    /// Trusts the key of a kid no longer; what has not yet come to its verdict fails. Whether it was trusted.
    pub fn distrust(&self, kid: &str) -> bool {
        self.keys.remove(kid)
    }

    /// Number of trusted keys.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Marks of passports that must not come again.
    pub fn replay_marks(&self) -> usize {
        self.replay.as_ref().map_or(0, |window| window.len())
    }

    /// Answers an array of passports with an array of verdicts, in order. Each depends on nothing else in the batch but,
    /// with a replay window, on the same passport before it.
    ///
    /// With `ask`, kids that may become known are asked for before anything is decided.
    ///
    /// # Errors
    /// `BadRequest` for a body that is not an array of JSON, `TooLarge` for one of more items than may be.
    pub fn verify_batch(&self, body: &[u8], now: Now, ask: bool) -> Result<Outcome> {
        let items = request::batch(body, self.policy.max_batch).map_err(|fault| match fault {
            BatchFault::Malformed(fault) => KmsError::bad_request(fault).field("body"),
            BatchFault::TooLarge => too_large("has more items than a batch may have"),
        })?;
        let most = self.policy.max_msg_bytes;
        let mut arena = Vec::with_capacity(body.len());
        let opened: Vec<_> = items.into_iter().map(|item| open(item, most, &mut arena)).collect();
        let work = Work::new(self, &opened, &arena);
        if ask && let Some(kids) = work.unknown() {
            return Ok(Outcome::Unknown(kids));
        }
        let mut out = Vec::with_capacity(arena.len() + 64 * opened.len() + 2);
        out.push(b'[');
        for (i, verdict) in work.verdicts(now, |_| true).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            answer::write(&mut out, verdict);
        }
        out.push(b']');
        Ok(Outcome::Answer(out))
    }

    /// Answers one passport.
    ///
    /// # Errors
    /// `BadRequest` for a body that is no passport or does not decode, `TooLarge` for a payload over the limit.
    pub fn verify_one(&self, body: &[u8], now: Now, ask: bool) -> Result<Outcome> {
        let answer = self.verify_each(&[body], now, ask).pop();
        answer.unwrap_or_else(|| Err(KmsError::internal("no verdict")))
    }

    /// As [`Verifier::verify_one`] for many bodies that came at the same time, whose signatures are checked side by
    /// side: an answer each, in order.
    pub fn verify_each(&self, bodies: &[&[u8]], now: Now, ask: bool) -> Vec<Result<Outcome>> {
        let length = bodies.iter().map(|body| body.len()).sum();
        let mut arena = Vec::with_capacity(length);
        let mut refused: Vec<Option<KmsError>> = Vec::with_capacity(bodies.len());
        let mut opened = Vec::with_capacity(bodies.len());
        for body in bodies {
            let item =
                request::one(body).map_err(|fault| KmsError::bad_request(fault).field("body"));
            match item {
                Ok(Some(item)) => {
                    let item = open(Some(item), self.policy.max_msg_bytes, &mut arena);
                    refused.push(match item {
                        Err(NotOpened::Undecodable(fault)) => {
                            Some(KmsError::bad_request(fault).field("body"))
                        }
                        Err(NotOpened::TooLarge) => Some(too_large("has a payload over the limit")),
                        Ok(_) | Err(NotOpened::Malformed) => None,
                    });
                    opened.push(item);
                }
                Ok(None) => {
                    refused.push(Some(KmsError::bad_request(NOT_A_PASSPORT).field("body")));
                    opened.push(Err(NotOpened::Malformed));
                }
                Err(error) => {
                    refused.push(Some(error));
                    opened.push(Err(NotOpened::Malformed));
                }
            }
        }
        let work = Work::new(self, &opened, &arena);
        // Only the one that names an unknown kid waits for it.
        let asks: Vec<bool> = (0..bodies.len()).map(|i| ask && work.may_become_known(i)).collect();
        let mut verdicts = work.verdicts(now, |i| !asks[i]);
        let mut answer = |(i, refused): (usize, Option<KmsError>)| {
            if asks[i] {
                return Ok(Outcome::Unknown(vec![work.kid(i)]));
            }
            let verdict = verdicts.next().unwrap_or(Err(Reason::Internal));
            if let Some(error) = refused {
                return Err(error);
            }
            let mut out = Vec::with_capacity(verdict.map_or(64, |payload| payload.len() + 32));
            answer::write(&mut out, verdict);
            Ok(Outcome::Answer(out))
        };
        refused.into_iter().enumerate().map(&mut answer).collect()
    }
}

fn too_large(why: &'static str) -> KmsError {
    KmsError::new(ErrorCode::TooLarge, why).field("body")
}
