//! One login a token and process, and no second try of a PIN that was refused; `doubt.rs` has what follows where the
//! token does not say why it failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Instant;

use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::types::RawAuthPin;
use kms_core::SecretBytes;

use crate::calls::{Calls, Function};
use crate::codes::Class;
use crate::doubt::{Doubt, Tries};
use crate::error::{Error, Result};

/// After this many refused PINs, this process offers no other to the token: most tokens lock after a few.
const MAX_REFUSED: usize = 3;
/// Another in this process has logged in meanwhile: this PIN was not looked at, so nothing is known of it.
const ALREADY: &str = "CKR_USER_ALREADY_LOGGED_IN";

/// The logins of one module, by the serial number of the token.
#[derive(Default)]
pub(crate) struct Logins(Mutex<Vec<(String, PerToken)>>);

#[derive(Default)]
struct PerToken {
    current: Weak<Login>,
    /// PINs that were refused, for as long as the process lives.
    refused: Vec<(SecretBytes, Error)>,
    doubt: Doubt,
}

/// The login to one token, shared by all who use it with the same PIN.
pub(crate) struct Login {
    serial: String,
    pin: SecretBytes,
    /// Whether the token has taken the PIN.
    proven: AtomicBool,
    /// Whether a thread is at it.
    busy: Mutex<bool>,
    free: Condvar,
}

fn same(a: &SecretBytes, b: &SecretBytes) -> bool {
    let differing = |(a, b): (&u8, &u8)| a ^ b;
    let bits = a.expose().iter().zip(b.expose()).map(differing).fold(0, |all, bits| all | bits);
    a.len() == b.len() && std::hint::black_box(bits) == 0
}

impl Logins {
    /// The login to this token.
    ///
    /// # Errors
    /// [`Error::PinRefused`] for a PIN that was refused before; [`Error::OtherPin`] while the token is in use with
    /// another one.
    pub(crate) fn of(&self, serial: &str, pin: &SecretBytes) -> Result<Arc<Login>> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let token = match tokens.iter().position(|(own, _)| own == serial) {
            Some(index) => &mut tokens[index].1,
            None => {
                tokens.push((serial.to_owned(), PerToken::default()));
                &mut tokens.last_mut().ok_or(Error::Panicked)?.1
            }
        };
        let refused = |it: &&(SecretBytes, Error)| same(&it.0, pin);
        if let Some((_, error)) = token.refused.iter().find(refused) {
            return Err(error.clone());
        }
        if let (MAX_REFUSED.., Some((_, error))) = (token.refused.len(), token.refused.last()) {
            return Err(error.clone());
        }
        if let Some(login) = token.current.upgrade() {
            return if same(&login.pin, pin) { Ok(login) } else { Err(Error::OtherPin) };
        }
        let login = Arc::new(Login {
            serial: serial.to_owned(),
            pin: SecretBytes::copy_of(pin.expose()),
            proven: AtomicBool::new(false),
            busy: Mutex::new(false),
            free: Condvar::new(),
        });
        token.current = Arc::downgrade(&login);
        Ok(login)
    }

    fn with_token<T>(&self, login: &Login, act: impl FnOnce(&mut PerToken) -> T) -> Result<T> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.iter_mut().find(|(serial, _)| *serial == login.serial);
        token.map(|(_, token)| act(token)).ok_or(Error::Panicked)
    }

    fn refuse(&self, login: &Login, error: &Error) -> Result<()> {
        self.with_token(login, |token| {
            if !token.refused.iter().any(|(pin, _)| same(pin, &login.pin)) {
                token.refused.push((SecretBytes::copy_of(login.pin.expose()), error.clone()));
            }
            token.current = Weak::new();
        })
    }
}

/// Ends the turn of a thread, however it ends.
struct Turn<'a>(&'a Login);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.busy.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

impl Login {
    /// Waits for its turn: two threads that find the token logged out log in once.
    fn turn(&self, deadline: Instant) -> Result<Turn<'_>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        while *busy {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout { begun: true });
            }
            busy = self.free.wait_timeout(busy, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *busy = true;
        Ok(Turn(self))
    }

    /// Logs in, unless the session is logged in already by way of another one.
    ///
    /// # Errors
    /// [`Error::PinRefused`], [`Error::PinWithheld`], [`Error::LoginPaused`], [`Error::Call`], [`Error::Timeout`] where
    /// another thread is stuck in it.
    pub(crate) fn log_in(
        &self,
        logins: &Logins,
        session: &Session,
        calls: &Calls,
        deadline: Instant,
        tries: impl FnOnce() -> Result<Tries>,
    ) -> Result<()> {
        let _turn = self.turn(deadline)?;
        if is_logged_in(session, calls)? {
            return Ok(());
        }
        // Another thread may have had this PIN refused while this one waited for its turn.
        logins.of(&self.serial, &self.pin)?;
        let (tries, proven) = (tries()?, self.proven.load(Relaxed));
        logins.with_token(self, |token| token.doubt.admit(tries, proven, Instant::now()))??;
        // The bindings want a PIN on the heap. It is there for the length of the call, and wiped.
        let pin = RawAuthPin::new(Box::new(self.pin.expose().to_vec()));
        let call = || calls.time(Function::Login, || session.login_with_raw(UserType::User, &pin));
        // The token may have the PIN by then, so a panic is an answer too.
        let outcome = catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(Error::Panicked));
        drop(pin);
        self.answered(logins, outcome)
    }

    /// C_Login has answered; what is to be said of that.
    fn answered(&self, logins: &Logins, outcome: Result<()>) -> Result<()> {
        if matches!(&outcome, Err(Error::Call { code, .. }) if code.name == ALREADY) {
            return Ok(());
        }
        logins.with_token(self, |token| token.doubt.answered(&outcome, Instant::now()))?;
        match outcome {
            Ok(()) => self.proven.store(true, Relaxed),
            Err(Error::Call { code, .. }) if code.class == Class::Pin => {
                let refused = Error::PinRefused { code };
                logins.refuse(self, &refused)?;
                return Err(refused);
            }
            Err(_) => {}
        }
        outcome
    }
}

/// What the session says about itself. A token that lost its login may answer a search with nothing instead of an
/// error, so this is asked where nothing was found.
pub(crate) fn is_logged_in(session: &Session, calls: &Calls) -> Result<bool> {
    let info = calls.time(Function::GetSessionInfo, || session.get_session_info())?;
    Ok(matches!(info.session_state(), SessionState::RoUser | SessionState::RwUser))
}

#[cfg(test)]
mod tests {
    use cryptoki::error::RvError;

    use super::*;

    fn pin(text: &str) -> SecretBytes {
        SecretBytes::copy_of(text.as_bytes())
    }

    #[test]
    fn a_refused_pin_is_remembered_by_token_and_after_three_no_other_is_tried() {
        let logins = Logins::default();
        let refused = Error::PinRefused { code: RvError::PinIncorrect.into() };
        for wrong in ["1111", "2222", "3333"] {
            let login = logins.of("A", &pin(wrong)).unwrap();
            logins.refuse(&login, &refused).unwrap();
            assert_eq!(logins.of("A", &pin(wrong)).err(), Some(refused.clone()));
        }
        assert_eq!(logins.of("A", &pin("4444")).err(), Some(refused));
        assert!(logins.of("B", &pin("1111")).is_ok());
    }

    #[test]
    fn a_pin_that_was_not_looked_at_is_neither_proven_nor_out_of_doubt() {
        let failed = |code: RvError| Err(Error::Call { function: "C_Login", code: code.into() });
        let logins = Logins::default();
        let login = logins.of("A", &pin("1111")).unwrap();
        let admit = || {
            let proven = login.proven.load(Relaxed);
            let doubt = |it: &mut PerToken| it.doubt.admit(Tries::Enough, proven, Instant::now());
            logins.with_token(&login, doubt).unwrap()
        };
        for _ in 0..2 {
            assert_eq!(admit(), Ok(()));
            assert!(login.answered(&logins, failed(RvError::DeviceError)).is_err());
            assert_eq!(login.answered(&logins, failed(RvError::UserAlreadyLoggedIn)), Ok(()));
        }
        assert!(matches!(admit(), Err(Error::PinWithheld { .. })), "not paused, as a proven one");
        assert_eq!(login.answered(&logins, Ok(())), Ok(()));
        assert_eq!(admit(), Ok(()));
        assert!(login.proven.load(Relaxed));
    }

    #[test]
    fn one_token_has_one_pin_at_a_time() {
        let logins = Logins::default();
        let first = logins.of("A", &pin("1111")).unwrap();
        assert!(Arc::ptr_eq(&first, &logins.of("A", &pin("1111")).unwrap()));
        assert_eq!(logins.of("A", &pin("11111")).err(), Some(Error::OtherPin));
        drop(first);
        assert!(logins.of("A", &pin("11111")).is_ok());
    }
}
