//! The time that claims are held against.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use kms_core::Clock;

/// A moment in seconds since the Unix epoch, as two bounds that differ only where the clock was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// What has begun must have begun by this.
    pub earliest: u64,
    /// What is not over must not be over by this.
    pub latest: u64,
}

impl Now {
    /// One moment.
    pub const fn at(seconds: u64) -> Now {
        Now { earliest: seconds, latest: seconds }
    }
}

/// Keeps a wall clock that is set back from bringing expired tokens back.
///
/// Expiry is held against the time that has passed since the newest wall time that was seen, by the monotonic clock;
/// beginnings against the wall clock as it is. So a clock that was set forward in error and back again has tokens
/// expire too early until real time catches up or the process starts anew: closed, not open.
pub struct TimeGuard {
    /// Wall and monotonic milliseconds of the newest wall time.
    newest: Mutex<(u64, u64)>,
    /// How far the wall clock is behind, in milliseconds.
    behind: AtomicU64,
}

impl TimeGuard {
    /// Starts at the clock's time.
    pub fn new(clock: &dyn Clock) -> TimeGuard {
        let newest = Mutex::new((clock.unix_ms(), clock.monotonic_ms()));
        TimeGuard { newest, behind: AtomicU64::new(0) }
    }

    /// The moment.
    pub fn now(&self, clock: &dyn Clock) -> Now {
        let (wall, monotonic) = (clock.unix_ms(), clock.monotonic_ms());
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = newest.0.saturating_add(monotonic.saturating_sub(newest.1));
        if wall >= expected {
            *newest = (wall, monotonic);
        }
        self.behind.store(expected.saturating_sub(wall), Relaxed);
        Now { earliest: wall / 1000, latest: wall.max(expected) / 1000 }
    }

    /// How far the wall clock was behind when it was last asked, in milliseconds; slewing keeps it near 0.
    pub fn behind_ms(&self) -> u64 {
        self.behind.load(Relaxed)
    }
}
