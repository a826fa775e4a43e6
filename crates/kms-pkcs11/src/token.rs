//! A token, open: the handle that users hold.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use kms_core::secret_memory::check_process;

use crate::agreement::find_kind;
use crate::calls::{CallStats, Calls};
use crate::capabilities::Capabilities;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::job::Then;
use crate::module;
use crate::pair::Kind;
use crate::pool::{Pool, Sessions};
use crate::session::{Live, Site};

/// A token of a module, logged in.
///
/// Every call is made by a thread of the token's own, and returns by the time that it is given, with
/// [`Error::Timeout`] if need be. While the token is gone calls fail at once, and it is looked for in the background.
/// All methods may be called from any thread, at once; clones are the same token. In a forked child every call is an
/// error, because sessions belong to the process that opened them.
///
/// Call [`Token::close`] before the process ends: libraries undo themselves at the end, and few of them expect a thread
/// inside.
#[derive(Clone)]
pub struct Token(Arc<Open>);

struct Open {
    pool: Arc<Pool>,
    capabilities: Capabilities,
    /// In which words X25519 keys are made, if they are; empty until it is known.
    x25519: OnceLock<Option<Kind>>,
}

/// What a token's pool is doing, and what it did since it was opened.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Sessions by what they are doing.
    pub sessions: Sessions,
    /// The configured limit.
    pub max_sessions: usize,
    /// Calls that wait for a session.
    pub queued: usize,
    /// Sessions that were closed because of an error.
    pub evicted: u64,
    /// Sessions that were opened in place of lost ones.
    pub reconnects: u64,
    /// How often the token went away.
    pub trips: u64,
    /// Second tries.
    pub retries: u64,
    /// Calls whose caller stopped waiting.
    pub timeouts: u64,
    /// Calls by function.
    pub calls: Vec<CallStats>,
}

impl Token {
    /// Loads the module, finds the token by its label, logs in and asks what it can do.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Module`], [`Error::NoToken`], [`Error::TwoTokens`], [`Error::PinRefused`] (which is
    /// tried once), [`Error::OtherPin`], [`Error::Call`]; [`Error::Timeout`] after `deadlines.open`.
    pub fn open(config: Config) -> Result<Token> {
        check_process()?;
        config.check()?;
        let deadline = Instant::now() + config.deadlines.open;
        let calls = Arc::new(Calls::default());
        // Constructors of the library and C_Initialize may hang as well as any call.
        let (loaded, module) = mpsc::channel();
        let (path, own_calls) = (config.module, Arc::clone(&calls));
        let load = move || {
            // Nobody may be waiting any more; the module is let go then.
            let _ = loaded.send(module::acquire(&path, &own_calls));
        };
        let thread = std::thread::Builder::new().name("kms-pkcs11-load".into()).spawn(load);
        thread.map_err(|_| Error::Module { why: "cannot be loaded without a thread" })?;
        let timeout = || Error::Timeout { begun: true };
        let module = module.recv_timeout(config.deadlines.open).map_err(|_| timeout())??;
        let site = Arc::new(Site::new(config.token_label, config.pin, calls));
        let pool = Pool::new(site, module, config.pool, config.deadlines, config.backoff);
        let within = deadline.saturating_duration_since(Instant::now());
        let opened = pool.start(deadline).and_then(|()| pool.run(within, true, Capabilities::ask));
        match opened {
            Ok(mut capabilities) => {
                // What fails here may do better later, and the token is of use without it.
                let found = pool.run(pool.deadlines.call, true, find_kind);
                let x25519 = OnceLock::new();
                if let Ok(kind) = found {
                    capabilities.x25519 = Some(kind.is_some());
                    let _ = x25519.set(kind);
                }
                Ok(Token(Arc::new(Open { pool, capabilities, x25519 })))
            }
            Err(error) => {
                shut(&pool);
                pool.wait_left(deadline.max(Instant::now() + pool.deadlines.call));
                Err(error)
            }
        }
    }

    /// What the token can do, as it said when it was opened.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// Whether the token may be asked now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with the cause and when the next attempt is due; [`Error::AllStuck`]; [`Error::Closed`].
    pub fn health(&self) -> Result<()> {
        self.0.pool.health()
    }

    /// For how long the token has been away; `None` while it is there. Does not ask it.
    pub fn outage(&self) -> Option<Duration> {
        self.0.pool.outage()
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> Stats {
        let pool = &self.0.pool;
        let (sessions, queued) = pool.sessions();
        Stats {
            sessions,
            max_sessions: pool.limits.max_sessions,
            queued,
            evicted: pool.counters.evicted.load(Relaxed),
            reconnects: pool.counters.reconnects.load(Relaxed),
            trips: pool.counters.trips.load(Relaxed),
            retries: pool.counters.retries.load(Relaxed),
            timeouts: pool.counters.timeouts.load(Relaxed),
            calls: pool.site.calls.stats(),
        }
    }

    /// Closes the sessions, which logs out, and wipes the PIN. Waits that long for calls under way; `false` where one
    /// has not returned, whose thread is left behind with the module initialised. Every later call is
    /// [`Error::Closed`].
    pub fn close(&self, within: Duration) -> bool {
        if check_process().is_err() {
            return false;
        }
        shut(&self.0.pool);
        self.0.pool.wait_left(Instant::now() + within)
    }

    /// Does `act` in a session; twice if the first try failed in a way that may pass and `idempotent` says so.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        within: Duration,
        idempotent: bool,
        act: impl FnMut(&mut Live) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.pool.run(within, idempotent, act)
    }

    /// As [`Token::run`]; the result goes to `then`.
    pub(crate) fn run_then<T: Send + 'static>(
        &self,
        within: Duration,
        idempotent: bool,
        act: impl FnMut(&mut Live) -> Result<T> + Send + 'static,
        then: Then<T>,
    ) {
        self.0.pool.run_then(within, idempotent, act, then);
    }

    /// In which words X25519 keys are made; `None` where they are not. Tried now if it is not known.
    pub(crate) fn x25519_kind(&self, within: Duration) -> Result<Option<Kind>> {
        if let Some(kind) = self.0.x25519.get() {
            return Ok(*kind);
        }
        let kind = self.run(within, true, find_kind)?;
        Ok(*self.0.x25519.get_or_init(|| kind))
    }

    /// The configured limit of sessions.
    pub(crate) fn max_sessions(&self) -> usize {
        self.0.pool.limits.max_sessions
    }
}

fn shut(pool: &Pool) {
    pool.site.close();
    pool.close();
}

impl Drop for Open {
    /// Does not wait. In a forked child nothing is touched: the sessions are the parent's.
    fn drop(&mut self) {
        if check_process().is_ok() {
            shut(&self.pool);
        }
    }
}
