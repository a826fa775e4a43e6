//! Tokens: opened for a service, shown to metrics and readiness, closed before the process ends.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use kms_core::{KmsError, Result, SecretBytes};
use kms_engine::{AttestPolicy, Engine, EngineConfig, Reconciled, Remote};
use kms_pkcs11::{Backoff, Config, Deadlines, LATENCY_BOUNDS, PoolLimits, Token};
use napi_derive::napi;
use serde_json::{Value, json};
use zeroize::Zeroize;

use crate::kms::NativeKms;
use crate::task::guard;

/// A token behind a PKCS#11 module. Times are in milliseconds.
#[napi(object)]
pub struct Pkcs11Options {
    /// The module's library, an absolute path.
    pub module_path: String,
    /// The token's label, exact.
    pub slot_label: String,
    /// The environment variable that holds the PIN of the normal user.
    pub pin_env: String,
    /// Most sessions: 16 by default, at most 256.
    pub max_sessions: Option<u32>,
    /// Most calls that wait for a session: 512 by default.
    pub queue: Option<u32>,
    /// A session that was idle for this long is asked whether it lives: 30 s by default.
    pub keep_alive_ms: Option<u32>,
    /// A session that was idle for this long is closed, but for the last one: 5 min by default.
    pub idle_close_ms: Option<u32>,
    /// After this many calls failed in a row, the token counts as gone: 5 by default.
    pub trip_after: Option<u32>,
    /// The first delay before a token that is gone is asked again: 100 ms by default. It doubles, with jitter.
    pub backoff_first_ms: Option<u32>,
    /// The longest: 5 s by default.
    pub backoff_most_ms: Option<u32>,
    /// Longest that one operation waits for the token: 2 s by default.
    pub deadline_ms: Option<u32>,
    /// Longest that opening it takes: 10 s by default.
    pub open_deadline_ms: Option<u32>,
    /// Whether evidence of where keys are is asked for: `never`, `if-available` (by default) or `required`.
    pub attest_require: Option<String>,
    /// For how long keys are verified with while the token is away; after twice this they are not. 5 min by default.
    pub verify_cache_ttl_ms: Option<u32>,
    /// Whether the store also has keys that the backend `file` made: they only verify. No by default.
    pub with_file: Option<bool>,
    /// Whether one of those signs where it claims the same custody as the token's; none does in this version.
    pub allow_sign_fallback: Option<bool>,
}

impl Pkcs11Options {
    fn config(&self) -> Result<Config> {
        let mut pin = match std::env::var(&self.pin_env) {
            Ok(pin) if !pin.is_empty() => pin,
            _ => {
                let why = "the environment variable is not set, is empty, or is no text";
                return Err(KmsError::bad_request(why).field("pin_env"));
            }
        };
        let secret = SecretBytes::copy_of(pin.as_bytes());
        pin.zeroize();
        let PoolLimits { max_sessions, queue, keep_alive, idle_close, trip_after } =
            PoolLimits::default();
        let (deadlines, backoff) = (Deadlines::default(), Backoff::default());
        let number = |given: Option<u32>, default| given.map_or(default, |it| it as usize);
        Ok(Config {
            module: PathBuf::from(&self.module_path),
            token_label: self.slot_label.clone(),
            pin: secret,
            pool: PoolLimits {
                max_sessions: number(self.max_sessions, max_sessions),
                queue: number(self.queue, queue),
                keep_alive: millis(self.keep_alive_ms, keep_alive),
                idle_close: millis(self.idle_close_ms, idle_close),
                trip_after: self.trip_after.unwrap_or(trip_after),
            },
            deadlines: Deadlines {
                open: millis(self.open_deadline_ms, deadlines.open),
                call: millis(self.deadline_ms, deadlines.call),
            },
            backoff: Backoff {
                first: millis(self.backoff_first_ms, backoff.first),
                most: millis(self.backoff_most_ms, backoff.most),
            },
        })
    }

    /// Opens the token by itself, for work beside a service.
    ///
    /// # Errors
    /// As [`Pkcs11Options::open`].
    pub(crate) fn open_alone(&self) -> Result<Token> {
        Ok(Token::open(self.config()?)?)
    }

    /// Opens the token, and hands it to the engine that is about to be made.
    ///
    /// # Errors
    /// `BadRequest` for a setting that cannot work; those of the token.
    pub(crate) fn open(&self, config: &mut EngineConfig, seals: bool) -> Result<Token> {
        let attest = self
            .attest_require
            .as_deref()
            .map_or(Ok(AttestPolicy::default()), AttestPolicy::parse)?;
        let verify_ttl = millis(self.verify_cache_ttl_ms, Duration::from_secs(300));
        let opened = self.config()?;
        let deadline = opened.deadlines.call;
        let token = Token::open(opened)?;
        let signer = Arc::new(token.clone());
        config.remote = Some(Remote { signer, deadline, attest, seals, verify_ttl });
        config.other_backends = self.with_file.unwrap_or(false);
        config.allow_sign_fallback = self.allow_sign_fallback.unwrap_or(false);
        Ok(token)
    }
}

fn millis(given: Option<u32>, default: Duration) -> Duration {
    given.map_or(default, |ms| Duration::from_millis(ms.into()))
}

/// The token of a service. Libraries undo themselves at the end of the process, and few expect a thread inside: so it
/// is closed by then, whatever becomes of the service.
#[derive(Clone, Default)]
pub(crate) struct Opened(Arc<Mutex<Option<Held>>>);

struct Held {
    token: Token,
    reconciled: Option<Result<Reconciled>>,
}

/// How long calls under way may take to return when the token is closed.
const CLOSING: Duration = Duration::from_secs(2);

impl Opened {
    pub(crate) fn new(token: Token) -> Opened {
        Opened(Arc::new(Mutex::new(Some(Held { token, reconciled: None }))))
    }

    /// Compares the token with the store's keys, and asks for the evidence that policy requires.
    ///
    /// # Errors
    /// `AttestationMissing`, and those of the token, where evidence is required.
    pub(crate) fn begin(&self, engine: &Engine, required: bool) -> Result<()> {
        if let Some(held) = &mut *self.lock() {
            held.reconciled = Some(engine.reconcile(RECONCILING));
        }
        if required { engine.attest_heads() } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn token(&self) -> Option<Token> {
        self.lock().as_ref().map(|held| held.token.clone())
    }

    pub(crate) fn close(&self) {
        let held = self.lock().take();
        if let Some(held) = held {
            held.token.close(CLOSING);
        }
    }

    pub(crate) fn downgrade(&self) -> WeakOpened {
        WeakOpened(Arc::downgrade(&self.0))
    }

    /// The state as JSON; `null` where there is no token.
    fn status(&self) -> Value {
        let held = self.lock();
        let Some(Held { token, reconciled }) = &*held else { return Value::Null };
        let (capabilities, stats) = (token.capabilities(), token.stats());
        let identity = &capabilities.identity;
        let calls: Vec<Value> = stats
            .calls
            .iter()
            .map(|it| {
                // The last bucket is of what took longer than every bound.
                let bounded: u64 = it.buckets.iter().sum();
                let rest = it.calls.saturating_sub(bounded);
                let buckets: Vec<u64> = it.buckets.iter().copied().chain([rest]).collect();
                json!({
                    "function": it.function,
                    "errors": it.errors,
                    "buckets": buckets,
                    "sum": it.total.as_secs_f64(),
                    "count": it.calls,
                })
            })
            .collect();
        let found = match reconciled {
            Some(Ok(found)) => json!({
                "present": found.present,
                "missing": found.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "cleaned": found.cleaned,
                "strangers": found.strangers,
            }),
            Some(Err(error)) => json!({ "error": error.message }),
            None => Value::Null,
        };
        json!({
            "class": identity.class(),
            "label": identity.label,
            "serial": identity.serial,
            "slot": identity.slot,
            "model": identity.model,
            "firmware": identity.firmware,
            "offers": capabilities.to_string(),
            "pinNearLock": capabilities.pin_near_lock,
            "unavailable": token.health().err().map(|error| KmsError::from(error).message),
            "outageMs": token.outage().map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
            "sessions": {
                "idle": stats.sessions.idle,
                "busy": stats.sessions.busy,
                "connecting": stats.sessions.connecting,
                "stuck": stats.sessions.stuck,
                "max": stats.max_sessions,
            },
            "queued": stats.queued,
            "evicted": stats.evicted,
            "reconnects": stats.reconnects,
            "trips": stats.trips,
            "retries": stats.retries,
            "timeouts": stats.timeouts,
            "calls": calls,
            "callBounds": LATENCY_BOUNDS,
            "found": found,
        })
    }
}

/// Longest that a start looks through the token.
const RECONCILING: Duration = Duration::from_secs(10);

/// A token that another holds open.
pub(crate) struct WeakOpened(Weak<Mutex<Option<Held>>>);

impl WeakOpened {
    pub(crate) fn close(&self) {
        if let Some(open) = self.0.upgrade() {
            Opened(open).close();
        }
    }
}

#[napi]
impl NativeKms {
    /// The token of this service as JSON, for metrics and readiness; null where there is none.
    #[napi]
    pub fn token_status(&self) -> napi::Result<Option<String>> {
        guard("tokenStatus", || {
            let mut status = self.store.token.status();
            if let Value::Object(fields) = &mut status {
                fields.insert("attested".to_owned(), self.engine.is_attested().into());
                return Ok(Some(status.to_string()));
            }
            Ok(None)
        })
    }
}
