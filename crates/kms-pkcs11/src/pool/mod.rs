//! The threads of a token, one session each: how many there are, and what becomes of a call.
//!
//! `state.rs` is what they share, `next.rs` what each does next, `reach.rs` whether the token can be reached.
//!
//! Threads start when calls wait and none is idle, up to the limit. There is no other thread: idle ones keep their
//! sessions alive, close those that were idle for long, and ask whether a lost token is back. A thread inside a call
//! that does not return is not waited for; it keeps its place under the limit, because the token keeps its session.

mod next;
mod reach;
mod state;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kms_core::secret_memory::check_process;
use kms_core::{Entropy, OsEntropy};

use crate::codes::Class;
use crate::config::{Backoff, Deadlines, PoolLimits};
use crate::error::{Error, Result};
use crate::job::{Job, Then, Work};
use crate::module::ModuleUse;
use crate::session::{Live, Site};
use crate::watch::Watch;
use crate::worker;

pub(crate) use next::{Held, Next};
pub use state::Sessions;
use state::{Slot, State};

/// All threads of one token.
pub(crate) struct Pool {
    pub(crate) site: Arc<Site>,
    pub(crate) limits: PoolLimits,
    pub(crate) deadlines: Deadlines,
    pub(crate) backoff: Backoff,
    state: Mutex<State>,
    /// How many calls wait, as it can be seen without the lock.
    waiting: AtomicUsize,
    /// The state of the link changed, or a thread left.
    changed: Condvar,
    /// Ends calls that nobody waits for at their deadlines.
    watch: Watch,
    pub(crate) counters: Counters,
}

/// What happened since the token was opened.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) evicted: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) trips: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) timeouts: AtomicU64,
}

impl Pool {
    pub(crate) fn new(
        site: Arc<Site>,
        module: ModuleUse,
        limits: PoolLimits,
        deadlines: Deadlines,
        backoff: Backoff,
    ) -> Arc<Pool> {
        let state = State::new(module, limits.max_sessions);
        Arc::new(Pool {
            site,
            limits,
            deadlines,
            backoff,
            state: Mutex::new(state),
            waiting: AtomicUsize::new(0),
            changed: Condvar::new(),
            watch: Watch::default(),
            counters: Counters::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread if one is needed and allowed.
    fn staff(self: &Arc<Self>, state: &mut State, now: Instant) {
        let due = state.link.attempt_due().is_some_and(|due| due <= now);
        let wanted = state.queue.len().max(due.into());
        if wanted <= state.idle() || state.threads() >= state.limit(now) {
            return;
        }
        let free = state.slots.iter().position(|slot| matches!(slot, Slot::Free));
        let (Some(place), Some(module)) = (free, &state.module) else { return };
        let (pool, module) = (Arc::clone(self), Arc::clone(module));
        let thread = std::thread::Builder::new().name("kms-pkcs11".into());
        // Without another thread the call waits for one of those that are there.
        if thread.spawn(move || worker::work(&pool, place, module)).is_ok() {
            state.slots[place] = Slot::Idle { session: false };
        }
    }

    /// Does `act` in a session, within that time.
    ///
    /// # Errors
    /// Those of `act` and of opening a session, after a second try where that is allowed; [`Error::Unavailable`],
    /// [`Error::AllStuck`] and [`Error::QueueFull`] at once; [`Error::Timeout`]; [`Error::Closed`].
    pub(crate) fn run<T: Send + 'static>(
        self: &Arc<Self>,
        within: Duration,
        idempotent: bool,
        act: impl FnMut(&mut Live) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        check_process()?;
        let now = Instant::now();
        // A time beyond what the clock can say is as good as an hour.
        let deadline = now.checked_add(within).unwrap_or(now + Duration::from_secs(3600));
        let job = Arc::new(Job::new(deadline, idempotent, None, act));
        self.submit(job.clone(), now)?;
        let result = job.wait();
        if let Err(Error::Timeout { begun }) = result {
            self.counters.timeouts.fetch_add(1, Relaxed);
            if !begun {
                self.forget(&(job as Arc<dyn Work>));
            }
        }
        result
    }

    /// As [`Pool::run`] without a thread that waits: the result, or why there is none, goes to `then`, at once or by
    /// that time, on a thread of the pool or on this one.
    pub(crate) fn run_then<T: Send + 'static>(
        self: &Arc<Self>,
        within: Duration,
        idempotent: bool,
        act: impl FnMut(&mut Live) -> Result<T> + Send + 'static,
        then: Then<T>,
    ) {
        if let Err(error) = check_process() {
            return then(Err(error.into()));
        }
        let now = Instant::now();
        let deadline = now.checked_add(within).unwrap_or(now + Duration::from_secs(3600));
        let job: Arc<dyn Work> = Arc::new(Job::new(deadline, idempotent, Some(then), act));
        if let Err(error) =
            self.watch.add(self, &job).and_then(|()| self.submit(Arc::clone(&job), now))
        {
            job.finish(Err(error));
        }
    }

    /// A call that nobody waits for has come to its deadline, or has ended before.
    pub(crate) fn expired(&self, job: &Arc<dyn Work>) {
        if job.expire() {
            self.counters.timeouts.fetch_add(1, Relaxed);
            self.forget(job);
        }
    }

    /// Takes a call that nobody wants any more out of the queue.
    fn forget(&self, job: &Arc<dyn Work>) {
        let given_up = Arc::as_ptr(job).cast::<()>();
        self.lock().queue.retain(|other| Arc::as_ptr(other).cast::<()>() != given_up);
    }

    fn submit(self: &Arc<Self>, job: Arc<dyn Work>, now: Instant) -> Result<()> {
        let mut state = self.lock();
        if state.module.is_none() {
            return Err(Error::Closed);
        }
        if let Err(error) = state.link.admit(now) {
            self.staff(&mut state, now);
            return Err(error);
        }
        if state.sessions(now).stuck == state.slots.len() {
            return Err(Error::AllStuck { retry_after: self.deadlines.call });
        }
        if state.queue.len() >= self.limits.queue {
            return Err(Error::QueueFull);
        }
        state.queue.push_back(job);
        self.waiting.store(state.queue.len(), Relaxed);
        self.staff(&mut state, now);
        let sleeper = state.sleeper_for_call();
        // It would wait for the lock.
        drop(state);
        if let Some(sleeper) = sleeper {
            sleeper.unpark();
        }
        Ok(())
    }

    /// Whether a failed session is worth a second try.
    pub(crate) fn pause_before_retry(&self, class: Class) -> Duration {
        match class {
            Class::Device => self.backoff.delay(0, random()),
            _ => Duration::ZERO,
        }
    }
}

/// For jitter only.
fn random() -> u32 {
    let mut bytes = [0; 4];
    let drawn = OsEntropy.fill(&mut bytes);
    if drawn.is_ok() { u32::from_le_bytes(bytes) } else { u32::MAX / 2 }
}
