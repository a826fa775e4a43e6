//! The items of a request on their way to verdicts.

use std::sync::Arc;

use kms_crypto::ed25519::{self, KeyHandle, KeyRef, VerifyLane};

use crate::claims::Claims;
use crate::open::{NotOpened, Opened, Signed};
use crate::reason::Reason;
use crate::time::Now;
use crate::verify::Verifier;

/// Whether a kid is `key` with the number of a version behind it: what looks like one and is none is asked for nowhere.
fn is_version_of(key: &str, kid: &str) -> bool {
    let is_number = |number: &str| {
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        digits && !number.starts_with('0') && (1..=10).contains(&number.len())
    };
    kid.strip_prefix(key).is_some_and(is_number)
}

/// An item whose claims were read, too.
struct Ready<'o> {
    claims: Claims<'o>,
    payload: &'o [u8],
}

/// A request whose items were opened, on its way to verdicts.
pub(crate) struct Work<'o, 'a> {
    verifier: &'o Verifier,
    opened: &'o [Result<Opened<'a>, NotOpened>],
    ready: Vec<Option<Ready<'o>>>,
    keys: Vec<Option<Arc<KeyHandle>>>,
    /// The keys' epoch before they were looked up.
    epoch: u64,
}

impl<'o, 'a> Work<'o, 'a> {
    pub(crate) fn new(
        verifier: &'o Verifier,
        opened: &'o [Result<Opened<'a>, NotOpened>],
        arena: &'o [u8],
    ) -> Self {
        let ready = |opened: &'o Result<Opened<'a>, NotOpened>| {
            let opened = opened.as_ref().ok()?;
            let payload = &arena[opened.payload.clone()];
            let claims = match opened.signed {
                Signed::Payload => Claims::read::<true>(payload),
                Signed::Token(..) => Claims::read::<false>(payload),
            };
            claims.ok().map(|claims| Ready { claims, payload })
        };
        let ready: Vec<_> = opened.iter().map(ready).collect();
        let epoch = verifier.keys.epoch();
        let kids = opened.iter().zip(&ready).map(|(opened, ready)| {
            ready.as_ref()?;
            opened.as_ref().ok().map(|opened| &*opened.kid)
        });
        let keys = verifier.keys.resolve(kids);
        Work { verifier, opened, ready, keys, epoch }
    }

    /// Whether the kid of an item is not known here, and may be elsewhere.
    pub(crate) fn may_become_known(&self, i: usize) -> bool {
        let unknown = self.ready[i].is_some() && self.keys[i].is_none();
        let own_key = &*self.verifier.policy.own_key;
        let is_own = |opened: &Opened<'_>| is_version_of(own_key, &opened.kid);
        unknown && !own_key.is_empty() && self.opened[i].as_ref().is_ok_and(is_own)
    }

    /// The kid of an item.
    pub(crate) fn kid(&self, i: usize) -> String {
        self.opened[i].as_ref().map_or_else(|_| String::new(), |opened| opened.kid.to_string())
    }

    /// Kids that are not known here and may be elsewhere, each once.
    pub(crate) fn unknown(&self) -> Option<Vec<String>> {
        let asks = (0..self.opened.len()).filter(|i| self.may_become_known(*i));
        let mut kids: Vec<String> = asks.map(|i| self.kid(i)).collect();
        kids.sort_unstable();
        kids.dedup();
        (!kids.is_empty()).then_some(kids)
    }

    /// The payload of each passport that is taken, and why each other one is not, of those that `decide` names: others
    /// are passed over, uncounted.
    pub(crate) fn verdicts(
        &self,
        now: Now,
        decide: impl Fn(usize) -> bool,
    ) -> impl Iterator<Item = Result<&'o [u8], Reason>> {
        let signed = self.signatures();
        // A key that was distrusted meanwhile has no passports.
        let changed = self.verifier.keys.epoch() != self.epoch;
        let decided = (0..self.opened.len()).filter(move |i| decide(*i));
        decided.map(move |i| {
            let verdict = self.verdict(i, signed[i], changed, now);
            self.verifier.counters.verdict(verdict.map(drop));
            verdict
        })
    }

    fn verdict(&self, i: usize, signed: bool, changed: bool, now: Now) -> Result<&'o [u8], Reason> {
        let ready = self.ready[i].as_ref().ok_or(Reason::Malformed)?;
        let opened = self.opened[i].as_ref().map_err(|_| Reason::Malformed)?;
        let handle = self.keys[i].as_ref().ok_or(Reason::UnknownKid)?;
        if changed && !self.verifier.keys.is_current(&opened.kid, handle) {
            return Err(Reason::UnknownKid);
        }
        if !signed || ready.claims.kid != opened.kid {
            return Err(Reason::VerifyFailed);
        }
        self.check_claims(opened, &ready.claims, now)?;
        Ok(ready.payload)
    }

    fn check_claims(
        &self,
        opened: &Opened<'_>,
        claims: &Claims<'_>,
        now: Now,
    ) -> Result<(), Reason> {
        let Verifier { policy, replay, counters, .. } = self.verifier;
        claims.check_time(now, policy.clock_skew_s, &counters.skewed)?;
        claims.check_audience(opened.audience.as_deref(), policy.require_aud)?;
        claims.check_scopes(&opened.scopes)?;
        match replay {
            Some(window) => window.record(claims, now.latest),
            None => Ok(()),
        }
    }

    /// Which signatures hold, side by side.
    fn signatures(&self) -> Vec<bool> {
        let mut indices = Vec::with_capacity(self.opened.len());
        let mut items = Vec::with_capacity(self.opened.len());
        for (i, ((opened, ready), key)) in
            self.opened.iter().zip(&self.ready).zip(&self.keys).enumerate()
        {
            let (Ok(opened), Some(ready), Some(key)) = (opened, ready, key) else { continue };
            let Some(signature) = &opened.signature else { continue };
            let message = match &opened.signed {
                Signed::Payload => ready.payload,
                Signed::Token(token, length) => &token.as_bytes()[..*length],
            };
            indices.push(i);
            items.push(ed25519::Item { key: KeyRef::Handle(key), message, signature });
        }
        let mut held = vec![false; self.opened.len()];
        if items.is_empty() {
            return held;
        }
        self.verifier.counters.batch(items.len());
        if let ([i], [item]) = (&*indices, &*items) {
            held[*i] = ed25519::verify(VerifyLane::Auto, item.key, item.message, item.signature);
            return held;
        }
        let mut verdicts = vec![0; items.len()];
        ed25519::verify_batch(VerifyLane::Auto, &items, &mut verdicts);
        for (i, verdict) in indices.into_iter().zip(verdicts) {
            held[i] = verdict == 1;
        }
        held
    }
}
