//! How many capabilities may be minted on line, by tenant.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use kms_core::{ErrorCode, KmsError, Result, Tenants};

/// What may be minted on line. What an operator mints with the root key is not counted.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// In a minute, for each tenant.
    pub per_minute: u32,
    /// Not yet expired, for each tenant, of those that this process minted.
    pub active: u32,
    /// The longest life, in seconds.
    pub max_life_s: u64,
}

impl Default for Ceilings {
    fn default() -> Self {
        Ceilings { per_minute: 60, active: 10_000, max_life_s: 24 * 3600 }
    }
}

/// Most tenants that are counted at once. Past that nothing is minted for another until some have expired.
const MAX_TENANTS: usize = 4096;
/// How a capability for every tenant is counted.
const EVERY: &str = "*";

/// What was minted.
#[derive(Default)]
pub(crate) struct Minted(HashMap<Box<str>, OfTenant>);

#[derive(Default)]
struct OfTenant {
    /// When they expire, in Unix seconds.
    active: BinaryHeap<Reverse<u64>>,
    minute: u64,
    in_minute: u32,
}

impl Minted {
    /// Counts one more capability for each of some tenants, or for none of them.
    ///
    /// # Errors
    /// `Backpressure` over a ceiling.
    pub(crate) fn count(
        &mut self,
        tenants: &Tenants,
        exp_s: u64,
        now_ms: u64,
        ceilings: &Ceilings,
    ) -> Result<()> {
        let every = [EVERY.into()];
        let names: &[Box<str>] = match tenants {
            Tenants::All => &every,
            Tenants::Only(names) => names,
        };
        let (now_s, minute) = (now_ms / 1000, now_ms / 60_000);
        for name in names {
            if !self.0.contains_key(name) && self.0.len() + names.len() > MAX_TENANTS {
                self.forget(now_s, minute);
                if self.0.len() + names.len() > MAX_TENANTS {
                    return Err(full("capabilities of too many tenants are active", 60_000));
                }
            }
            let own = self.0.entry(name.clone()).or_default();
            own.expire(now_s);
            if own.minute == minute && own.in_minute >= ceilings.per_minute {
                let wait_ms = u32::try_from(60_000 - now_ms % 60_000).unwrap_or(60_000);
                return Err(full("too many capabilities were minted in this minute", wait_ms));
            }
            if own.active.len() >= ceilings.active as usize {
                return Err(full("too many capabilities are active", 60_000));
            }
        }
        for name in names {
            if let Some(own) = self.0.get_mut(name) {
                own.in_minute = if own.minute == minute { own.in_minute + 1 } else { 1 };
                own.minute = minute;
                own.active.push(Reverse(exp_s));
            }
        }
        Ok(())
    }

    fn forget(&mut self, now_s: u64, minute: u64) {
        self.0.retain(|_, own| {
            own.expire(now_s);
            !own.active.is_empty() || own.minute == minute
        });
    }
}

impl OfTenant {
    fn expire(&mut self, now_s: u64) {
        while self.active.peek().is_some_and(|Reverse(exp)| *exp <= now_s) {
            self.active.pop();
        }
    }
}

fn full(why: &'static str, wait_ms: u32) -> KmsError {
    KmsError::new(ErrorCode::Backpressure, why).field("tenant").retry_after_ms(wait_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Tenants {
        Tenants::Only(names.iter().map(|name| (*name).into()).collect())
    }

    #[test]
    fn each_tenant_has_its_own_minute_and_its_own_room() {
        let ceilings = Ceilings { per_minute: 3, active: 5, max_life_s: 1 };
        let mut minted = Minted::default();
        let mut mint = |tenants: &Tenants, exp_s, now_ms| {
            minted.count(tenants, exp_s, now_ms, &ceilings).map_err(|error| error.code)
        };
        let (one, both) = (of(&["one"]), of(&["one", "two"]));
        for _ in 0..3 {
            assert_eq!(mint(&one, 300, 0), Ok(()));
        }
        assert_eq!(mint(&one, 300, 59_999), Err(ErrorCode::Backpressure));
        assert_eq!(mint(&both, 300, 59_999), Err(ErrorCode::Backpressure), "all or none");
        for _ in 0..3 {
            assert_eq!(mint(&of(&["two"]), 70, 0), Ok(()));
        }
        assert_eq!(mint(&both, 300, 60_000), Ok(()));
        assert_eq!(mint(&one, 300, 60_000), Ok(()));
        assert_eq!(mint(&one, 300, 60_000), Err(ErrorCode::Backpressure), "five are active");
        assert_eq!(mint(&one, 900, 300_000), Ok(()), "they have expired");
    }
}
