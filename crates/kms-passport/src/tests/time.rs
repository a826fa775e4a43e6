//! Clocks that jump.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kms_core::Clock;

use crate::{Now, TimeGuard};

/// Wall and monotonic milliseconds, each by itself.
struct TwoClocks(AtomicU64, AtomicU64);

impl TwoClocks {
    fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Relaxed);
        self.1.fetch_add(ms, Relaxed);
    }
}

impl Clock for TwoClocks {
    fn unix_ms(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn monotonic_ms(&self) -> u64 {
        self.1.load(Relaxed)
    }
}

#[test]
fn follows_a_clock_that_goes_forward() {
    let clock = TwoClocks(AtomicU64::new(1_000_000), AtomicU64::new(7));
    let guard = TimeGuard::new(&clock);
    clock.advance(5_000);
    assert_eq!(guard.now(&clock), Now::at(1005));
    clock.0.fetch_add(60_000, Relaxed);
    assert_eq!(guard.now(&clock), Now::at(1065));
    assert_eq!(guard.behind_ms(), 0);
}

#[test]
fn does_not_go_back_where_expiry_is_concerned() {
    let clock = TwoClocks(AtomicU64::new(10_000_000), AtomicU64::new(0));
    let guard = TimeGuard::new(&clock);
    clock.0.store(6_400_000, Relaxed);
    assert_eq!(guard.now(&clock), Now { earliest: 6400, latest: 10_000 });
    assert_eq!(guard.behind_ms(), 3_600_000);
    clock.advance(60_000);
    assert_eq!(guard.now(&clock), Now { earliest: 6460, latest: 10_060 });
    clock.0.store(10_070_000, Relaxed);
    assert_eq!(guard.now(&clock), Now::at(10_070));
    assert_eq!(guard.behind_ms(), 0);
}

#[test]
fn goes_on_while_the_wall_clock_stands_still() {
    let clock = TwoClocks(AtomicU64::new(10_000_000), AtomicU64::new(0));
    let guard = TimeGuard::new(&clock);
    clock.1.store(30_000, Relaxed);
    assert_eq!(guard.now(&clock), Now { earliest: 10_000, latest: 10_030 });
}
