//! Passports: verifying whole requests, and the bytes that an issuer has signed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use kms_core::{KmsError, OsEntropy, Result, SystemClock};
use kms_engine::wire::error_json;
use kms_passport::{
    BATCH_BOUNDS, Format, IssuePolicy, Now, Outcome, Policy, Reason, ReplayWindow, TimeGuard,
    Verifier, canonical, issue,
};
use napi::Env;
use napi::bindgen_prelude::{Either, Object, Uint8Array, Uint8ArraySlice, Uint32ArraySlice};
use napi_derive::napi;

use crate::bytes;
use crate::task::{guard, pool, spawn};

/// The canonical form of a JSON text (RFC 8785).
#[napi]
pub fn canonical_json(text: Uint8ArraySlice<'_>) -> napi::Result<Uint8Array> {
    guard("canonicalJson", || {
        let text = bytes::at_most(&text, kms_passport::MAX_BYTES);
        canonical(&text).map(Uint8Array::from)
    })
}

/// What a verifier insists on, and what an issuer writes.
#[napi(object)]
pub struct PassportOptions {
    /// How far clocks may differ, in seconds.
    pub clock_skew_s: u32,
    /// Longest payload in bytes.
    pub max_msg_bytes: u32,
    /// Most items of a batch.
    pub max_batch: u32,
    /// Whether a caller must say which audience it is.
    pub require_aud: bool,
    /// Kids that begin with this are asked for where they are not known.
    pub own_key: Option<String>,
    /// The replay window, which verifiers of one name share in this process; none by default.
    pub replay: Option<ReplayOptions>,
    /// `iss`.
    pub issuer: String,
    /// Lifetime where none is asked for, in seconds.
    pub default_ttl_s: u32,
    /// Longest lifetime, in seconds.
    pub max_ttl_s: u32,
}

/// A replay window.
#[napi(object)]
pub struct ReplayOptions {
    /// Its name in this process.
    pub name: String,
    /// Most marks that it holds; the first to name it decides.
    pub max_items: u32,
}

/// The answer to one of several requests: its JSON, the JSON of its error, or the kids to look for before it is made
/// again.
#[napi(object)]
pub struct PassportAnswer {
    /// The answer's JSON.
    pub answer: Option<String>,
    /// The error's JSON.
    pub error: Option<String>,
    /// Kids that are not known here.
    pub unknown: Option<Vec<String>>,
}

/// What is to be signed.
#[napi(object)]
pub struct PassportToSign {
    /// Whether it becomes a compact JWS.
    pub jwt: bool,
    /// The canonical payload, or the signing input of a JWS.
    pub signed: Uint8Array,
    /// `exp`.
    pub expires_at: f64,
}

/// What was counted since the verifier was made.
#[napi(object)]
pub struct PassportCounters {
    /// Passports that were taken.
    pub ok: f64,
    /// Passports that were not, by reason.
    pub reasons: HashMap<String, f64>,
    /// Upper bounds of `batches`.
    pub batch_bounds: Vec<f64>,
    /// Native batches by length; not cumulative, the last one is above all bounds.
    pub batches: Vec<f64>,
    /// Signatures that were checked side by side.
    pub batched: f64,
    /// Signatures that were checked alone.
    pub single: f64,
    /// Tokens that were over, but by no more than the skew.
    pub skewed_expired: f64,
    /// Tokens that had not begun, but by no more than the skew.
    pub skewed_early: f64,
    /// Trusted keys.
    pub keys: u32,
    /// Marks in the replay window.
    pub replay_marks: u32,
    /// How far the wall clock is behind the time that has passed, in milliseconds.
    pub clock_behind_ms: f64,
}

/// A verifier with its keys, and the policy of an issuer.
#[napi]
pub struct NativePassport {
    shared: Arc<Shared>,
    issue: IssuePolicy,
}

/// What threads share.
struct Shared {
    verifier: Verifier,
    clock: SystemClock,
    guard: TimeGuard,
}

impl Shared {
    /// The moment: that of the caller where it says one.
    fn now(&self, at: Option<f64>) -> Now {
        // A cast saturates; nobody's time is negative.
        at.map_or_else(|| self.guard.now(&self.clock), |at| Now::at(at as u64))
    }
}

type Batch = Either<Uint8Array, Vec<String>>;

#[napi]
impl NativePassport {
    /// A verifier that trusts no key yet.
    #[napi(constructor)]
    pub fn new(options: PassportOptions) -> napi::Result<Self> {
        guard("NativePassport", || {
            let policy = Policy {
                clock_skew_s: options.clock_skew_s.into(),
                max_msg_bytes: options.max_msg_bytes as usize,
                max_batch: options.max_batch as usize,
                require_aud: options.require_aud,
                own_key: options.own_key.unwrap_or_default(),
            };
            let issue = IssuePolicy {
                issuer: options.issuer,
                default_ttl_s: options.default_ttl_s.into(),
                max_ttl_s: options.max_ttl_s.into(),
                max_msg_bytes: policy.max_msg_bytes,
            };
            let replay = options.replay.map(|replay| window(replay.name, replay.max_items));
            let clock = SystemClock::new();
            let guard = TimeGuard::new(&clock);
            let verifier = Verifier::new(policy, replay);
            Ok(NativePassport { shared: Arc::new(Shared { verifier, clock, guard }), issue })
        })
    }

    /// Trusts a public key of 32 bytes under a kid.
    #[napi]
    pub fn trust(&self, kid: String, public_key: Uint8ArraySlice<'_>) -> napi::Result<()> {
        guard("NativePassport.trust", || {
            self.shared.verifier.trust(&kid, &bytes::fixed(&public_key, "publicKey")?)
        })
    }

    /// Trusts the key of a kid no longer: what has not yet come to its verdict fails. Whether it was trusted.
    #[napi]
    pub fn distrust(&self, kid: String) -> napi::Result<bool> {
        guard("NativePassport.distrust", || Ok(self.shared.verifier.distrust(&kid)))
    }

    /// Answers an array of passports: the answer's JSON, or with `ask` the kids to look for first.
    #[napi]
    pub fn verify_batch(
        &self,
        body: Uint8ArraySlice<'_>,
        ask: bool,
        at: Option<f64>,
    ) -> napi::Result<Either<Uint8Array, Vec<String>>> {
        guard("NativePassport.verifyBatch", || {
            // It is read more than once, and another thread may write to it meanwhile.
            let body = bytes::owned(&body);
            self.shared.verifier.verify_batch(&body, self.shared.now(at), ask).map(batch)
        })
    }

    /// As `verifyBatch`, on the addon's threads.
    #[napi(ts_return_type = "Promise<Uint8Array | Array<string>>")]
    pub fn verify_batch_async<'env>(
        &self,
        env: &'env Env,
        body: Uint8ArraySlice<'_>,
        ask: bool,
        at: Option<f64>,
    ) -> napi::Result<Object<'env>> {
        let body = guard("NativePassport.verifyBatchAsync", || Ok(bytes::owned(&body)))?;
        let shared = Arc::clone(&self.shared);
        let work = move || shared.verifier.verify_batch(&body, shared.now(at), ask);
        spawn(env, pool(), "NativePassport.verifyBatchAsync.task", work, |_, outcome| {
            Ok(batch(outcome))
        })
    }

    /// Answers one passport: the answer's JSON, or with `ask` the kids to look for first.
    #[napi]
    pub fn verify(
        &self,
        body: Uint8ArraySlice<'_>,
        ask: bool,
        at: Option<f64>,
    ) -> napi::Result<Either<String, Vec<String>>> {
        guard("NativePassport.verify", || {
            let body = bytes::owned(&body);
            one(self.shared.verifier.verify_one(&body, self.shared.now(at), ask)?)
        })
    }

    /// As `verify`, on the addon's threads.
    #[napi(ts_return_type = "Promise<string | Array<string>>")]
    pub fn verify_async<'env>(
        &self,
        env: &'env Env,
        body: Uint8ArraySlice<'_>,
        ask: bool,
        at: Option<f64>,
    ) -> napi::Result<Object<'env>> {
        let body = guard("NativePassport.verifyAsync", || Ok(bytes::owned(&body)))?;
        let shared = Arc::clone(&self.shared);
        let work = move || one(shared.verifier.verify_one(&body, shared.now(at), ask)?);
        spawn(env, pool(), "NativePassport.verifyAsync.task", work, |_, answer| Ok(answer))
    }

    /// As `verify` for bodies that came at the same time: an answer each, in order. Body i is between the offsets i and
    /// i + 1.
    #[napi]
    pub fn verify_each(
        &self,
        bodies: Uint8ArraySlice<'_>,
        offsets: Uint32ArraySlice<'_>,
        ask: bool,
        at: Option<f64>,
    ) -> napi::Result<Vec<PassportAnswer>> {
        guard("NativePassport.verifyEach", || {
            let (bodies, offsets) = (bytes::owned(&bodies), offsets.to_vec());
            let body = |ends: &[u32]| bodies.get(ends[0] as usize..ends[1] as usize);
            let bodies: Option<Vec<&[u8]>> = offsets.windows(2).map(body).collect();
            let fault = || KmsError::bad_request("must ascend within bodies").field("offsets");
            let bodies = bodies.ok_or_else(fault)?;
            let answers = self.shared.verifier.verify_each(&bodies, self.shared.now(at), ask);
            Ok(answers.into_iter().map(PassportAnswer::from).collect())
        })
    }

    /// The bytes to sign for a wish, under the version `kid`.
    #[napi]
    pub fn issue(
        &self,
        body: Uint8ArraySlice<'_>,
        kid: String,
        at: Option<f64>,
    ) -> napi::Result<PassportToSign> {
        guard("NativePassport.issue", || {
            let body = bytes::owned(&body);
            let now = self.shared.now(at).earliest;
            let issued = issue(&self.issue, &body, &kid, now, &OsEntropy)?;
            Ok(PassportToSign {
                jwt: issued.format == Format::Jwt,
                signed: issued.signed.into(),
                expires_at: issued.expires_at as f64,
            })
        })
    }

    /// What was counted.
    #[napi]
    pub fn counters(&self) -> napi::Result<PassportCounters> {
        guard("NativePassport.counters", || {
            let Shared { verifier, clock, guard } = &*self.shared;
            guard.now(clock);
            let counted = verifier.counters().snapshot();
            let float = |count: u64| count as f64;
            let reasons = Reason::ALL.iter().zip(counted.reasons);
            Ok(PassportCounters {
                ok: float(counted.ok),
                reasons: reasons.map(|(reason, n)| (reason.name().to_owned(), float(n))).collect(),
                batch_bounds: BATCH_BOUNDS.map(float).to_vec(),
                batches: counted.batches.into_iter().map(float).collect(),
                batched: float(counted.batched),
                single: float(counted.single),
                skewed_expired: float(counted.skewed_expired),
                skewed_early: float(counted.skewed_early),
                keys: u32::try_from(verifier.key_count()).unwrap_or(u32::MAX),
                replay_marks: u32::try_from(verifier.replay_marks()).unwrap_or(u32::MAX),
                clock_behind_ms: float(guard.behind_ms()),
            })
        })
    }
}

impl From<Result<Outcome>> for PassportAnswer {
    fn from(outcome: Result<Outcome>) -> Self {
        let none = PassportAnswer { answer: None, error: None, unknown: None };
        match outcome.and_then(one) {
            Ok(Either::A(answer)) => PassportAnswer { answer: Some(answer), ..none },
            Ok(Either::B(kids)) => PassportAnswer { unknown: Some(kids), ..none },
            Err(error) => PassportAnswer { error: Some(error_json(&error)), ..none },
        }
    }
}

fn one(outcome: Outcome) -> Result<Either<String, Vec<String>>> {
    match outcome {
        Outcome::Answer(json) => text(json).map(Either::A),
        Outcome::Unknown(kids) => Ok(Either::B(kids)),
    }
}

fn batch(outcome: Outcome) -> Batch {
    match outcome {
        Outcome::Answer(json) => Either::A(json.into()),
        Outcome::Unknown(kids) => Either::B(kids),
    }
}

fn text(json: Vec<u8>) -> Result<String> {
    // A payload was read as UTF-8 before it came into an answer.
    String::from_utf8(json).map_err(|_| KmsError::internal("the answer is not UTF-8"))
}

/// The window of a name, which lives as long as a verifier that has it.
fn window(name: String, most: u32) -> Arc<ReplayWindow> {
    static WINDOWS: OnceLock<Mutex<HashMap<String, Weak<ReplayWindow>>>> = OnceLock::new();
    let windows = WINDOWS.get_or_init(Mutex::default);
    let mut windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
    windows.retain(|_, window| window.strong_count() > 0);
    if let Some(window) = windows.get(&name).and_then(Weak::upgrade) {
        return window;
    }
    let window = Arc::new(ReplayWindow::new(most as usize));
    windows.insert(name, Arc::downgrade(&window));
    window
}
