//! Whether the token may be asked: a circuit breaker, without clocks or threads of its own.

use std::time::{Duration, Instant};

use crate::codes::Class;
use crate::config::Backoff;
use crate::error::{Error, Result};

/// The state of the connection to a token.
#[derive(Debug)]
pub(crate) enum Link {
    /// Calls go to the token.
    Up {
        /// Calls that failed since one succeeded.
        failures: u32,
    },
    /// Calls fail at once. One thread at a time asks whether the token is back.
    Down {
        /// When it went down.
        since: Instant,
        /// Attempts that failed since it went down.
        attempts: u32,
        /// When the next attempt is due.
        due: Instant,
        /// Until when the attempt of another thread counts as under way.
        trying_until: Option<Instant>,
        /// What was last seen; `None` before the first attempt.
        cause: Option<Error>,
    },
    /// For good: the PIN was refused.
    Refused {
        /// When.
        since: Instant,
        /// Why.
        cause: Error,
    },
}

impl Link {
    /// Before the first attempt, which is due at once.
    pub(crate) fn start(now: Instant) -> Link {
        Link::Down { since: now, attempts: 0, due: now, trying_until: None, cause: None }
    }

    /// Lets a call through, or says why not and when to come back.
    pub(crate) fn admit(&self, now: Instant) -> Result<()> {
        let (retry_after, cause) = match self {
            Link::Up { .. } => return Ok(()),
            Link::Down { due, cause, trying_until, .. } => {
                let at = trying_until.map_or(*due, |until| until.max(*due));
                (at.saturating_duration_since(now), cause.clone().unwrap_or(Error::Closed))
            }
            Link::Refused { cause, .. } => (Duration::ZERO, cause.clone()),
        };
        let retry_after = retry_after.max(Duration::from_millis(1));
        Err(Error::Unavailable { retry_after, cause: Box::new(cause) })
    }

    /// A call succeeded.
    pub(crate) fn succeeded(&mut self) {
        if let Link::Up { failures } = self {
            *failures = 0;
        }
    }

    /// A call failed for good, its second try included. Says whether the link went down by it.
    pub(crate) fn failed(
        &mut self,
        error: &Error,
        trip_after: u32,
        now: Instant,
        delay: Duration,
    ) -> bool {
        let Link::Up { failures } = self else { return false };
        let class = error.class();
        if class == Some(Class::Pin) {
            *self = Link::Refused { since: now, cause: error.clone() };
            return true;
        }
        if !matches!(class, Some(Class::Session | Class::Gone | Class::Device)) {
            return false;
        }
        *failures += 1;
        if class != Some(Class::Gone) && *failures < trip_after {
            return false;
        }
        let cause = Some(error.clone());
        *self = Link::Down { since: now, attempts: 0, due: now + delay, trying_until: None, cause };
        true
    }

    /// When the next attempt is due; `None` while up, or for good.
    pub(crate) fn attempt_due(&self) -> Option<Instant> {
        match self {
            Link::Down { due, trying_until, .. } => {
                Some(trying_until.map_or(*due, |until| until.max(*due)))
            }
            _ => None,
        }
    }

    /// Takes the attempt, if one is due: no other thread does before `until`.
    pub(crate) fn take_attempt(&mut self, now: Instant, until: Instant) -> bool {
        let is_due = self.attempt_due().is_some_and(|due| due <= now);
        match self {
            Link::Down { trying_until, .. } if is_due => {
                *trying_until = Some(until);
                true
            }
            _ => false,
        }
    }

    /// The token is back.
    pub(crate) fn attempt_succeeded(&mut self) {
        if let Link::Down { .. } = self {
            *self = Link::Up { failures: 0 };
        }
    }

    /// It is not.
    pub(crate) fn attempt_failed(
        &mut self,
        error: Error,
        now: Instant,
        backoff: &Backoff,
        random: u32,
    ) {
        let Link::Down { since, attempts, due, trying_until, cause } = self else { return };
        if error.class() == Some(Class::Pin) {
            *self = Link::Refused { since: *since, cause: error };
            return;
        }
        *due = now + backoff.delay(attempts.saturating_add(1), random);
        *attempts = attempts.saturating_add(1);
        *trying_until = None;
        *cause = Some(error);
    }

    /// When it went down; `None` while it is up.
    pub(crate) fn down_since(&self) -> Option<Instant> {
        match self {
            Link::Up { .. } => None,
            Link::Down { since, .. } | Link::Refused { since, .. } => Some(*since),
        }
    }

    /// Attempts that failed since the link went down.
    pub(crate) fn attempts(&self) -> u32 {
        match self {
            Link::Down { attempts, .. } => *attempts,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::error::RvError;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn call(code: RvError) -> Error {
        Error::Call { function: "C_Sign", code: code.into() }
    }

    fn up() -> Link {
        Link::Up { failures: 0 }
    }

    #[test]
    fn a_token_that_is_gone_trips_at_once_and_a_device_error_after_several() {
        let now = Instant::now();
        let mut link = up();
        assert!(link.failed(&call(RvError::DeviceRemoved), 3, now, 100 * MS));
        assert!(matches!(link.admit(now), Err(Error::Unavailable { retry_after, .. })
            if retry_after == 100 * MS));
        let mut link = up();
        for trips in [false, false] {
            assert_eq!(link.failed(&call(RvError::DeviceError), 3, now, MS), trips);
        }
        link.succeeded();
        for trips in [false, false, true] {
            assert_eq!(link.failed(&call(RvError::DeviceError), 3, now, MS), trips);
        }
    }

    #[test]
    fn what_the_caller_asked_wrongly_never_trips() {
        let now = Instant::now();
        let mut link = up();
        for code in
            [RvError::MechanismInvalid, RvError::ArgumentsBad, RvError::EncryptedDataInvalid]
        {
            assert!((0..10).all(|_| !link.failed(&call(code), 3, now, MS)));
        }
        assert!((0..10).all(|_| !link.failed(&Error::NoSuchKey, 3, now, MS)));
        assert_eq!(link.admit(now), Ok(()));
    }

    #[test]
    fn one_thread_attempts_at_a_time_and_a_stuck_one_is_followed_by_another() {
        let now = Instant::now();
        let mut link = Link::start(now);
        assert!(link.take_attempt(now, now + 10 * MS));
        assert!(!link.take_attempt(now + MS, now + 20 * MS));
        assert!(link.take_attempt(now + 10 * MS, now + 20 * MS));
        link.attempt_failed(Error::NoToken, now, &Backoff::default(), 0);
        assert_eq!(link.attempts(), 1);
        assert!(!link.take_attempt(now + 99 * MS, now));
        assert!(link.take_attempt(now + 100 * MS, now + 110 * MS));
        link.attempt_succeeded();
        assert_eq!(link.admit(now), Ok(()));
    }

    #[test]
    fn a_refused_pin_is_for_good() {
        let now = Instant::now();
        let refused = || Error::PinRefused { code: RvError::PinIncorrect.into() };
        let mut down = Link::start(now);
        down.attempt_failed(refused(), now, &Backoff::default(), 0);
        let mut was_up = up();
        assert!(was_up.failed(&refused(), 5, now, MS));
        for mut link in [down, was_up] {
            link.attempt_succeeded();
            assert!(!link.take_attempt(now + 10_000 * MS, now));
            assert!(link.admit(now + 10_000 * MS).is_err() && link.attempt_due().is_none());
        }
    }
}
