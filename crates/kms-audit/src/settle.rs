//! Callers that do not wait: what they left to be done once their records are durable.
//!
//! One thread syncs and then calls them, so any number of operations may be under way on a few threads, and all that came
//! during one sync share the next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use kms_core::{KmsError, Settled};

use crate::error::Result;
use crate::open;
use crate::shared::Shared;

/// Who is to be called.
#[derive(Default)]
pub(crate) struct Settling {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

#[derive(Default)]
struct Waiting {
    calls: Vec<Settled>,
    closing: bool,
    /// Nobody makes calls any more.
    ended: bool,
}

impl Settling {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `settled` called once everything that was appended until now is durable, or cannot become so. Gives it back
    /// where the log is closed.
    pub(crate) fn when_settled(&self, settled: Settled) -> Option<Settled> {
        let mut waiting = self.waiting();
        if waiting.ended {
            return Some(settled);
        }
        waiting.calls.push(settled);
        self.arrived.notify_one();
        None
    }

    pub(crate) fn close(&self) {
        self.waiting().closing = true;
        self.arrived.notify_one();
    }

    /// Waits for calls to make; `None` when there will be none.
    fn next(&self) -> Option<Vec<Settled>> {
        let mut waiting = self.waiting();
        while waiting.calls.is_empty() {
            if waiting.closing {
                waiting.ended = true;
                return None;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        Some(std::mem::take(&mut waiting.calls))
    }
}

pub(crate) fn start(shared: Arc<Shared>) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("kms-audit-sync".into())
        .spawn(move || {
            while let Some(calls) = shared.settling.next() {
                let flush = || shared.writer.flush().map(drop).map_err(KmsError::from);
                let flushed = catch_unwind(AssertUnwindSafe(flush))
                    .unwrap_or_else(|payload| Err(KmsError::of_panic(payload)));
                for settled in calls {
                    // Another's panic must not keep the others waiting.
                    let result = flushed.clone();
                    let _ = catch_unwind(AssertUnwindSafe(|| settled(result)));
                }
            }
        })
        .map_err(open::io("start the thread"))
}
