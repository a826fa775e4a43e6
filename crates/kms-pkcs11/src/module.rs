//! The modules of this process: each loaded once, initialised once, finalised when the last user has left it.
//!
//! PKCS#11 knows one application, which is the process (v3.2, section 2.5): C_Initialize, the login and C_Finalize
//! concern every user of a module at once, whichever thread or engine it is. So they are kept here, by path.
//!
//! A library is never unloaded: it may have threads of its own. C_Finalize is called when no [`ModuleUse`] is left, and
//! a thread inside a call holds one; so a call that never returns leaves the module initialised, and no other code
//! pays for it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as Raw, RvError};
use kms_core::secret_memory::check_process;

use crate::calls::{Calls, Function};
use crate::error::{Error, Result};
use crate::loader::load_apart;
use crate::login::Logins;
use crate::raw::RawValue;

/// A loaded library.
pub(crate) struct Module {
    context: Pkcs11,
    pub(crate) raw_value: RawValue,
    life: Mutex<Life>,
    /// Held by whoever is inside a call; alone by whoever starts the module afresh.
    gate: RwLock<u64>,
    /// Which session of ours has which handle now.
    sessions: Mutex<Sessions>,
    /// Who is logged in to which token.
    pub(crate) logins: Logins,
}

#[derive(Default)]
struct Life {
    users: usize,
    /// Whether C_Initialize was ours, so that C_Finalize is.
    ours: bool,
}

#[derive(Default)]
struct Sessions {
    next: u64,
    owners: HashMap<u64, u64>,
}

/// The right to call an initialised module; it is finalised when the last one is dropped.
pub(crate) struct ModuleUse(Arc<Module>);

/// Inside a call. What it derefs to counts how often the module was started afresh: handles of another count are void.
pub(crate) type Inside<'a> = RwLockReadGuard<'a, u64>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these mutexes guard is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads the module at `path` and initialises it, unless that was done. May take as long as the module does.
///
/// # Errors
/// [`Error::Module`], [`Error::Call`]; [`Error::Kms`] in a forked child.
pub(crate) fn acquire(path: &Path, calls: &Calls) -> Result<ModuleUse> {
    static MODULES: Mutex<Option<HashMap<PathBuf, Arc<Module>>>> = Mutex::new(None);
    check_process()?;
    let path = path.canonicalize().map_err(|_| Error::Module { why: "is not there" })?;
    let module = {
        let mut modules = lock(&MODULES);
        let modules = modules.get_or_insert_default();
        match modules.get(&path) {
            Some(module) => Arc::clone(module),
            None => {
                let module = Arc::new(Module::load(&path)?);
                modules.insert(path, Arc::clone(&module));
                module
            }
        }
    };
    let mut life = lock(&module.life);
    if life.users == 0 {
        life.ours = module.initialize(calls)?;
    }
    life.users += 1;
    drop(life);
    Ok(ModuleUse(module))
}

impl Module {
    fn load(path: &Path) -> Result<Module> {
        load_apart(path);
        let context = Pkcs11::new(path).map_err(|error| match error {
            Raw::LibraryLoading(_) => Error::Module { why: "cannot be loaded" },
            Raw::Pkcs11(code, _) => {
                Error::Call { function: "C_GetFunctionList", code: code.into() }
            }
            _ => Error::Module { why: "is a library without PKCS#11 functions" },
        })?;
        Ok(Module {
            context,
            raw_value: RawValue::of(path),
            life: Mutex::default(),
            gate: RwLock::default(),
            sessions: Mutex::default(),
            logins: Logins::default(),
        })
    }

    /// Says whether it was ours to do: other code of this process may have done it, and finalises it then.
    fn initialize(&self, calls: &Calls) -> Result<bool> {
        let args = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        calls.time(Function::Initialize, || match self.context.initialize(args) {
            Ok(()) => Ok(true),
            Err(Raw::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(false),
            Err(error) => Err(error),
        })
    }

    /// Enters the module. Never waits for other calls, only for a fresh start that is under way.
    pub(crate) fn enter(&self) -> Inside<'_> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn context(&self) -> &Pkcs11 {
        &self.context
    }

    /// Finalises the module and initialises it again, which some need to find their token again. Not done while any
    /// thread is inside a call; and where other code initialised it, only what that code undid is done again. Every
    /// session of every user is gone then.
    ///
    /// # Errors
    /// [`Error::Call`] when it does not come back.
    pub(crate) fn start_afresh(&self, calls: &Calls) -> Result<()> {
        let mut starts = match self.gate.try_write() {
            Ok(starts) => starts,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let mut life = lock(&self.life);
        let finalize = || self.context.clone().finalize();
        // A module that lost its state refuses this, and takes what follows.
        let finalized = life.ours && calls.time(Function::Finalize, finalize).is_ok();
        if finalized {
            *starts += 1;
            lock(&self.sessions).owners.clear();
        }
        // Where other code finalised a module that was its own, it is left to us. One of ours that could not be
        // finalised stays ours.
        let fresh = self.initialize(calls)?;
        if fresh && !finalized {
            *starts += 1;
            lock(&self.sessions).owners.clear();
        }
        life.ours = fresh || (life.ours && !finalized);
        Ok(())
    }

    /// Notes who has a session handle. One that the module gives out again took it from a dead session.
    pub(crate) fn own_session(&self, handle: u64) -> u64 {
        let mut sessions = lock(&self.sessions);
        sessions.next += 1;
        let owner = sessions.next;
        sessions.owners.insert(handle, owner);
        owner
    }

    pub(crate) fn owns_session(&self, handle: u64, owner: u64) -> bool {
        lock(&self.sessions).owners.get(&handle) == Some(&owner)
    }

    /// Gives the handle back; says whether it was still the owner's.
    pub(crate) fn disown_session(&self, handle: u64, owner: u64) -> bool {
        let mut sessions = lock(&self.sessions);
        let owned = sessions.owners.get(&handle) == Some(&owner);
        if owned {
            sessions.owners.remove(&handle);
        }
        owned
    }
}

impl std::ops::Deref for ModuleUse {
    type Target = Module;

    fn deref(&self) -> &Module {
        &self.0
    }
}

impl Drop for ModuleUse {
    fn drop(&mut self) {
        // A forked child has the parent's connections, not its own: it leaves them alone.
        if check_process().is_err() {
            return;
        }
        let mut life = lock(&self.0.life);
        life.users -= 1;
        if life.users == 0 && life.ours {
            let _ = self.0.context.clone().finalize();
            life.ours = false;
            // Sessions ended with it; nobody is left who holds one.
            lock(&self.0.sessions).owners.clear();
        }
    }
}
