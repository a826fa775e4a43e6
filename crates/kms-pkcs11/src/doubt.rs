//! Whether a PIN may be offered to a token whose answers leave open whether it counted the last one as wrong.
//!
//! Some tokens report a wrong PIN as a failure of the device, and count it all the same; most lock after a few. So an
//! answer of C_Login that says nothing clear is taken for a wrong PIN that may have been counted. Without clocks of its
//! own.

use std::time::{Duration, Instant};

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

/// The answers of C_Login of one token that explain nothing, since the last clear one.
#[derive(Default)]
pub(crate) struct Doubt(Option<Unexplained>);

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
        match (tries, &self.0) {
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
        let explained = |code: &Code| {
            // Where there is no token, or no session, no PIN was looked at.
            matches!(code.class, Class::Pin | Class::Gone | Class::Session | Class::Crowded)
        };
        match outcome {
            Ok(()) => self.0 = None,
            Err(Error::Call { code, .. }) if !explained(code) => {
                let before = self.0.as_ref().map_or(0, |it| it.in_a_row);
                let in_a_row = before.saturating_add(1);
                self.0 = Some(Unexplained { in_a_row, last: now, code: *code });
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::error::RvError;

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
    }
}
