//! When the parts of one asynchronous call were, for whoever traces it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use napi_derive::napi;

use crate::task::guard;

/// When the parts of one asynchronous call were, in milliseconds after this was made; absent what did not come about.
#[napi(object)]
pub struct CallTimes {
    /// A thread began to work on it.
    pub began: Option<f64>,
    /// That work ended. What follows is the audit log's way to the disk.
    pub ended: Option<f64>,
    /// A token was asked for signatures.
    pub asked: Option<f64>,
    /// It had made them, or one had failed. Between the two lies also the wait for a session.
    pub made: Option<f64>,
}

/// Taken along by one call, and read when that has ended.
#[napi]
pub struct CallClock {
    times: Arc<Times>,
}

#[napi]
impl CallClock {
    /// Starts now.
    #[napi(constructor)]
    pub fn new() -> napi::Result<CallClock> {
        guard("CallClock", || Ok(CallClock { times: Arc::new(Times::start()) }))
    }

    /// What it has seen so far.
    #[napi]
    pub fn read(&self) -> napi::Result<CallTimes> {
        guard("CallClock.read", || {
            let [began, ended, asked, made] =
                [Moment::Began, Moment::Ended, Moment::Asked, Moment::Made]
                    .map(|moment| self.times.at(moment));
            Ok(CallTimes { began, ended, asked, made })
        })
    }
}

impl CallClock {
    pub(crate) fn times(&self) -> Arc<Times> {
        Arc::clone(&self.times)
    }
}

/// What is timed.
#[derive(Clone, Copy)]
pub(crate) enum Moment {
    Began,
    Ended,
    Asked,
    Made,
}

/// Moments of one call, written by the threads that it comes to, one after the other.
pub(crate) struct Times {
    start: Instant,
    /// Nanoseconds after `start`, plus one; 0 for a moment that has not come.
    moments: [AtomicU64; 4],
}

impl Times {
    fn start() -> Times {
        Times { start: Instant::now(), moments: [const { AtomicU64::new(0) }; 4] }
    }

    /// It is that moment. Where a call begins anew, the first beginning and the last end hold.
    pub(crate) fn mark(&self, moment: Moment) {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX - 1) + 1;
        let cell = &self.moments[moment as usize];
        let first = matches!(moment, Moment::Began | Moment::Asked);
        if !first || cell.load(Relaxed) == 0 {
            cell.store(nanos, Relaxed);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "2^53 nanoseconds are a hundred days")]
    fn at(&self, moment: Moment) -> Option<f64> {
        let nanos = self.moments[moment as usize].load(Relaxed);
        (nanos > 0).then(|| (nanos - 1) as f64 * 1e-6)
    }
}

/// Marks a moment where somebody wants to know.
pub(crate) fn mark(times: Option<&Arc<Times>>, moment: Moment) {
    if let Some(times) = times {
        times.mark(moment);
    }
}

/// Runs work between its two moments; a panic in it leaves it without an end.
pub(crate) fn timed<T>(times: Option<&Arc<Times>>, work: impl FnOnce() -> T) -> T {
    mark(times, Moment::Began);
    let done = work();
    mark(times, Moment::Ended);
    done
}
