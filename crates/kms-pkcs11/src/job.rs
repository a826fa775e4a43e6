//! One call of a user of the token: handed to a thread that has a session, waited for no longer than its deadline.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::session::Live;

/// What a thread of the pool does with a job.
pub(crate) trait Work: Send + Sync {
    /// After this nobody waits for it.
    fn deadline(&self) -> Instant;
    /// Whether it may be done twice.
    fn idempotent(&self) -> bool;
    /// Takes it up; `false` when its caller has given up.
    fn begin(&self) -> bool;
    /// Puts it back unbegun; `false` when its caller has given up.
    fn put_back(&self) -> bool;
    /// Does it once. The result is kept for [`Work::finish`].
    fn attempt(&self, live: &mut Live) -> Result<()>;
    /// Hands the result of the last attempt, or the error, to the caller. Not to be called with a lock held: the caller
    /// may be a function that is run here.
    fn finish(&self, outcome: Result<()>);
    /// Gives up for a caller that does not wait by itself; `true` where it had not ended.
    fn expire(&self) -> bool;
}

/// What is called with the result of a job that nobody waits for.
pub(crate) type Then<T> = Box<dyn FnOnce(Result<T>) + Send>;

enum Phase<T> {
    Waiting,
    Begun,
    /// The caller has gone; the result is dropped.
    Abandoned,
    Done(Result<T>),
}

/// A job whose result is a `T`.
pub(crate) struct Job<T, F> {
    deadline: Instant,
    idempotent: bool,
    act: Mutex<F>,
    made: Mutex<Option<T>>,
    phase: Mutex<Phase<T>>,
    changed: Condvar,
    /// Taken by whoever ends the job.
    then: Mutex<Option<Then<T>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is one value; after a panic of `act` nobody calls it again.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Send, F: FnMut(&mut Live) -> Result<T> + Send> Job<T, F> {
    /// A job that is waited for, or whose result goes to `then`.
    pub(crate) fn new(deadline: Instant, idempotent: bool, then: Option<Then<T>>, act: F) -> Self {
        Job {
            then: Mutex::new(then),
            deadline,
            idempotent,
            act: Mutex::new(act),
            made: Mutex::new(None),
            phase: Mutex::new(Phase::Waiting),
            changed: Condvar::new(),
        }
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// Those of the job; [`Error::Timeout`] after the deadline, when the job is abandoned.
    pub(crate) fn wait(&self) -> Result<T> {
        let mut phase = lock(&self.phase);
        loop {
            match std::mem::replace(&mut *phase, Phase::Abandoned) {
                Phase::Done(result) => return result,
                going_on => {
                    let left = self.deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Error::Timeout { begun: matches!(going_on, Phase::Begun) });
                    }
                    *phase = going_on;
                    let waited = self.changed.wait_timeout(phase, left);
                    phase = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

impl<T: Send, F: FnMut(&mut Live) -> Result<T> + Send> Work for Job<T, F> {
    fn deadline(&self) -> Instant {
        self.deadline
    }

    fn idempotent(&self) -> bool {
        self.idempotent
    }

    fn begin(&self) -> bool {
        let mut phase = lock(&self.phase);
        let wanted = matches!(*phase, Phase::Waiting);
        if wanted {
            *phase = Phase::Begun;
        }
        wanted
    }

    fn put_back(&self) -> bool {
        let mut phase = lock(&self.phase);
        let wanted = matches!(*phase, Phase::Begun);
        if wanted {
            *phase = Phase::Waiting;
        }
        wanted
    }

    fn attempt(&self, live: &mut Live) -> Result<()> {
        *lock(&self.made) = None;
        let made = (lock(&self.act))(live)?;
        *lock(&self.made) = Some(made);
        Ok(())
    }

    fn finish(&self, outcome: Result<()>) {
        let made = lock(&self.made).take();
        let result = outcome.and_then(|()| made.ok_or(Error::Panicked));
        let then = lock(&self.then).take();
        let mut phase = lock(&self.phase);
        match then {
            Some(then) => {
                *phase = Phase::Abandoned;
                drop(phase);
                then(result);
            }
            None if !matches!(*phase, Phase::Abandoned) => {
                *phase = Phase::Done(result);
                self.changed.notify_one();
            }
            None => {}
        }
    }

    fn expire(&self) -> bool {
        let Some(then) = lock(&self.then).take() else { return false };
        let was = std::mem::replace(&mut *lock(&self.phase), Phase::Abandoned);
        then(Err(Error::Timeout { begun: matches!(was, Phase::Begun) }));
        true
    }
}
