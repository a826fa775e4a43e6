//! One session with the token: opened, logged in, and the handles that were found in it.
//!
//! An object handle is used in the session that found it and no longer: modules give numbers out again after a token
//! was away, and the wrong number would be the wrong key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use kms_core::{Secret, SecretBytes};

use crate::calls::{Calls, Function};
use crate::doubt::Tries;
use crate::error::{Error, Result};
use crate::login::{Login, is_logged_in};
use crate::module::{Inside, Module, ModuleUse};
use crate::object_id::ObjectId;

/// Most handles that a session remembers.
const MAX_HANDLES: usize = 4096;

/// Where the token was last found. Slot numbers may change whenever it comes back.
#[derive(Clone)]
struct Place {
    slot: Slot,
    read_only: bool,
    login: Arc<Login>,
}

/// What it takes to open a session.
pub(crate) struct Site {
    label: String,
    /// `None` once the token is closed.
    pin: Mutex<Option<SecretBytes>>,
    pub(crate) calls: Arc<Calls>,
    place: Mutex<Option<Place>>,
    /// Kept while the token is away: it knows whether the token has taken the PIN.
    login: Mutex<Option<Arc<Login>>>,
    /// Of the first token found: the keys are there and nowhere else.
    serial: OnceLock<String>,
}

impl Site {
    pub(crate) fn new(label: String, pin: SecretBytes, calls: Arc<Calls>) -> Site {
        Site {
            label,
            pin: Mutex::new(Some(pin)),
            calls,
            place: Mutex::default(),
            login: Mutex::default(),
            serial: OnceLock::new(),
        }
    }

    /// Wipes the PIN; no session is opened after this.
    pub(crate) fn close(&self) {
        *self.pin.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.forget_place();
    }

    /// Looks for the token afresh the next time.
    pub(crate) fn forget_place(&self) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The slot of the token.
    pub(crate) fn slot(&self, module: &Module) -> Result<Slot> {
        Ok(self.place(module)?.slot)
    }

    fn place(&self, module: &Module) -> Result<Place> {
        let known = self.place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(place) = known {
            return Ok(place);
        }
        // Not under the lock: a module that hangs here must not hold the others up.
        let found = self.find(module)?;
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        Ok(found)
    }

    /// PKCS#11 v3.2, sections 5.5.1 and 5.5.3: of the slots with a token, the one whose label fits.
    fn find(&self, module: &Module) -> Result<Place> {
        let context = module.context();
        let slots = self.calls.time(Function::GetSlotList, || context.get_slots_with_token())?;
        let mut found = None;
        let mut failed = None;
        for slot in slots {
            // A slot that fails may be another's; it only counts if ours is not found.
            match self.calls.time(Function::GetTokenInfo, || context.get_token_info(slot)) {
                Ok(info) if info.label() == self.label && info.token_initialized() => {
                    if found.replace((slot, info)).is_some() {
                        return Err(Error::TwoTokens);
                    }
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        let (slot, info) = found.ok_or(failed.unwrap_or(Error::NoToken))?;
        let serial = info.serial_number();
        if self.serial.get_or_init(|| serial.to_owned()) != serial {
            return Err(Error::OtherToken);
        }
        let pin = self.pin.lock().unwrap_or_else(PoisonError::into_inner);
        let login = module.logins.of(serial, pin.as_ref().ok_or(Error::Closed)?)?;
        // Under the lock of the PIN, so that it does not come back after the end.
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&login));
        Ok(Place { slot, read_only: info.write_protected(), login })
    }
}

/// An open session; [`Live::close`] ends it.
pub(crate) struct Live {
    session: Session,
    module: Arc<ModuleUse>,
    site: Arc<Site>,
    owner: u64,
    /// How often the module had been started afresh when it was opened.
    starts: u64,
    handles: HashMap<ObjectId, ObjectHandle>,
}

impl Live {
    /// Opens a session that is logged in. Read-write where the token allows it, for the keys that are made in it.
    ///
    /// # Errors
    /// [`Error::Call`] and what finding the token and logging in give; the session is closed then.
    pub(crate) fn open(
        site: &Arc<Site>,
        module: &Arc<ModuleUse>,
        inside: &Inside<'_>,
        deadline: Instant,
    ) -> Result<Live> {
        let place = site.place(module)?;
        let context = module.context();
        let session = site.calls.time(Function::OpenSession, || match place.read_only {
            true => context.open_ro_session(place.slot),
            false => context.open_rw_session(place.slot),
        })?;
        let owner = module.own_session(number(&session));
        let live = Live {
            session,
            owner,
            module: Arc::clone(module),
            site: Arc::clone(site),
            starts: **inside,
            handles: HashMap::new(),
        };
        let logins = &module.logins;
        let tries = || {
            let asked = || context.get_token_info(place.slot);
            Ok(tries_left(&site.calls.time(Function::GetTokenInfo, asked)?))
        };
        match place.login.log_in(logins, &live.session, &site.calls, deadline, tries) {
            Ok(()) => Ok(live),
            Err(error) => {
                live.close(inside);
                Err(error)
            }
        }
    }

    /// Whether the handle is still this session: not after a fresh start of the module, and not when the module gave
    /// the number out again.
    pub(crate) fn is_current(&self, inside: &Inside<'_>) -> bool {
        self.starts == **inside && self.module.owns_session(number(&self.session), self.owner)
    }

    /// Closes the session, where there is still one to close.
    pub(crate) fn close(self, inside: &Inside<'_>) {
        let owned = self.module.disown_session(number(&self.session), self.owner);
        if owned && self.starts == **inside {
            // A session that is dead already says so. After any error the bindings try once more, since the token may
            // still hold it.
            let _ = self.site.calls.time(Function::CloseSession, || self.session.close());
        } else {
            // Dropping it would close a number that is another session's now.
            std::mem::forget(self.session);
        }
    }

    /// Asks the token whether the session lives and is logged in.
    ///
    /// # Errors
    /// What C_GetSessionInfo gives; `CKR_USER_NOT_LOGGED_IN` where it is not.
    pub(crate) fn check(&self) -> Result<()> {
        if is_logged_in(&self.session, &self.site.calls)? {
            return Ok(());
        }
        let code = cryptoki::error::RvError::UserNotLoggedIn.into();
        Err(Error::Call { function: "C_GetSessionInfo", code })
    }

    /// Calls the module in this session.
    pub(crate) fn call<T>(
        &self,
        function: Function,
        call: impl FnOnce(&Session) -> cryptoki::error::Result<T>,
    ) -> Result<T> {
        self.site.calls.time(function, || call(&self.session))
    }

    /// The module, for what concerns no session.
    pub(crate) fn module(&self) -> &Module {
        &self.module
    }

    /// The slot of the token.
    pub(crate) fn slot(&self) -> Result<Slot> {
        self.site.slot(&self.module)
    }

    /// What the token says that it does.
    pub(crate) fn mechanisms(&self) -> Result<Vec<MechanismType>> {
        let (slot, context) = (self.slot()?, self.module.context());
        self.site.calls.time(Function::GetMechanismList, || context.get_mechanism_list(slot))
    }

    /// CKA_VALUE of a secret of 32 bytes, without a copy outside of secret memory.
    pub(crate) fn secret_value(&self, object: ObjectHandle) -> Result<Secret<32>> {
        let raw = self.module.raw_value;
        let mut read = Ok(());
        let value = Secret::fill(|out| {
            read = self.call(Function::GetAttributeValue, |session| raw.read(session, object, out));
        });
        read.map(|()| value)
    }

    pub(crate) fn calls(&self) -> &Calls {
        &self.site.calls
    }

    /// Objects with these attributes; the session is known to be logged in when there are none.
    pub(crate) fn find(&self, template: &[Attribute]) -> Result<Vec<ObjectHandle>> {
        let found = self.call(Function::FindObjects, |session| session.find_objects(template))?;
        if found.is_empty() {
            self.check()?;
        }
        Ok(found)
    }

    /// The one object with this id and class.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`]; [`Error::TwoKeys`] where there are two, of which neither is used.
    pub(crate) fn object(&mut self, id: &ObjectId) -> Result<ObjectHandle> {
        if let Some(handle) = self.handles.get(id) {
            return Ok(*handle);
        }
        match self.find(&id.template())?[..] {
            [] => Err(Error::NoSuchKey),
            [handle] => {
                if self.handles.len() >= MAX_HANDLES {
                    self.handles.clear();
                }
                self.handles.insert(id.clone(), handle);
                Ok(handle)
            }
            _ => Err(Error::TwoKeys),
        }
    }

    /// Forgets a handle of an object that is no more.
    pub(crate) fn forget(&mut self, id: &ObjectId) {
        self.handles.remove(id);
    }
}

fn tries_left(info: &TokenInfo) -> Tries {
    match info {
        info if info.user_pin_locked() => Tries::Locked,
        info if info.user_pin_final_try() => Tries::Final,
        info if info.user_pin_count_low() => Tries::Low,
        _ => Tries::Enough,
    }
}

#[cfg_attr(not(windows), expect(clippy::useless_conversion, reason = "u32 on Windows"))]
fn number(session: &Session) -> u64 {
    session.handle().into()
}
