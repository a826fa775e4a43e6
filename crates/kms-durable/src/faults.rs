//! Failures on demand: each system call that changes something passes a numbered point first.
//!
//! Without the feature `faults` a point is nothing. With it, a test counts the points that an operation passes, then
//! runs it again for each number with that point failing or the process ending there. Armed per thread, so tests run
//! side by side.

use rustix::io::Errno;

/// What happens at the point that is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails without having been made.
    Fail(Errno),
    /// The process ends by SIGKILL before the call.
    Kill,
}

#[cfg(not(feature = "faults"))]
pub(crate) fn point(_step: &'static str) -> Result<(), Errno> {
    Ok(())
}

#[cfg(feature = "faults")]
pub(crate) use armed::point;
#[cfg(feature = "faults")]
pub use armed::{arm, disarm, passed};

#[cfg(feature = "faults")]
mod armed {
    use std::cell::{Cell, RefCell};

    use rustix::process::Signal;

    use super::{Errno, Fault};

    thread_local! {
        static ARMED: Cell<Option<(usize, Fault)>> = const { Cell::new(None) };
        static PASSED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    /// Arms the point that this thread passes after `skip` others, and forgets those passed so far. The fault
    /// happens once.
    pub fn arm(skip: usize, fault: Fault) {
        PASSED.with_borrow_mut(Vec::clear);
        ARMED.set(Some((skip, fault)));
    }

    /// Disarms this thread and forgets the points passed so far.
    pub fn disarm() {
        PASSED.with_borrow_mut(Vec::clear);
        ARMED.set(None);
    }

    /// The system calls of the points that this thread passed since it was armed or disarmed.
    pub fn passed() -> Vec<&'static str> {
        PASSED.with_borrow(Clone::clone)
    }

    pub(crate) fn point(step: &'static str) -> Result<(), Errno> {
        let number = PASSED.with_borrow_mut(|passed| {
            passed.push(step);
            passed.len() - 1
        });
        match ARMED.get() {
            Some((at, fault)) if at == number => {
                ARMED.set(None);
                match fault {
                    Fault::Fail(errno) => Err(errno),
                    Fault::Kill => kill(),
                }
            }
            _ => Ok(()),
        }
    }

    /// Ends the process as `kill -9` does: no destructor, no buffer flushed.
    fn kill() -> ! {
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
        std::process::abort()
    }
}
