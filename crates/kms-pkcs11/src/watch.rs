//! Deadlines of calls that no thread waits for: one thread for all of them, started by the first.
//!
//! Nothing wakes it before a deadline, so a call costs it nothing but a place in a list. Calls that ended are forgotten
//! when their deadline has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::job::Work;
use crate::pool::Pool;

#[derive(Default)]
pub(crate) struct Watch(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    sooner: Condvar,
}

#[derive(Default)]
struct State {
    entries: BinaryHeap<Reverse<Entry>>,
    running: bool,
    closed: bool,
}

struct Entry {
    at: Instant,
    job: Weak<dyn Work>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// A thread that has nothing to watch for this long ends.
const IDLE: Duration = Duration::from_secs(10);

impl Watch {
    /// Ends `job` at its deadline, unless it has ended.
    ///
    /// # Errors
    /// [`Error::Module`] where there is no thread for it.
    pub(crate) fn add(&self, pool: &Arc<Pool>, job: &Arc<dyn Work>) -> Result<()> {
        let mut state = lock(&self.0);
        let at = job.deadline();
        let is_soonest = state.entries.peek().is_none_or(|Reverse(next)| at < next.at);
        state.entries.push(Reverse(Entry { at, job: Arc::downgrade(job) }));
        if !state.running {
            let (shared, pool) = (Arc::clone(&self.0), Arc::downgrade(pool));
            let thread = std::thread::Builder::new().name("kms-pkcs11-watch".into());
            let started = thread.spawn(move || watch(&shared, &pool));
            started.map_err(|_| Error::Module { why: "cannot be called without a thread" })?;
            state.running = true;
        } else if is_soonest {
            self.0.sooner.notify_one();
        }
        Ok(())
    }

    /// The thread ends when every call that it watches has: their deadlines hold while the pool closes.
    pub(crate) fn close(&self) {
        lock(&self.0).closed = true;
        self.0.sooner.notify_one();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    // Nothing that can panic runs under this lock.
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(shared: &Shared, pool: &Weak<Pool>) {
    let mut state = lock(shared);
    loop {
        // What has ended needs no deadline.
        while state.entries.peek().is_some_and(|Reverse(next)| next.job.strong_count() == 0) {
            state.entries.pop();
        }
        let now = Instant::now();
        let next = state.entries.peek().map(|Reverse(next)| next.at);
        match next {
            Some(at) if at <= now => {
                let due = state.entries.pop();
                drop(state);
                if let (Some(job), Some(pool)) =
                    (due.and_then(|Reverse(it)| it.job.upgrade()), pool.upgrade())
                {
                    pool.expired(&job);
                }
                state = lock(shared);
            }
            None if state.closed => break,
            next => {
                let wait = next.map_or(IDLE, |at| at - now);
                let (again, waited) =
                    shared.sooner.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
                state = again;
                if waited.timed_out() && state.entries.is_empty() {
                    break;
                }
            }
        }
    }
    state.running = false;
}
