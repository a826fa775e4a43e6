//! From a body to its answer.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use kms_core::{ErrorCode, KmsError, Result};
use kms_crypto::ed25519::{self, KeyHandle, KeyRef, SIGNATURE_LEN, VerifyLane};

use crate::answer::{self, Outcome};
use crate::base64url;
use crate::claims::Claims;
use crate::counters::Counters;
use crate::json::Fault;
use crate::jws;
use crate::keys::Keys;
use crate::reason::Reason;
use crate::replay::ReplayWindow;
use crate::request::{self, BatchFault, Form, Item, NOT_A_PASSPORT};
use crate::time::Now;

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
    /// Kids that begin with this, and are not known, may become known: they are asked for. Empty for none.
    pub own_key: String,
}

/// Verifies passports under the keys that it was given.
pub struct Verifier {
    policy: Policy,
    keys: Keys,
    replay: Option<Arc<ReplayWindow>>,
    counters: Counters,
}

/// An item whose outer form was read.
struct Opened<'a> {
    signed: Signed<'a>,
    /// Where the payload is in the arena.
    payload: Range<usize>,
    /// `None` for a wrong length.
    signature: Option<[u8; SIGNATURE_LEN]>,
    kid: Cow<'a, str>,
    audience: Option<Cow<'a, str>>,
    scopes: Vec<Cow<'a, str>>,
}

/// What is signed.
enum Signed<'a> {
    /// The payload, which must be canonical.
    Payload,
    /// So many bytes of a token.
    Token(Cow<'a, str>, usize),
}

/// An item whose claims were read, too.
struct Ready<'o> {
    claims: Claims<'o>,
    payload: &'o [u8],
}

/// Why an item could not be opened.
enum NotOpened {
    /// Not base64url or not of three parts: a single request is refused as such.
    Undecodable(Fault),
    /// A single request is answered with it.
    Malformed,
    TooLarge,
}

/// Longest protected header, encoded.
const MAX_HEADER: usize = 1024;
const TOKEN: Fault = "has a token that is not three parts";
const BASE64URL: Fault = "has a part that is not base64url without padding";

impl Verifier {
    /// A verifier that trusts no key yet.
    pub fn new(policy: Policy, replay: Option<Arc<ReplayWindow>>) -> Verifier {
        Verifier { policy, keys: Keys::default(), replay, counters: Counters::default() }
    }

    /// Trusts a public key under a kid from now on.
    ///
    /// # Errors
    /// `BadRequest`, field `publicKey`, for a key under which nothing verifies.
    pub fn trust(&self, kid: &str, public_key: &[u8; 32]) -> Result<()> {
        self.keys.insert(kid, public_key)
    }

    /// Trusts the key of a kid no longer. When this returns, whatever was under way under it fails. Whether it was
    /// trusted.
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
        let mut arena = Vec::with_capacity(body.len());
        let opened: Vec<_> = items.into_iter().map(|item| self.open(item, &mut arena)).collect();
        let work = Work::new(self, &opened, &arena);
        if ask && let Some(kids) = work.unknown() {
            return Ok(Outcome::Unknown(kids));
        }
        let mut out = Vec::with_capacity(arena.len() + 64 * opened.len() + 2);
        out.push(b'[');
        for (i, verdict) in work.verdicts(now).into_iter().enumerate() {
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
                    let item = self.open(Some(item), &mut arena);
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
        // All of them wait for what one asks for: it is rare.
        if ask && let Some(kids) = work.unknown() {
            return bodies.iter().map(|_| Ok(Outcome::Unknown(kids.clone()))).collect();
        }
        let verdicts = work.verdicts(now).into_iter().zip(refused);
        let answers = verdicts.map(|(verdict, refused)| match refused {
            Some(error) => Err(error),
            None => {
                let mut out = Vec::with_capacity(verdict.map_or(64, |payload| payload.len() + 32));
                answer::write(&mut out, verdict);
                Ok(Outcome::Answer(out))
            }
        });
        answers.collect()
    }

    /// Decodes what is around the payload, and the payload into the arena.
    fn open<'a>(&self, item: Item<'a>, arena: &mut Vec<u8>) -> Result<Opened<'a>, NotOpened> {
        let item = item.ok_or(NotOpened::Malformed)?;
        let start = arena.len();
        let (msg, sig) = match &item.form {
            Form::Envelope { msg, sig, .. } => (&**msg, &**sig),
            Form::Token(token) => {
                let parts = jws::cut(token).ok_or(NotOpened::Undecodable(TOKEN))?;
                (parts.payload, parts.signature)
            }
        };
        // 4 characters for 3 bytes, so this is known before it is decoded.
        if msg.len() * 3 / 4 > self.policy.max_msg_bytes {
            return Err(NotOpened::TooLarge);
        }
        base64url::decode_into(msg, arena).ok_or(NotOpened::Undecodable(BASE64URL))?;
        let payload = start..arena.len();
        let signature =
            base64url::decode_signature(sig).ok_or(NotOpened::Undecodable(BASE64URL))?;
        let (kid, signed) = match item.form {
            Form::Envelope { alg, kid, .. } => {
                if alg != "Ed25519" {
                    return Err(NotOpened::Malformed);
                }
                (kid, Signed::Payload)
            }
            Form::Token(token) => {
                let parts = jws::cut(&token).ok_or(NotOpened::Undecodable(TOKEN))?;
                if parts.header.len() > MAX_HEADER {
                    return Err(NotOpened::Malformed);
                }
                let mut header = Vec::new();
                base64url::decode_into(parts.header, &mut header)
                    .ok_or(NotOpened::Undecodable(BASE64URL))?;
                let kid = jws::kid(&header).map_err(|_| NotOpened::Malformed)?.into_owned();
                let length = parts.signed.len();
                (Cow::Owned(kid), Signed::Token(token, length))
            }
        };
        Ok(Opened { signed, payload, signature, kid, audience: item.audience, scopes: item.scopes })
    }
}

/// A request whose items were opened, on its way to verdicts.
struct Work<'o, 'a> {
    verifier: &'o Verifier,
    opened: &'o [Result<Opened<'a>, NotOpened>],
    ready: Vec<Option<Ready<'o>>>,
    keys: Vec<Option<Arc<KeyHandle>>>,
    /// The keys' epoch before they were looked up.
    epoch: u64,
}

impl<'o, 'a> Work<'o, 'a> {
    fn new(
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

    /// Kids that are not known here and may be elsewhere, each once.
    fn unknown(&self) -> Option<Vec<String>> {
        let own_key = &*self.verifier.policy.own_key;
        if own_key.is_empty() {
            return None;
        }
        let mut kids: Vec<String> = Vec::new();
        for ((opened, ready), key) in self.opened.iter().zip(&self.ready).zip(&self.keys) {
            if let (Ok(opened), Some(_), None) = (opened, ready, key)
                && opened.kid.starts_with(own_key)
                && !kids.iter().any(|kid| *kid == *opened.kid)
            {
                kids.push(opened.kid.to_string());
            }
        }
        (!kids.is_empty()).then_some(kids)
    }

    /// The payload of each passport that is taken, and why each other one is not.
    fn verdicts(&self, now: Now) -> Vec<Result<&'o [u8], Reason>> {
        let signed = self.signatures();
        let counters = &self.verifier.counters;
        // A key that was distrusted meanwhile has no passports.
        let changed = self.verifier.keys.epoch() != self.epoch;
        let verdicts = self.ready.iter().enumerate().map(|(i, ready)| {
            let verdict = (|| {
                let ready = ready.as_ref().ok_or(Reason::Malformed)?;
                let opened = self.opened[i].as_ref().map_err(|_| Reason::Malformed)?;
                let handle = self.keys[i].as_ref().ok_or(Reason::UnknownKid)?;
                if changed && !self.verifier.keys.is_current(&opened.kid, handle) {
                    return Err(Reason::UnknownKid);
                }
                if !signed[i] || ready.claims.kid != opened.kid {
                    return Err(Reason::VerifyFailed);
                }
                self.check_claims(opened, &ready.claims, now)?;
                Ok(ready.payload)
            })();
            counters.verdict(verdict.map(drop));
            verdict
        });
        verdicts.collect()
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
            Some(window) => window.record(claims, now.latest, policy.clock_skew_s),
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

fn too_large(why: &'static str) -> KmsError {
    KmsError::new(ErrorCode::TooLarge, why).field("body")
}
