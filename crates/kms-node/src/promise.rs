//! Promises that other threads settle.
//!
//! One thread-safe function serves all promises of an environment. One for each promise, as napi's own deferred has it,
//! opens and closes a handle of the event loop at every call.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use kms_core::KmsError;
use napi::bindgen_prelude::{Object, ToNapiValue, retain_current_module_for_unload_safety};
use napi::{Env, check_status, sys};

use crate::error::to_js;

/// Makes the value of a promise, on the JS thread.
type Make = Box<dyn FnOnce(Env) -> napi::Result<sys::napi_value> + Send>;

/// The other end of a promise. It settles it once, from any thread; dropped before, it rejects it as `Internal`.
pub(crate) struct Deferred {
    queue: Arc<Queue>,
    promise: Option<RawDeferred>,
}

struct RawDeferred(sys::napi_deferred);

// SAFETY: the pointer is handed from thread to thread and used on the JS thread alone.
unsafe impl Send for RawDeferred {}

/// A promise and what it is settled with, on its way to the JS thread.
struct Settlement {
    promise: RawDeferred,
    make: Make,
}

/// The way to one JS thread; closed when its environment ends.
struct Queue {
    /// The lock is held while it is called, so that the end of the environment cannot free it under a call.
    tsfn: Mutex<Option<Tsfn>>,
}

#[derive(Clone, Copy)]
struct Tsfn(sys::napi_threadsafe_function);

// SAFETY: a thread-safe function may be called from any thread (Node-API, "Asynchronous thread-safe function calls").
unsafe impl Send for Tsfn {}

/// What the thread of an environment knows of it.
struct Home {
    env: sys::napi_env,
    queue: Arc<Queue>,
    tsfn: Tsfn,
    /// Promises that are not settled; the event loop is kept alive while there is one.
    pending: usize,
}

thread_local! {
    /// Of the environments on this thread; hardly ever more than one.
    static HOMES: RefCell<Vec<Home>> = const { RefCell::new(Vec::new()) };
}

impl Deferred {
    /// A promise, and the means to settle it.
    pub(crate) fn new(env: &Env) -> napi::Result<(Self, Object<'_>)> {
        let raw = env.raw();
        let (mut deferred, mut promise) = (ptr::null_mut(), ptr::null_mut());
        HOMES.with_borrow_mut(|homes| {
            let at = match homes.iter().position(|home| home.env == raw) {
                Some(at) => at,
                None => {
                    homes.push(Home::open(raw)?);
                    homes.len() - 1
                }
            };
            let home = &mut homes[at];
            // SAFETY: on the thread of this environment, inside of a call from it.
            check_status!(unsafe { sys::napi_create_promise(raw, &mut deferred, &mut promise) })?;
            home.begin()?;
            let queue = Arc::clone(&home.queue);
            Ok((
                Self { queue, promise: Some(RawDeferred(deferred)) },
                Object::from_raw(raw, promise),
            ))
        })
    }

    /// Settles the promise with what `make` returns on the JS thread: its value, or the error that it rejects with.
    pub(crate) fn resolve<J: ToNapiValue>(
        mut self,
        make: impl FnOnce(Env) -> napi::Result<J> + Send + 'static,
    ) {
        self.settle(Box::new(move |env| {
            let value = make(env)?;
            // SAFETY: `settle` calls this on the thread of the environment, within a handle scope.
            unsafe { J::to_napi_value(env.raw(), value) }
        }));
    }

    /// Rejects the promise.
    pub(crate) fn reject(mut self, error: &KmsError) {
        let error = to_js(error);
        self.settle(Box::new(move |_| Err(error)));
    }

    fn settle(&mut self, make: Make) {
        let Some(promise) = self.promise.take() else { return };
        self.queue.send(Settlement { promise, make });
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        self.settle(Box::new(|_| Err(to_js(&KmsError::internal("a request was dropped")))));
    }
}

impl Queue {
    /// Hands over; where the environment has ended there is no promise any more.
    fn send(&self, settlement: Settlement) {
        let tsfn = self.tsfn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Tsfn(tsfn)) = *tsfn else { return };
        let data = Box::into_raw(Box::new(settlement));
        // SAFETY: `tsfn` is open while the lock is held, and its queue has no bound, so nothing waits under the lock.
        let status = unsafe {
            sys::napi_call_threadsafe_function(
                tsfn,
                data.cast(),
                sys::ThreadsafeFunctionCallMode::nonblocking,
            )
        };
        if status != sys::Status::napi_ok {
            // SAFETY: what was not taken is still ours, and made by `Box::into_raw` above.
            drop(unsafe { Box::from_raw(data) });
        }
    }
}

impl Home {
    fn open(env: sys::napi_env) -> napi::Result<Self> {
        // A thread of ours may be in this module's code when the last environment that loaded it ends.
        retain_current_module_for_unload_safety();
        let (mut name, mut tsfn) = (ptr::null_mut(), ptr::null_mut());
        let text = c"ron-kms";
        // SAFETY: on the thread of this environment; the text is as long as is said.
        check_status!(unsafe {
            sys::napi_create_string_utf8(
                env,
                text.as_ptr(),
                text.count_bytes().cast_signed(),
                &mut name,
            )
        })?;
        // SAFETY: as above; `settle` takes what `send` hands over, and there are no finalizer and no context.
        check_status!(unsafe {
            let (nothing, none) = (ptr::null_mut(), ptr::null_mut());
            sys::napi_create_threadsafe_function(
                env,
                none,
                none,
                name,
                0,
                1,
                nothing,
                None,
                nothing,
                Some(settle),
                &mut tsfn,
            )
        })?;
        // SAFETY: as above.
        check_status!(unsafe { sys::napi_unref_threadsafe_function(env, tsfn) })?;
        let queue = Arc::new(Queue { tsfn: Mutex::new(Some(Tsfn(tsfn))) });
        // Hooks run last first: this one before Node's own end of the thread-safe function.
        // SAFETY: as above; the hook looks the environment up by this pointer, and reads nothing through it.
        check_status!(unsafe { sys::napi_add_env_cleanup_hook(env, Some(close), env.cast()) })?;
        Ok(Self { env, queue, tsfn: Tsfn(tsfn), pending: 0 })
    }

    fn begin(&mut self) -> napi::Result<()> {
        if self.pending == 0 {
            // SAFETY: on the thread of this environment, which is alive.
            check_status!(unsafe { sys::napi_ref_threadsafe_function(self.env, self.tsfn.0) })?;
        }
        self.pending += 1;
        Ok(())
    }

    fn end(&mut self) {
        self.pending -= 1;
        if self.pending == 0 {
            // SAFETY: as in `begin`. It fails for no reason that Node-API names.
            unsafe { sys::napi_unref_threadsafe_function(self.env, self.tsfn.0) };
        }
    }
}

/// Settles one promise. On the JS thread; with no environment where it has ended.
extern "C" fn settle(
    env: sys::napi_env,
    _callback: sys::napi_value,
    _context: *mut std::ffi::c_void,
    data: *mut std::ffi::c_void,
) {
    // SAFETY: `send` made it, and Node hands each over once.
    let Settlement { promise, make } = *unsafe { Box::from_raw(data.cast::<Settlement>()) };
    if env.is_null() {
        return;
    }
    HOMES.with_borrow_mut(|homes| {
        if let Some(home) = homes.iter_mut().find(|home| home.env == env) {
            home.end();
        }
    });
    let made = catch_unwind(AssertUnwindSafe(|| make(Env::from_raw(env))))
        .unwrap_or_else(|payload| Err(to_js(&KmsError::of_panic(payload))));
    // SAFETY: on the thread of the environment, within the scope that Node opened for this call; the promise is
    // settled once, since it is owned here.
    let status = unsafe {
        match made {
            Ok(value) => sys::napi_resolve_deferred(env, promise.0, value),
            Err(error) => match ToNapiValue::to_napi_value(env, error) {
                Ok(value) => sys::napi_reject_deferred(env, promise.0, value),
                // Nothing can be made any more: the environment is about to end.
                Err(_) => sys::Status::napi_closing,
            },
        }
    };
    debug_assert!(status == sys::Status::napi_ok || status == sys::Status::napi_closing);
}

/// The environment ends. On its thread.
unsafe extern "C" fn close(env: *mut std::ffi::c_void) {
    // During the end of a thread its own variables may be gone; then nobody can look for the queue either.
    let home = HOMES.try_with(|homes| {
        let mut homes = homes.borrow_mut();
        let at = homes.iter().position(|home| ptr::eq(home.env.cast(), env))?;
        Some(homes.swap_remove(at))
    });
    let Ok(Some(home)) = home else { return };
    let tsfn = home.queue.tsfn.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Tsfn(tsfn)) = tsfn {
        // SAFETY: it was open until here, and nobody else can reach it any more.
        unsafe {
            sys::napi_release_threadsafe_function(tsfn, sys::ThreadsafeFunctionReleaseMode::abort)
        };
    }
}
