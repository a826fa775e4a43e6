//! What one thread of the pool does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use kms_core::KmsError;

use crate::codes::Class;
use crate::error::{Error, Result};
use crate::job::Work;
use crate::module::{Inside, ModuleUse};
use crate::pool::{Held, Next, Pool};
use crate::session::Live;

/// A thread's own session.
struct Own {
    live: Live,
    held: Held,
}

struct Worker<'a> {
    pool: &'a Arc<Pool>,
    place: usize,
    module: Arc<ModuleUse>,
    own: Option<Own>,
    /// Whether the session that is opened next replaces one that was lost.
    lost: bool,
}

/// Attempts that fail before the module is started afresh.
const START_AFRESH_AFTER: u32 = 2;

/// Serves until there is nothing more to do.
pub(crate) fn work(pool: &Arc<Pool>, place: usize, module: Arc<ModuleUse>) {
    let mut worker = Worker { pool, place, module, own: None, lost: false };
    loop {
        let held = worker.own.as_ref().map(|own| own.held);
        let goes_on = match pool.next(place, held) {
            Next::Serve(job) => worker.serve(&job),
            Next::KeepAlive => worker.keep_alive(),
            Next::Reconnect { attempts } => worker.reconnect(attempts),
            Next::CloseSession => worker.close(),
            Next::Leave => {
                worker.close();
                false
            }
        };
        if !goes_on {
            break;
        }
    }
    // The last one to leave finalises the module, here and not in a thread of the user's.
    drop(worker);
    pool.left(place);
}

impl Worker<'_> {
    /// Does a job, twice if the first try says nothing about it. `false` where this thread has no session to have.
    fn serve(&mut self, job: &Arc<dyn Work>) -> bool {
        if !job.begin() {
            return true;
        }
        let module = Arc::clone(&self.module);
        let inside = module.enter();
        let mut tries = 0;
        let error = loop {
            tries += 1;
            // Until the job has begun, opening a session may be tried again whatever the job is.
            let (error, begun) = match self.ensure(&inside, job.deadline()).and_then(|own| {
                // What cannot be done twice is not begun in a session that died while it was idle.
                let proven = if job.idempotent() { Ok(()) } else { own.live.check() };
                proven.map(|()| own)
            }) {
                // Sessions were opened before: what is refused now is not for what was asked.
                Err(error) => (error.of_proven_key(), false),
                Ok(own) => match attempt(job, &mut own.live) {
                    Ok(()) => {
                        own.held.used = Instant::now();
                        self.pool.succeeded();
                        job.finish(Ok(()));
                        // What goes on with the result may have run on this thread.
                        if let Some(own) = &mut self.own {
                            own.held.used = Instant::now();
                        }
                        return true;
                    }
                    Err(error) => (error, true),
                },
            };
            let class = error.class();
            if class.is_some() {
                self.evict(&inside);
            }
            if class == Some(Class::Crowded) && !begun && self.pool.crowded(self.place, Some(job)) {
                return false;
            }
            let again = class.filter(|class| class.may_pass() && (job.idempotent() || !begun));
            let pause = again.map(|class| self.pool.pause_before_retry(class));
            match pause {
                Some(pause) if tries < 2 && Instant::now() + pause < job.deadline() => {
                    self.pool.counters.retries.fetch_add(1, Relaxed);
                    std::thread::sleep(pause);
                }
                _ => break error,
            }
        };
        // Where the token answered, and the answer was no, the token is well.
        match error.class() {
            Some(_) => self.pool.failed(&error),
            None => self.pool.succeeded(),
        }
        job.finish(Err(error));
        true
    }

    /// The session of this thread, opened if there is none.
    fn ensure(&mut self, inside: &Inside<'_>, deadline: Instant) -> Result<&mut Own> {
        if self.own.as_ref().is_some_and(|own| !own.live.is_current(inside)) {
            self.evict(inside);
        }
        if self.own.is_none() {
            let epoch = self.pool.epoch();
            let site = &self.pool.site;
            let open = || Live::open(site, &self.module, inside, deadline);
            let live = catch_unwind(AssertUnwindSafe(open)).unwrap_or(Err(Error::Panicked))?;
            if std::mem::take(&mut self.lost) {
                self.pool.counters.reconnects.fetch_add(1, Relaxed);
            }
            let now = Instant::now();
            self.own = Some(Own { live, held: Held { epoch, used: now, checked: now } });
            self.pool.holds_session(self.place, true);
        }
        self.own.as_mut().ok_or(Error::Panicked)
    }

    /// Closes a session that is not to be used again.
    fn evict(&mut self, inside: &Inside<'_>) {
        if let Some(own) = self.own.take() {
            self.pool.counters.evicted.fetch_add(1, Relaxed);
            self.lost = true;
            own.live.close(inside);
            self.pool.holds_session(self.place, false);
        }
    }

    fn keep_alive(&mut self) -> bool {
        let module = Arc::clone(&self.module);
        let inside = module.enter();
        let Some(own) = &mut self.own else { return true };
        let alive = own.live.is_current(&inside) && own.live.check().is_ok();
        own.held.checked = Instant::now();
        if alive {
            return true;
        }
        self.evict(&inside);
        // Nobody waits for this one, so a token that is gone is noticed before the next call.
        let deadline = Instant::now() + self.pool.deadlines.call;
        match self.ensure(&inside, deadline) {
            Ok(_) => true,
            Err(error) if error.class() == Some(Class::Crowded) => {
                !self.pool.crowded(self.place, None)
            }
            Err(error) => {
                self.pool.failed(&error);
                true
            }
        }
    }

    /// Asks whether a lost token is back.
    fn reconnect(&mut self, attempts: u32) -> bool {
        self.close();
        self.lost = false;
        if attempts >= START_AFRESH_AFTER {
            // Its own failure shows in the next call.
            let _ = self.module.start_afresh(&self.pool.site.calls);
        }
        let module = Arc::clone(&self.module);
        let inside = module.enter();
        let deadline = Instant::now() + self.pool.deadlines.call;
        let outcome = self.ensure(&inside, deadline).and_then(|own| own.live.check());
        if outcome.is_err() {
            self.evict(&inside);
            self.lost = false;
        }
        let epoch = self.pool.reconnected(outcome);
        if let Some(own) = &mut self.own {
            own.held.epoch = epoch;
        }
        true
    }

    fn close(&mut self) -> bool {
        let module = Arc::clone(&self.module);
        let inside = module.enter();
        if let Some(own) = self.own.take() {
            own.live.close(&inside);
            self.pool.holds_session(self.place, false);
        }
        true
    }
}

/// One try of a job; a panic in it is an error of the job.
fn attempt(job: &Arc<dyn Work>, live: &mut Live) -> Result<()> {
    catch_unwind(AssertUnwindSafe(|| job.attempt(live))).unwrap_or_else(|payload| {
        // Secret memory unwinds with an error of its own.
        match payload.downcast::<KmsError>() {
            Ok(error) => Err(Error::Kms(*error)),
            Err(_) => Err(Error::Panicked),
        }
    })
}
