//! What a thread does next, and when it sleeps.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::Pool;
use super::state::Slot;
use crate::job::Work;

/// How long a limit that the token showed is kept, before more sessions are tried.
const CROWDED_FOR: Duration = Duration::from_secs(30);

/// How long a thread that has just served looks out for the next call before it sleeps. A caller that makes one call
/// after the other makes the next one within this, and waking a thread would take as long again.
const LOOK_OUT: Duration = Duration::from_micros(100);

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

impl Pool {
    /// Blocks until there is something to do for the thread at `place`.
    pub(crate) fn next(self: &Arc<Self>, place: usize, held: Option<Held>) -> Next {
        let began = Instant::now();
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
                state.looked_out = true;
                drop(state);
                while self.waiting.load(Relaxed) == 0 && now.elapsed() < LOOK_OUT {
                    std::hint::spin_loop();
                }
                state = self.lock();
                state.looked_out = false;
                continue;
            }
            let alive = held.map(|held| held.checked.max(held.used) + self.limits.keep_alive);
            // One session stays, for the next call, and one thread, for what has to be done without calls.
            let spare = if held.is_some() { state.idle_sessions() > 1 } else { state.idle() > 1 };
            let served = held.map_or(began, |held| held.used);
            let close = spare.then(|| served + self.limits.idle_close);
            if close.is_some_and(|at| at <= now) {
                state.slots[place] = busy(soon);
                return Next::Leave;
            }
            if alive.is_some_and(|at| at <= now) {
                state.slots[place] = busy(soon);
                return Next::KeepAlive;
            }
            let wake = [alive, close, state.link.attempt_due()].into_iter().flatten().min();
            // An hour stands for ever: whoever has work wakes a thread.
            let left = wake.map_or(Duration::from_secs(3600), |at| at - now);
            state.falls_asleep(place);
            drop(state);
            std::thread::park_timeout(left.max(Duration::from_millis(1)));
            state = self.lock();
            state.is_awake(place);
        }
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
            self.waiting.store(state.queue.len(), Relaxed);
            if let Some(sleeper) = state.sleeper_for_call() {
                sleeper.unpark();
            }
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
}
