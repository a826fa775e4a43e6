//! Requests a second, by place of a chain.
//!
//! A bucket is a moment: the one at which all that was taken has flowed back (the generic cell rate algorithm). After it a
//! bucket is full, and forgetting it changes nothing. Only such are forgotten, so nobody resets a bucket by making others.
//! Whoever has a token can make others with buckets of their own; so what one mint led to has a part of the room, and
//! no more.

use std::collections::HashMap;

use uuid::Uuid;

/// A second's worth may be taken at once.
const BURST_NS: u64 = 1_000_000_000;
/// Most buckets.
const CAPACITY: usize = 65_536;
/// Time between two searches for buckets that are full: each takes up to a millisecond.
const LOOK_NS: u64 = 100_000_000;
/// Most buckets of what one mint led to.
const OWN: usize = 1024;

pub(crate) type Place = [u8; 16];

/// The buckets of one verifier.
#[derive(Default)]
pub(crate) struct Limiter {
    /// When each is full again, in nanoseconds on the monotonic clock, and whose it is.
    buckets: HashMap<Place, (u64, Uuid)>,
    /// How many of them each mint led to.
    owned: HashMap<Uuid, usize>,
    /// Before this they are not looked through again.
    not_before: u64,
}

impl Limiter {
    /// Takes one of each bucket, or of none: `false` where one is empty, or there is no room for it. `owner` is the id under
    /// which a capability was minted: whatever was attenuated from it has the same one.
    pub(crate) fn take(&mut self, owner: Uuid, limits: &[(Place, u32)], now_ms: u64) -> bool {
        if limits.is_empty() {
            return true;
        }
        let now = now_ms.saturating_mul(1_000_000);
        let next = |limiter: &Limiter, (place, rps): &(Place, u32)| {
            let own = limiter.buckets.get(place).map_or(now, |(full_at, _)| now.max(*full_at));
            own + BURST_NS / u64::from(*rps).max(1)
        };
        if limits.iter().any(|limit| next(self, limit) > now + BURST_NS) {
            return false;
        }
        let fresh = limits.iter().filter(|(place, _)| !self.buckets.contains_key(place)).count();
        if !self.has_room(owner, fresh, now) {
            return false;
        }
        for limit in limits {
            let full_at = next(self, limit);
            if self.buckets.insert(limit.0, (full_at, owner)).is_none() {
                *self.owned.entry(owner).or_default() += 1;
            }
        }
        true
    }

    fn has_room(&mut self, owner: Uuid, more: usize, now: u64) -> bool {
        if more == 0 || self.has_room_now(owner, more) {
            return true;
        }
        if now >= self.not_before {
            let owned = &mut self.owned;
            self.buckets.retain(|_, (full_at, owner)| {
                let stays = *full_at > now;
                if !stays && let Some(count) = owned.get_mut(owner) {
                    *count -= 1;
                }
                stays
            });
            owned.retain(|_, count| *count > 0);
            let full_at = self.buckets.values().map(|(full_at, _)| *full_at);
            self.not_before = full_at.min().unwrap_or_default().max(now + LOOK_NS);
        }
        self.has_room_now(owner, more)
    }

    fn has_room_now(&self, owner: Uuid, more: usize) -> bool {
        let own = self.owned.get(&owner).copied().unwrap_or_default();
        own + more <= OWN && self.buckets.len() + more <= CAPACITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);

    #[test]
    fn a_second_has_as_many_requests_as_are_allowed() {
        let mut limiter = Limiter::default();
        let limit = [([1; 16], 5)];
        let taken = |limiter: &mut Limiter, now_ms| {
            (0..100).filter(|_| limiter.take(ONE, &limit, now_ms)).count()
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
        assert_eq!((0..50).filter(|_| limiter.take(ONE, &both, 0)).count(), 2);
        assert_eq!((0..200).filter(|_| limiter.take(ONE, &both[..1], 0)).count(), 98);
    }

    /// The place of a number.
    fn place(n: u32) -> Place {
        let mut place = [0; 16];
        place[..4].copy_from_slice(&n.to_be_bytes());
        place
    }

    #[test]
    fn a_flood_of_other_buckets_resets_none() {
        let mut limiter = Limiter::default();
        let own = [([255; 16], 1)];
        assert!(limiter.take(ONE, &own, 0));
        let mut refused = 0;
        for n in 0..200_000u32 {
            let owner = Uuid::from_u128(2 + u128::from(n) / 100);
            refused += u32::from(!limiter.take(owner, &[(place(n), 1)], 1));
        }
        assert!(refused > 100_000, "what is not there yet is refused, what is there stays");
        assert!(limiter.buckets.len() <= CAPACITY);
        assert!(!limiter.take(ONE, &own, 999), "still empty");
        assert!(limiter.take(ONE, &own, 1000));
        assert!(limiter.take(ONE, &[([254; 16], 1)], 1001), "room again");
    }

    #[test]
    fn one_capability_narrowed_in_many_ways_leaves_the_others_their_room() {
        let mut limiter = Limiter::default();
        let taken = (0..100_000u32).filter(|n| limiter.take(ONE, &[(place(*n), 1)], 0)).count();
        assert_eq!(taken, OWN);
        let other = Uuid::from_u128(2);
        assert!(limiter.take(other, &[([255; 16], 1)], 0));
        assert!(limiter.take(ONE, &[(place(u32::MAX), 1)], 1001), "its own have flowed back");
        assert_eq!(limiter.owned.values().sum::<usize>(), limiter.buckets.len());
        assert_eq!(limiter.buckets.len(), 1);
    }
}
