//! What stops a call: the function, the code, and what an operator does next.

use std::fmt;
use std::time::Duration;

use kms_core::{ErrorCode, KmsError};

use crate::codes::{Class, Code};

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the token was not used, or what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A setting is wrong; nothing was loaded.
    Config {
        /// Which.
        field: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The module could not be loaded, or is no PKCS#11 module.
    Module {
        /// What is wrong with it.
        why: &'static str,
    },
    /// A function of the module returned an error.
    Call {
        /// `C_…`.
        function: &'static str,
        /// What it returned.
        code: Code,
    },
    /// A function of the module did not return before the deadline. Its thread is left to itself, and counted.
    Timeout {
        /// Whether the call had begun; before that it waited for a session.
        begun: bool,
    },
    /// No token has this label.
    NoToken,
    /// Several tokens have this label.
    TwoTokens,
    /// Another token answers to the label now: its serial number is not that of the start.
    OtherToken,
    /// The PIN was refused. This process does not offer it to this token again.
    PinRefused {
        /// What C_Login returned.
        code: Code,
    },
    /// The PIN is not offered (again): the token may count it as wrong, and lock. For the life of the process.
    PinWithheld {
        /// What the token said, or did not say.
        why: &'static str,
        /// What an operator does about it.
        next_step: &'static str,
    },
    /// C_Login failed several times without saying why. The PIN is offered again, once, after this time.
    LoginPaused {
        /// What C_Login returned last.
        code: Code,
        /// The time.
        retry_after: Duration,
    },
    /// The token is in use in this process with another PIN.
    OtherPin,
    /// The token cannot be used now; calls fail without asking it until then.
    Unavailable {
        /// When the next attempt is due.
        retry_after: Duration,
        /// What was last seen.
        cause: Box<Error>,
    },
    /// Every thread is inside a call that has passed its deadline.
    AllStuck {
        /// When to ask again.
        retry_after: Duration,
    },
    /// As many calls are waiting as may.
    QueueFull,
    /// There is no such key on the token.
    NoSuchKey,
    /// There is a key with this id already.
    KeyExists,
    /// There are two objects with the id of one key, of which neither is used. The token is well: whoever may make objects on
    /// it must not be able to have it count as gone.
    TwoKeys,
    /// The token, as it described itself at the start, does not do this.
    Unsupported {
        /// What.
        what: &'static str,
    },
    /// What the module gave cannot be: too short, too long or of the wrong form.
    Malformed {
        /// What.
        what: &'static str,
    },
    /// Sealed data is damaged, or was sealed under another key or for another place.
    NotOpened,
    /// The token was closed.
    Closed,
    /// The use of the token panicked.
    Panicked,
    /// From the words of the service: a forked process, no randomness.
    Kms(KmsError),
}

impl Error {
    /// What it means for the pool; `None` for what no call to the token is at fault for.
    pub(crate) fn class(&self) -> Option<Class> {
        match self {
            // Only C_Login is about our PIN; from elsewhere the code is as good as any other failure.
            Error::Call { code, .. } if code.class == Class::Pin => Some(Class::Device),
            Error::Call { code, .. } => Some(code.class),
            Error::PinRefused { .. } | Error::PinWithheld { .. } | Error::OtherPin => {
                Some(Class::Pin)
            }
            Error::LoginPaused { .. } => Some(Class::Device),
            Error::NoToken | Error::TwoTokens | Error::OtherToken => Some(Class::Gone),
            Error::Panicked | Error::Malformed { .. } => Some(Class::Device),
            _ => None,
        }
    }

    /// An error of the use of a key that has been of use, as each has before it is known. That the token does not do this,
    /// or does not allow it, is then about its state and not about what was asked: the key is looked for again, in another
    /// session, and after that it is unavailable, with the code and what to do about it.
    pub(crate) fn of_proven_key(self) -> Error {
        match self {
            Error::Call { function, code } if code.class == Class::Unsupported => {
                Error::Call { function, code: Code { class: Class::Handle, ..code } }
            }
            error => error,
        }
    }

    /// What an operator does about it.
    pub fn next_step(&self) -> &'static str {
        match self {
            Error::Config { .. } => "correct the setting",
            Error::Module { .. } => {
                "check the path, and that the module is built for this platform"
            }
            Error::Call { code, .. } | Error::PinRefused { code } => code.next_step,
            Error::PinWithheld { next_step, .. } => next_step,
            Error::LoginPaused { .. } => {
                "read the token's own log; if its PIN was changed, set the new one and restart"
            }
            Error::Timeout { begun: true } => {
                "read the token's own log; a thread that never returns keeps its session until a restart"
            }
            Error::Timeout { begun: false } | Error::QueueFull => {
                "raise max_sessions if the token has sessions and time to spare, or send less"
            }
            Error::NoToken => {
                "list the tokens (pkcs11-tool -L) and check the label, case and spaces"
            }
            Error::TwoTokens => "give each token a label of its own",
            Error::OtherToken => "put the old token back, or restart to use the new one",
            Error::OtherPin => "open a token with one PIN in one process",
            Error::Unavailable { cause, .. } => cause.next_step(),
            Error::AllStuck { .. } => "restart the process if the calls do not return",
            Error::NoSuchKey => "check that the key was not deleted from the token by other means",
            Error::KeyExists => "use the key that is there, or make a version with another number",
            Error::TwoKeys => {
                "find out who made the second, and delete the one that is not the service's"
            }
            Error::Unsupported { .. } => "use a token or firmware that does this",
            Error::Malformed { .. } | Error::Panicked => {
                "report it, with the module's name and version"
            }
            Error::NotOpened => "restore the sealed data, or use the token and key that sealed it",
            Error::Closed => "open the token again",
            Error::Kms(_) => "see the message",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config { field, rule } => write!(f, "{field} {rule}"),
            Error::Module { why } => write!(f, "the PKCS#11 module {why}"),
            Error::Call { function, code } => match code.number {
                Some(number) => write!(f, "{function} returned {} {number:#x}", code.name),
                None => write!(f, "{function} returned {}", code.name),
            },
            Error::Timeout { begun: true } => f.write_str("the token did not answer in time"),
            Error::Timeout { begun: false } => f.write_str("no session was free in time"),
            Error::NoToken => f.write_str("no token has the configured label"),
            Error::TwoTokens => f.write_str("several tokens have the configured label"),
            Error::OtherToken => f.write_str("another token has the configured label now"),
            Error::PinRefused { code } => {
                write!(f, "C_Login returned {}; this PIN is not tried again", code.name)
            }
            Error::PinWithheld { why, .. } => write!(f, "the token {why}; the PIN is not offered"),
            Error::LoginPaused { code, .. } => write!(
                f,
                "C_Login returned {}, and may have counted the PIN as wrong; it waits before the next try",
                code.name
            ),
            Error::OtherPin => f.write_str("the token is in use with another PIN"),
            Error::Unavailable { cause, .. } => write!(f, "the token is unavailable: {cause}"),
            Error::AllStuck { .. } => {
                f.write_str("every session is inside a call that does not return")
            }
            Error::QueueFull => f.write_str("too many calls wait for the token"),
            Error::NoSuchKey => f.write_str("there is no such key on the token"),
            Error::KeyExists => f.write_str("there is a key with this id on the token"),
            Error::TwoKeys => f.write_str("there are two keys with this id on the token"),
            Error::Unsupported { what } => write!(f, "the token does not offer {what}"),
            Error::Malformed { what } => write!(f, "the module gave {what} that cannot be"),
            Error::NotOpened => f.write_str("the token's key does not open this"),
            Error::Closed => f.write_str("the token was closed"),
            Error::Panicked => f.write_str("the use of the token failed"),
            Error::Kms(error) => f.write_str(&error.message),
        }
    }
}

impl std::error::Error for Error {}

impl From<KmsError> for Error {
    fn from(error: KmsError) -> Error {
        Error::Kms(error)
    }
}

/// When to come back where nothing better is known, in milliseconds.
const RETRY_AFTER_MS: u32 = 1_000;

impl From<Error> for KmsError {
    fn from(error: Error) -> KmsError {
        let message = format!("{error}: {}", error.next_step());
        let made = |code| KmsError::new(code, message.clone());
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1);
        match &error {
            Error::Kms(error) => error.clone(),
            Error::Config { field, .. } => made(ErrorCode::BadRequest).field(*field),
            Error::Unavailable { cause, retry_after } => match cause.class() {
                Some(Class::Pin) => made(ErrorCode::StoreUnavailable).retryable(false),
                _ => made(ErrorCode::StoreUnavailable).retry_after_ms(millis(*retry_after)),
            },
            Error::AllStuck { retry_after } => {
                made(ErrorCode::StoreUnavailable).retry_after_ms(millis(*retry_after))
            }
            Error::Timeout { .. } => made(ErrorCode::Timeout),
            Error::QueueFull => made(ErrorCode::Backpressure).retry_after_ms(RETRY_AFTER_MS),
            Error::NoSuchKey | Error::Closed | Error::Module { .. } | Error::NotOpened => {
                made(ErrorCode::StoreUnavailable).retryable(false)
            }
            Error::KeyExists => made(ErrorCode::Conflict),
            Error::Unsupported { .. } => made(ErrorCode::Unsupported),
            Error::Malformed { .. } | Error::Panicked | Error::TwoKeys => made(ErrorCode::Internal),
            Error::NoToken | Error::TwoTokens | Error::OtherToken => {
                made(ErrorCode::StoreUnavailable).retry_after_ms(RETRY_AFTER_MS)
            }
            Error::OtherPin | Error::PinRefused { .. } | Error::PinWithheld { .. } => {
                made(ErrorCode::StoreUnavailable).retryable(false)
            }
            Error::LoginPaused { retry_after, .. } => {
                made(ErrorCode::StoreUnavailable).retry_after_ms(millis(*retry_after))
            }
            Error::Call { code, .. } => match code.class {
                Class::Data => made(ErrorCode::StoreUnavailable).retryable(false),
                Class::Unsupported => made(ErrorCode::Unsupported),
                Class::Call => made(ErrorCode::Internal),
                _ => made(ErrorCode::StoreUnavailable).retry_after_ms(RETRY_AFTER_MS),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::error::RvError;

    use super::*;

    #[test]
    fn a_call_names_its_function_its_code_and_the_next_step() {
        let code = Code::from(RvError::DeviceRemoved);
        let error = KmsError::from(Error::Call { function: "C_Sign", code });
        assert_eq!(error.code, ErrorCode::StoreUnavailable);
        assert!(error.message.starts_with("C_Sign returned CKR_DEVICE_REMOVED: check that"));
        assert!(error.retryable && error.retry_after_ms.is_some());
        let code = Code::from(RvError::VendorDefined(0x8000_0042));
        let error = Error::Call { function: "C_Sign", code };
        assert_eq!(error.to_string(), "C_Sign returned vendor code 0x80000042");
    }

    #[test]
    fn what_a_token_refuses_of_a_key_in_use_is_not_the_callers_fault() {
        for code in [RvError::KeyFunctionNotPermitted, RvError::MechanismInvalid] {
            let call = || Error::Call { function: "C_SignInit", code: Code::from(code) };
            assert_eq!(KmsError::from(call()).code, ErrorCode::Unsupported);
            let of_key = call().of_proven_key();
            assert!(of_key.class().is_some_and(Class::may_pass), "it is tried again");
            let error = KmsError::from(of_key);
            assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, true));
            assert!(error.message.contains(code_name(code)), "{}", error.message);
        }
        let data = Error::NoSuchKey.of_proven_key();
        assert_eq!(data, Error::NoSuchKey);
    }

    fn code_name(code: RvError) -> &'static str {
        Code::from(code).name
    }

    #[test]
    fn a_refused_pin_stays_refused_however_it_is_reported() {
        let refused = Error::PinRefused { code: Code::from(RvError::PinIncorrect) };
        let retry_after = Duration::from_secs(1);
        let later = Error::Unavailable { retry_after, cause: Box::new(refused.clone()) };
        for error in [refused, later] {
            let error = KmsError::from(error);
            assert_eq!((error.code, error.retryable), (ErrorCode::StoreUnavailable, false));
        }
    }
}
