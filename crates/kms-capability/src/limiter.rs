//! Requests a second, by place of a chain.
//!
//! A bucket is a moment: the one at which all that was taken has flowed back (the generic cell rate algorithm). After it a
//! bucket is full, and forgetting it changes nothing. Only such are forgotten, so nobody resets a bucket by making others.

use std::collections::HashMap;

/// A second's worth may be taken at once.
const BURST_NS: u64 = 1_000_000_000;
/// Most buckets.
const CAPACITY: usize = 65_536;

pub(crate) type Place = [u8; 16];

/// The buckets of one verifier.
#[derive(Default)]
pub(crate) struct Limiter {
    /// When each is full again, in nanoseconds on the monotonic clock.
    full_at: HashMap<Place, u64>,
    /// Before this none of them can be forgotten.
    none_full_before: u64,
}

impl Limiter {
    /// Takes one of each bucket, or of none: `false` where one is empty.
    pub(crate) fn take(&mut self, limits: &[(Place, u32)], now_ms: u64) -> bool {
        if limits.is_empty() {
            return true;
        }
        let now = now_ms.saturating_mul(1_000_000);
        let next = |limiter: &Limiter, (place, rps): &(Place, u32)| {
            let own = limiter.full_at.get(place).copied().unwrap_or_default().max(now);
            own + BURST_NS / u64::from(*rps).max(1)
        };
        if limits.iter().any(|limit| next(self, limit) > now + BURST_NS) {
            return false;
        }
        let fresh = limits.iter().filter(|(place, _)| !self.full_at.contains_key(place)).count();
        if !self.has_room(fresh, now) {
            return false;
        }
        for limit in limits {
            let full_at = next(self, limit);
            self.full_at.insert(limit.0, full_at);
        }
        true
    }

    fn has_room(&mut self, more: usize, now: u64) -> bool {
        if more == 0 || self.full_at.len() + more <= CAPACITY {
            return true;
        }
        // Looked through at most once for each of them that flows back.
        if now >= self.none_full_before {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.none_full_before = self.full_at.values().min().copied().unwrap_or_default();
        }
        self.full_at.len() + more <= CAPACITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_requests_as_are_allowed() {
        let mut limiter = Limiter::default();
        let limit = [([1; 16], 5)];
        let taken = |limiter: &mut Limiter, now_ms| {
            (0..100).filter(|_| limiter.take(&limit, now_ms)).count()
        };
        assert_eq!(taken(&mut limiter, 1000), 5);
        assert_eq!(taken(&mut limiter, 1199), 0);
        assert_eq!(taken(&mut limiter, 1200), 1);
        assert_eq!(taken(&mut limiter, 10_000), 5, "no more than a second's worth is saved");
    }

    #[test]
    fn the_tightest_of_several_holds_and_the_others_lose_nothing() {
        let mut limiter = Limiter::default();
        let both = [([1; 16], 100), ([2; 16], 2)];
        assert_eq!((0..50).filter(|_| limiter.take(&both, 0)).count(), 2);
        assert_eq!((0..200).filter(|_| limiter.take(&both[..1], 0)).count(), 98);
    }

    #[test]
    fn a_flood_of_other_buckets_resets_none() {
        let mut limiter = Limiter::default();
        let own = [([255; 16], 1)];
        assert!(limiter.take(&own, 0));
        let mut refused = 0;
        for n in 0..200_000u32 {
            let mut place = [0; 16];
            place[..4].copy_from_slice(&n.to_be_bytes());
            refused += u32::from(!limiter.take(&[(place, 1)], 1));
        }
        assert!(refused > 100_000, "what is not there yet is refused, what is there stays");
        assert!(limiter.full_at.len() <= CAPACITY);
        assert!(!limiter.take(&own, 999), "still empty");
        assert!(limiter.take(&own, 1000));
        assert!(limiter.take(&[([254; 16], 1)], 1001), "room again");
    }
}
