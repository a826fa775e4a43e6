//! The threads of a token, one session each: how many there are, what they do next, and what becomes of a call.
//!
//! Threads start when calls wait and none is idle, up to the limit. There is no other thread: idle ones keep their
//! sessions alive, close those that were idle for long, and ask whether a lost token is back. A thread inside a call
//! that does not return is not waited for; it keeps its place under the limit, because the token keeps its session.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kms_core::secret_memory::check_process;
use kms_core::{Entropy, OsEntropy};

use crate::codes::Class;
use crate::config::{Backoff, Deadlines, PoolLimits};
use crate::error::{Error, Result};
use crate::job::{Job, Then, Work};
use crate::link::Link;
use crate::module::ModuleUse;
use crate::session::{Live, Site};
use crate::watch::Watch;
use crate::worker;

/// How long a limit that the token showed is kept, before more sessions are tried.
const CROWDED_FOR: Duration = Duration::from_secs(30);

/// How long a thread that has just served looks out for the next call before it sleeps. A caller that makes one call
/// after the other makes the next one within this, and waking a thread would take as long again.
const LOOK_OUT: Duration = Duration::from_micros(100);

/// All threads of one token.
pub(crate) struct Pool {
    pub(crate) site: Arc<Site>,
    pub(crate) limits: PoolLimits,
    pub(crate) deadlines: Deadlines,
    pub(crate) backoff: Backoff,
    state: Mutex<State>,
    /// How many calls wait, as it can be seen without the lock.
    waiting: AtomicUsize,
    /// There is something to do.
    work: Condvar,
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

struct State {
    queue: VecDeque<Arc<dyn Work>>,
    slots: Vec<Slot>,
    link: Link,
    /// Counts how often the link went down; sessions of before are not used after.
    epoch: u64,
    /// Fewer sessions than configured, until then: the token has no more.
    crowded: Option<(usize, Instant)>,
    /// `None` once the token is closed.
    module: Option<Arc<ModuleUse>>,
}

/// What a thread is doing.
#[derive(Clone, Copy, Default)]
enum Slot {
    /// There is none.
    #[default]
    Free,
    /// Waiting for work, with or without a session.
    Idle { session: bool },
    /// Inside the module, or about to be. It is stuck after this time.
    Busy { until: Instant, session: bool },
}

/// How many sessions there are, by what they are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Open, waiting for work.
    pub idle: usize,
    /// In use by a call.
    pub busy: usize,
    /// Being opened.
    pub connecting: usize,
    /// In a call that has passed its deadline.
    pub stuck: usize,
}

/// What a thread does next.
pub(crate) enum Next {
    Serve(Arc<dyn Work>),
    KeepAlive,
    Reconnect { attempts: u32 },
    CloseSession,
    Leave,
}

/// What a thread knows of its session when it asks for work.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) epoch: u64,
    pub(crate) used: Instant,
    pub(crate) checked: Instant,
}

impl State {
    fn threads(&self) -> usize {
        self.slots.iter().filter(|slot| !matches!(slot, Slot::Free)).count()
    }

    fn idle(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Idle { .. })).count()
    }

    fn sessions(&self, now: Instant) -> Sessions {
        let mut sessions = Sessions::default();
        for slot in &self.slots {
            match slot {
                Slot::Busy { until, .. } if *until < now => sessions.stuck += 1,
                Slot::Busy { session: true, .. } => sessions.busy += 1,
                Slot::Busy { session: false, .. } => sessions.connecting += 1,
                Slot::Idle { session: true } => sessions.idle += 1,
                Slot::Idle { session: false } | Slot::Free => {}
            }
        }
        sessions
    }

    fn limit(&self, now: Instant) -> usize {
        match self.crowded {
            Some((limit, until)) if until > now => limit,
            _ => self.slots.len(),
        }
    }
}

impl Pool {
    pub(crate) fn new(
        site: Arc<Site>,
        module: ModuleUse,
        limits: PoolLimits,
        deadlines: Deadlines,
        backoff: Backoff,
    ) -> Arc<Pool> {
        let state = State {
            queue: VecDeque::new(),
            slots: vec![Slot::Free; limits.max_sessions],
            link: Link::start(Instant::now()),
            epoch: 0,
            crowded: None,
            module: Some(Arc::new(module)),
        };
        Arc::new(Pool {
            site,
            limits,
            deadlines,
            backoff,
            state: Mutex::new(state),
            waiting: AtomicUsize::new(0),
            work: Condvar::new(),
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
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Blocks until there is something to do for the thread at `place`.
    pub(crate) fn next(self: &Arc<Self>, place: usize, held: Option<Held>) -> Next {
        let mut state = self.lock();
        let mut looks_out = held.is_some_and(|held| held.used.elapsed() < LOOK_OUT);
        loop {
            let now = Instant::now();
            let busy = |until| Slot::Busy { until, session: held.is_some() };
            let soon = now + self.deadlines.call;
            if state.module.is_none() {
                state.slots[place] = busy(soon);
                return Next::Leave;
            }
            if held.is_some_and(|held| held.epoch != state.epoch) {
                state.slots[place] = busy(soon);
                return Next::CloseSession;
            }
            if state.link.take_attempt(now, soon) {
                state.slots[place] = busy(soon);
                return Next::Reconnect { attempts: state.link.attempts() };
            }
            if let Some(job) = state.queue.pop_front() {
                self.waiting.store(state.queue.len(), Relaxed);
                state.slots[place] = busy(job.deadline());
                return Next::Serve(job);
            }
            state.slots[place] = Slot::Idle { session: held.is_some() };
            // One thread at a time: the others have slept already.
            if std::mem::take(&mut looks_out) && state.idle() == state.threads() {
                drop(state);
                while self.waiting.load(Relaxed) == 0 && now.elapsed() < LOOK_OUT {
                    std::hint::spin_loop();
                }
                state = self.lock();
                continue;
            }
            let alive = held.map(|held| held.checked.max(held.used) + self.limits.keep_alive);
            // One thread stays, for what has to be done without calls.
            let spare = state.idle() > 1;
            let close = held.map(|held| held.used + self.limits.idle_close).filter(|_| spare);
            if close.is_some_and(|at| at <= now) {
                state.slots[place] = busy(soon);
                return Next::Leave;
            }
            if alive.is_some_and(|at| at <= now) {
                state.slots[place] = busy(soon);
                return Next::KeepAlive;
            }
            let wake = [alive, close, state.link.attempt_due()].into_iter().flatten().min();
            // An hour stands for ever: whoever has work notifies.
            let left = wake.map_or(Duration::from_secs(3600), |at| at - now);
            let waited = self.work.wait_timeout(state, left.max(Duration::from_millis(1)));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A call succeeded.
    pub(crate) fn succeeded(&self) {
        self.lock().link.succeeded();
    }

    /// A call failed for good.
    pub(crate) fn failed(&self, error: &Error) {
        let (random, now) = (random(), Instant::now());
        let delay = self.backoff.delay(0, random);
        let mut state = self.lock();
        if state.link.failed(error, self.limits.trip_after, now, delay) {
            let told = self.went_down(&mut state, now);
            drop(state);
            for (job, error) in told {
                job.finish(Err(error));
            }
        }
    }

    /// Whoever waits is to be told at once, and no session of before is used again.
    fn went_down(&self, state: &mut State, now: Instant) -> Vec<(Arc<dyn Work>, Error)> {
        self.counters.trips.fetch_add(1, Relaxed);
        state.epoch += 1;
        state.crowded = None;
        self.site.forget_place();
        self.work.notify_all();
        self.changed.notify_all();
        match state.link.admit(now) {
            Err(error) => state.queue.drain(..).map(|job| (job, error.clone())).collect(),
            Ok(()) => Vec::new(),
        }
    }

    /// What became of an attempt to reach the token again. Says which epoch the new session belongs to.
    pub(crate) fn reconnected(&self, outcome: Result<()>) -> u64 {
        let (random, now) = (random(), Instant::now());
        let mut state = self.lock();
        match outcome {
            Ok(()) => {
                if state.epoch > 0 {
                    self.counters.reconnects.fetch_add(1, Relaxed);
                }
                state.link.attempt_succeeded();
            }
            Err(error) => {
                self.site.forget_place();
                state.link.attempt_failed(error, now, &self.backoff, random);
            }
        }
        self.changed.notify_all();
        state.epoch
    }

    /// The present epoch, for a session that is about to be opened.
    pub(crate) fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// The token has no room for a session of the thread at `place`. `false` where it has none for any.
    pub(crate) fn crowded(&self, place: usize, job: Option<&Arc<dyn Work>>) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let with_session = |(at, slot): (usize, &Slot)| match slot {
            Slot::Idle { session } | Slot::Busy { session, .. } => at != place && *session,
            Slot::Free => false,
        };
        let others = state.slots.iter().enumerate().filter(|it| with_session(*it)).count();
        if others == 0 {
            return false;
        }
        state.crowded = Some((others, now + CROWDED_FOR));
        if let Some(job) = job
            && job.put_back()
        {
            state.queue.push_front(Arc::clone(job));
            self.work.notify_one();
        }
        true
    }

    /// The thread at `place` has a session now, or none.
    pub(crate) fn holds_session(&self, place: usize, holds: bool) {
        if let Slot::Busy { session, .. } = &mut self.lock().slots[place] {
            *session = holds;
        }
    }

    /// The thread at `place` is gone.
    pub(crate) fn left(self: &Arc<Self>, place: usize) {
        let mut state = self.lock();
        state.slots[place] = Slot::Free;
        // What it was to do is for another one.
        self.staff(&mut state, Instant::now());
        self.changed.notify_all();
    }

    /// Starts the first thread and waits until it has logged in.
    ///
    /// # Errors
    /// What the first attempt gave; [`Error::Timeout`].
    pub(crate) fn start(self: &Arc<Self>, deadline: Instant) -> Result<()> {
        let mut state = self.lock();
        self.staff(&mut state, Instant::now());
        loop {
            let now = Instant::now();
            match &state.link {
                Link::Up { .. } => return Ok(()),
                Link::Down { cause: Some(cause), .. } | Link::Refused { cause, .. } => {
                    return Err(cause.clone());
                }
                Link::Down { cause: None, .. } if deadline <= now => {
                    return Err(Error::Timeout { begun: true });
                }
                Link::Down { cause: None, .. } => {}
            }
            let waited = self.changed.wait_timeout(state, deadline - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes no more calls, fails those that wait, and has the threads leave after what they are doing.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        let module = state.module.take();
        let told: Vec<_> = state.queue.drain(..).collect();
        self.work.notify_all();
        drop(state);
        for job in told {
            job.finish(Err(Error::Closed));
        }
        self.watch.close();
        drop(module);
    }

    /// Waits until every thread has left; `false` where one has not by then.
    pub(crate) fn wait_left(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.threads() == 0 || left.is_zero() {
                return state.threads() == 0;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether the token may be asked; asks for a thread if an attempt is due and none is there for it.
    pub(crate) fn health(self: &Arc<Self>) -> Result<()> {
        check_process()?;
        let now = Instant::now();
        let mut state = self.lock();
        if state.module.is_none() {
            return Err(Error::Closed);
        }
        self.staff(&mut state, now);
        state.link.admit(now)?;
        if state.sessions(now).stuck == state.slots.len() {
            return Err(Error::AllStuck { retry_after: self.deadlines.call });
        }
        Ok(())
    }

    /// For how long the token has been away; `None` while it is there.
    pub(crate) fn outage(self: &Arc<Self>) -> Option<Duration> {
        let mut state = self.lock();
        let since = state.link.down_since()?;
        let now = Instant::now();
        // Whoever asks keeps the search for it going.
        self.staff(&mut state, now);
        Some(now.saturating_duration_since(since))
    }

    pub(crate) fn sessions(&self) -> (Sessions, usize) {
        let state = self.lock();
        (state.sessions(Instant::now()), state.queue.len())
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
