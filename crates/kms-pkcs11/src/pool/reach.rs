//! Whether the token can be reached, as calls and attempts show it, and the beginning and the end.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use kms_core::secret_memory::check_process;

use super::{Pool, Sessions, State, random};
use crate::error::{Error, Result};
use crate::job::Work;
use crate::link::Link;

impl Pool {
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
        state.wake_all();
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
        state.wake_all();
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
}
