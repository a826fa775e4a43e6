//! What a token is opened with.

use std::path::PathBuf;
use std::time::Duration;

use kms_core::SecretBytes;

use crate::error::{Error, Result};

/// Most sessions that may be asked for.
pub const MAX_SESSIONS: usize = 256;
/// Longest PIN, in bytes.
pub const MAX_PIN_LEN: usize = 256;
/// Longest label of a token, in bytes (CK_TOKEN_INFO, PKCS#11 v3.2 section 3.3).
pub const MAX_LABEL_LEN: usize = 32;

/// Where the token is, how to log in, and how much of it to use.
pub struct Config {
    /// The module's library.
    pub module: PathBuf,
    /// The token's label, exact.
    pub token_label: String,
    /// The PIN of the normal user. Copied from here to the module for each C_Login, and wiped when the token is closed.
    pub pin: SecretBytes,
    /// How many sessions, and for how long.
    pub pool: PoolLimits,
    /// How long calls may take.
    pub deadlines: Deadlines,
    /// How long to wait before a token that failed is asked again.
    pub backoff: Backoff,
}

/// Bounds of the pool. One thread has one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Most sessions, and most threads; 1 to [`MAX_SESSIONS`]. They are opened as calls need them.
    pub max_sessions: usize,
    /// Most calls that wait for a session.
    pub queue: usize,
    /// A session that was idle for this long is asked whether it lives.
    pub keep_alive: Duration,
    /// A session that was idle for this long is closed, but for the last one.
    pub idle_close: Duration,
    /// After this many calls failed in a row, the token counts as gone.
    pub trip_after: u32,
}

impl Default for PoolLimits {
    /// 16 sessions, 512 waiting calls, 30 seconds, 5 minutes, 5 failures.
    fn default() -> Self {
        PoolLimits {
            max_sessions: 16,
            queue: 512,
            keep_alive: Duration::from_secs(30),
            idle_close: Duration::from_secs(300),
            trip_after: 5,
        }
    }
}

/// Longest time of calls that no caller gave a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// To load the module and log in for the first time.
    pub open: Duration,
    /// Of calls that the pool makes by itself: keep-alive, reconnection, closing.
    pub call: Duration,
}

impl Default for Deadlines {
    /// 10 and 2 seconds.
    fn default() -> Self {
        Deadlines { open: Duration::from_secs(10), call: Duration::from_secs(2) }
    }
}

/// Exponential, with jitter: half to all of `first`, twice that, and so on up to `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

impl Default for Backoff {
    /// 100 milliseconds and 5 seconds.
    fn default() -> Self {
        Backoff { first: Duration::from_millis(100), most: Duration::from_secs(5) }
    }
}

impl Backoff {
    /// The delay after this many failures in a row, counted from 0; `random` is uniform.
    pub(crate) fn delay(&self, failures: u32, random: u32) -> Duration {
        let whole = self.first.saturating_mul(1 << failures.min(16)).min(self.most);
        let half = whole / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

impl Config {
    /// A config with the default limits.
    pub fn new(module: PathBuf, token_label: String, pin: SecretBytes) -> Config {
        let (pool, deadlines, backoff) = Default::default();
        Config { module, token_label, pin, pool, deadlines, backoff }
    }

    /// Refuses what cannot work, before anything is loaded.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn check(&self) -> Result<()> {
        let PoolLimits { max_sessions, queue, keep_alive, idle_close, trip_after } = self.pool;
        let label = self.token_label.len();
        let times = [keep_alive, idle_close, self.deadlines.open, self.deadlines.call];
        let times_ok = times.iter().all(|time| !time.is_zero());
        for (good, field, rule) in [
            (self.module.is_absolute(), "module_path", "must be an absolute path"),
            ((1..=MAX_LABEL_LEN).contains(&label), "slot_label", "must have 1 to 32 bytes"),
            ((1..=MAX_PIN_LEN).contains(&self.pin.len()), "pin", "must have 1 to 256 bytes"),
            ((1..=MAX_SESSIONS).contains(&max_sessions), "max_sessions", "must be 1 to 256"),
            (queue > 0, "queue", "must be at least 1"),
            (trip_after > 0, "trip_after", "must be at least 1"),
            (times_ok, "deadlines", "must be longer than nothing"),
            (!self.backoff.first.is_zero(), "backoff", "must be longer than nothing"),
            (self.backoff.first <= self.backoff.most, "backoff", "must not end below its start"),
        ] {
            if !good {
                return Err(Error::Config { field, rule });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_keep_half_of_it() {
        let backoff = Backoff::default();
        let ms = |failures, random| backoff.delay(failures, random).as_millis();
        assert_eq!((ms(0, 0), ms(0, u32::MAX)), (50, 100));
        assert_eq!((ms(3, 0), ms(3, u32::MAX)), (400, 800));
        assert_eq!((ms(6, 0), ms(u32::MAX, u32::MAX)), (2_500, 5_000));
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let config = || Config::new("/m.so".into(), "RON-KMS".into(), SecretBytes::copy_of(b"1"));
        assert_eq!(config().check(), Ok(()));
        let fault = |change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            match config.check() {
                Err(Error::Config { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(fault(|it| it.module = "m.so".into()), "module_path");
        assert_eq!(fault(|it| it.token_label.clear()), "slot_label");
        assert_eq!(fault(|it| it.token_label = "x".repeat(33)), "slot_label");
        assert_eq!(fault(|it| it.pin = SecretBytes::copy_of(b"")), "pin");
        assert_eq!(fault(|it| it.pool.max_sessions = 0), "max_sessions");
        assert_eq!(fault(|it| it.pool.max_sessions = 257), "max_sessions");
        assert_eq!(fault(|it| it.pool.queue = 0), "queue");
        assert_eq!(fault(|it| it.pool.trip_after = 0), "trip_after");
        assert_eq!(fault(|it| it.deadlines.call = Duration::ZERO), "deadlines");
        assert_eq!(fault(|it| it.backoff.most = Duration::ZERO), "backoff");
    }
}
