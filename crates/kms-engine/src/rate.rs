//! How many signatures an instance makes in a second.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use kms_core::{ErrorCode, KmsError, Result};

/// A token bucket that holds what a second brings.
///
/// All or nothing: a batch takes its signatures together or is refused. One that is larger than the bucket is let through
/// when the bucket is full, and what it takes beyond that is owed. Any number of threads.
pub(crate) struct Rate {
    per_second: NonZeroU32,
    state: Mutex<State>,
}

struct State {
    /// Thousandths of a signature; below zero they are owed.
    tokens: i64,
    at_ms: u64,
}

impl Rate {
    /// A full bucket.
    pub(crate) fn new(per_second: NonZeroU32, now_ms: u64) -> Rate {
        Rate { per_second, state: Mutex::new(State { tokens: full(per_second), at_ms: now_ms }) }
    }

    /// Takes `count` signatures at `now_ms` of a monotonic clock.
    ///
    /// # Errors
    /// `Backpressure` with the time until there are enough.
    pub(crate) fn take(&self, count: usize, now_ms: u64) -> Result<()> {
        // A critical section is some arithmetic.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = i64::try_from(now_ms.saturating_sub(state.at_ms)).unwrap_or(i64::MAX);
        let rate = i64::from(self.per_second.get());
        state.tokens =
            state.tokens.saturating_add(passed.saturating_mul(rate)).min(full(self.per_second));
        state.at_ms = state.at_ms.max(now_ms);
        let wanted = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1000);
        let needed = wanted.min(full(self.per_second));
        if state.tokens < needed {
            // Rounded up: `i64::div_ceil` is not stable.
            let wait = (needed - state.tokens + rate - 1) / rate;
            let error = KmsError::new(
                ErrorCode::Backpressure,
                "over the rate of signatures of this instance",
            );
            return Err(error.retry_after_ms(u32::try_from(wait).unwrap_or(u32::MAX)));
        }
        state.tokens -= wanted;
        Ok(())
    }
}

fn full(per_second: NonZeroU32) -> i64 {
    i64::from(per_second.get()) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_second(signatures: u32) -> Rate {
        Rate::new(NonZeroU32::new(signatures).unwrap(), 0)
    }

    fn taken(rate: &Rate, count: usize, now_ms: u64) -> Option<u32> {
        rate.take(count, now_ms).err().map(|error| {
            assert_eq!(error.code, ErrorCode::Backpressure);
            error.retry_after_ms.unwrap_or(0)
        })
    }

    #[test]
    fn a_second_brings_what_it_says_and_no_more() {
        let rate = per_second(500);
        for _ in 0..500 {
            assert_eq!(taken(&rate, 1, 0), None);
        }
        assert_eq!(taken(&rate, 1, 0), Some(2));
        assert_eq!(taken(&rate, 1, 1), Some(1));
        assert_eq!(taken(&rate, 1, 2), None);
        assert_eq!(
            taken(&rate, 500, 60_000),
            None,
            "what is not used for a minute is not saved up"
        );
        assert_eq!(taken(&rate, 1, 60_000), Some(2));
    }

    #[test]
    fn a_batch_over_a_second_is_let_through_once_and_paid_for() {
        let rate = per_second(100);
        assert_eq!(taken(&rate, 512, 0), None);
        assert_eq!(taken(&rate, 1, 4_120), Some(10));
        assert_eq!(taken(&rate, 1, 4_130), None);
    }

    #[test]
    fn a_refused_batch_takes_nothing() {
        let rate = per_second(10);
        assert_eq!(taken(&rate, 6, 0), None);
        assert_eq!(taken(&rate, 6, 0), Some(200));
        assert_eq!(taken(&rate, 4, 0), None);
    }

    #[test]
    fn a_clock_that_stands_still_or_jumps_breaks_nothing() {
        let rate = per_second(u32::MAX);
        assert_eq!(taken(&rate, 1, 0), None);
        assert_eq!(taken(&rate, usize::MAX, u64::MAX), None);
        assert!(taken(&rate, 1, u64::MAX).is_some());
    }
}
