//! Whether a PIN may be offered to a token whose answers leave open whether it counted the last one as wrong.
//!
//! Some tokens report a wrong PIN as a failure of the device, and count it all the same; most lock after a few. So an
//! answer of C_Login that says nothing clear is taken for a wrong PIN that may have been counted. Without clocks of its
//! own.

use std::time::{Duration, Instant};

use cryptoki::error::RvError;

use crate::codes::{Class, Code};
use crate::error::{Error, Result};

/// After this many answers in a row that explain nothing, a PIN waits.
const MOST_IN_A_ROW: u32 = 2;
/// For this long, if the token took it before. One that it never took is not offered again.
pub(crate) const PAUSE: Duration = Duration::from_secs(300);

/// What the token says of its user's PIN (CK_TOKEN_INFO, PKCS#11 v3.2 section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tries {
    /// Nothing.
    Enough,
    /// CKF_USER_PIN_COUNT_LOW: a wrong one was offered since the last right one.
    Low,
    /// CKF_USER_PIN_FINAL_TRY: the next wrong one locks it.
    Final,
    /// CKF_USER_PIN_LOCKED.
    Locked,
}

/// Where there is no token, or no session, no PIN was looked at. By name: the classes of `codes.rs` hold answers of C_Login
/// too that say nothing of the PIN, such as CKR_FUNCTION_CANCELED.
const EXPLAINED: [&str; 6] = [
    "CKR_SESSION_CLOSED",
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_SESSION_COUNT",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_SLOT_ID_INVALID",
    "CKR_CRYPTOKI_NOT_INITIALIZED",
];
/// A token that was pulled out meanwhile says this, and one that is there and says it again and again explains nothing.
const REMOVED: &str = "CKR_DEVICE_REMOVED";

/// The answers of C_Login of one token that explain nothing, since the last clear one.
#[derive(Default)]
pub(crate) struct Doubt {
    unexplained: Option<Unexplained>,
    /// Answers of [`REMOVED`] that were taken for an explanation.
    removed: u32,
}

struct Unexplained {
    in_a_row: u32,
    last: Instant,
    code: Code,
}

const UNLOCK: &str = "have the security officer unlock or set the user PIN, then restart";
const CHECK: &str = "log in with the maker's own tool, which gives the tries back if the PIN is right; set that PIN, then restart";
const READ: &str =
    "read the token's own log, and check the PIN with the maker's own tool; then restart";

fn withheld(why: &'static str, next_step: &'static str) -> Result<()> {
    Err(Error::PinWithheld { why, next_step })
}

impl Doubt {
    /// Lets a PIN be offered. `proven` is whether the token has taken it in this process.
    ///
    /// # Errors
    /// [`Error::PinWithheld`], for good; [`Error::LoginPaused`].
    pub(crate) fn admit(&self, tries: Tries, proven: bool, now: Instant) -> Result<()> {
        match (tries, &self.unexplained) {
            (Tries::Locked, _) => withheld("says that its PIN is locked", UNLOCK),
            (Tries::Final, _) => withheld("says that one more wrong PIN locks it", CHECK),
            (_, None) => Ok(()),
            (Tries::Low, Some(_)) => {
                withheld("did not say why C_Login failed, and says that few tries are left", CHECK)
            }
            (Tries::Enough, Some(it)) if it.in_a_row < MOST_IN_A_ROW => Ok(()),
            (Tries::Enough, Some(_)) if !proven => {
                withheld("did not say why C_Login failed, twice", READ)
            }
            (Tries::Enough, Some(it)) => {
                let retry_after = (it.last + PAUSE).saturating_duration_since(now);
                if retry_after.is_zero() {
                    return Ok(());
                }
                Err(Error::LoginPaused { code: it.code, retry_after })
            }
        }
    }

    /// C_Login has answered.
    pub(crate) fn answered(&mut self, outcome: &Result<()>, now: Instant) {
        let code = match outcome {
            Ok(()) => {
                *self = Doubt::default();
                return;
            }
            Err(Error::Call { code, .. }) => *code,
            // The token may have answered, and nobody knows what.
            Err(Error::Panicked) => RvError::GeneralError.into(),
            Err(_) => return,
        };
        if code.class == Class::Pin || EXPLAINED.contains(&code.name) {
            return;
        }
        if code.name == REMOVED && self.removed < MOST_IN_A_ROW {
            self.removed += 1;
            return;
        }
        let before = self.unexplained.as_ref().map_or(self.removed, |it| it.in_a_row);
        let in_a_row = before.saturating_add(1);
        self.unexplained = Some(Unexplained { in_a_row, last: now, code });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: RvError) -> Result<()> {
        Err(Error::Call { function: "C_Login", code: code.into() })
    }

    fn after(codes: &[RvError], now: Instant) -> Doubt {
        let mut doubt = Doubt::default();
        for code in codes {
            doubt.answered(&failed(*code), now);
        }
        doubt
    }

    #[test]
    fn a_pin_that_was_never_taken_is_offered_twice_where_nothing_is_explained() {
        let now = Instant::now();
        let later = now + 100 * PAUSE;
        assert_eq!(after(&[], now).admit(Tries::Enough, false, now), Ok(()));
        assert_eq!(after(&[RvError::DeviceError], now).admit(Tries::Enough, false, now), Ok(()));
        let twice = after(&[RvError::DeviceError, RvError::GeneralError], now);
        for when in [now, later] {
            let Err(error) = twice.admit(Tries::Enough, false, when) else { panic!("offered") };
            assert_eq!(error.class(), Some(Class::Pin), "for good");
        }
    }

    #[test]
    fn a_pin_that_was_taken_before_is_offered_once_a_pause() {
        let now = Instant::now();
        let mut doubt = after(&[RvError::DeviceError, RvError::FunctionFailed], now);
        for _ in 0..3 {
            let Err(Error::LoginPaused { retry_after, .. }) =
                doubt.admit(Tries::Enough, true, now + PAUSE / 4)
            else {
                panic!("offered")
            };
            assert_eq!(retry_after, PAUSE * 3 / 4);
            assert_eq!(doubt.admit(Tries::Enough, true, now + PAUSE), Ok(()));
            doubt.answered(&failed(RvError::DeviceError), now);
        }
        doubt.answered(&Ok(()), now);
        assert_eq!(doubt.admit(Tries::Enough, true, now), Ok(()));
    }

    #[test]
    fn what_the_token_says_of_its_tries_goes_before() {
        let now = Instant::now();
        let (none, one) = (after(&[], now), after(&[RvError::DeviceError], now));
        for proven in [true, false] {
            assert_eq!(none.admit(Tries::Low, proven, now), Ok(()), "a corrected PIN");
            assert!(one.admit(Tries::Low, proven, now + PAUSE).is_err());
            for tries in [Tries::Final, Tries::Locked] {
                assert!(none.admit(tries, proven, now).is_err());
            }
        }
    }

    #[test]
    fn a_token_that_is_away_has_looked_at_no_pin() {
        let now = Instant::now();
        let codes = [RvError::DeviceRemoved, RvError::TokenNotPresent, RvError::SessionClosed];
        assert_eq!(after(&codes, now).admit(Tries::Low, false, now), Ok(()));
        let codes = [RvError::SessionHandleInvalid, RvError::SessionCount, RvError::SlotIdInvalid];
        assert_eq!(after(&codes, now).admit(Tries::Low, false, now), Ok(()));
    }

    #[test]
    fn what_says_nothing_of_the_pin_explains_nothing_whatever_it_means_elsewhere() {
        let now = Instant::now();
        for code in [
            RvError::FunctionCanceled,
            RvError::Cancel,
            RvError::OperationActive,
            RvError::OperationNotInitialized,
            RvError::UserNotLoggedIn,
            RvError::TokenNotRecognized,
        ] {
            let doubt = after(&[code, code], now);
            assert!(doubt.admit(Tries::Enough, false, now).is_err(), "{code:?}");
            assert!(doubt.admit(Tries::Enough, true, now).is_err(), "{code:?}");
        }
    }

    #[test]
    fn a_token_that_is_there_and_says_that_it_was_removed_is_believed_twice() {
        let now = Instant::now();
        let removed = [RvError::DeviceRemoved; 3];
        for proven in [true, false] {
            assert_eq!(after(&removed[..2], now).admit(Tries::Enough, proven, now), Ok(()));
            assert!(after(&removed, now).admit(Tries::Enough, proven, now).is_err());
        }
        let mut doubt = after(&removed, now);
        doubt.answered(&Ok(()), now);
        doubt.answered(&failed(RvError::DeviceRemoved), now);
        assert_eq!(doubt.admit(Tries::Low, true, now), Ok(()), "back, and away again");
    }

    #[test]
    fn a_call_that_ended_in_a_panic_explains_nothing() {
        let now = Instant::now();
        let mut doubt = Doubt::default();
        for _ in 0..2 {
            assert_eq!(doubt.admit(Tries::Enough, false, now), Ok(()));
            doubt.answered(&Err(Error::Panicked), now);
        }
        assert!(doubt.admit(Tries::Enough, false, now).is_err());
    }
}
