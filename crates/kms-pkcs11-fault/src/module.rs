//! The C side: the function list of the real module, with ours in front of those that are used.

use std::ffi::c_void;
use std::sync::OnceLock;

use cryptoki_sys::*;

use crate::plan::Fault;
use crate::state::{self, Report};
use crate::x25519;

/// The environment variable with the path of the real module.
const REAL: &str = "KMS_FAULT_MODULE";

/// The real functions, and the list that is handed out.
pub(crate) struct Lists {
    pub(crate) real: CK_FUNCTION_LIST,
    ours: CK_FUNCTION_LIST,
}

// SAFETY: pointers to functions of a library that is never unloaded.
unsafe impl Send for Lists {}
// SAFETY: as above, and nothing changes them.
unsafe impl Sync for Lists {}

static LISTS: OnceLock<Option<Lists>> = OnceLock::new();

fn load() -> Option<Lists> {
    let path = std::env::var_os(REAL)?;
    // SAFETY: loading a PKCS#11 module runs its constructors, which is what the test asked for.
    let library = unsafe { libloading::Library::new(path) }.ok()?;
    type List = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
    let mut real = std::ptr::null_mut();
    // SAFETY: PKCS#11 v2.40, section 5.4, gives the function this type; the list it points to is static in the library.
    let list = unsafe {
        let get = library.get::<List>(b"C_GetFunctionList\0").ok()?;
        if get(&raw mut real) != CKR_OK || real.is_null() {
            return None;
        }
        std::ptr::read_unaligned(real)
    };
    std::mem::forget(library);
    Some(Lists { real: list, ours: in_front_of(list) })
}

pub(crate) fn lists() -> Option<&'static Lists> {
    LISTS.get_or_init(load).as_ref()
}

#[cfg_attr(not(windows), expect(clippy::useless_conversion, reason = "u32 on Windows"))]
pub(crate) fn number(session: CK_SESSION_HANDLE) -> u64 {
    session.into()
}

fn code(number: u64) -> CK_RV {
    number as CK_RV
}

/// Closes a session below the one who has it.
fn lose(session: u64) {
    if let Some(close) = lists().and_then(|lists| lists.real.C_CloseSession) {
        // SAFETY: closing a session by number is allowed whether or not there is one; no call is inside it.
        unsafe { close(session as CK_SESSION_HANDLE) };
    }
}

/// Does what the plan says with one call.
pub(crate) fn guarded(
    function: &'static str,
    session: Option<u64>,
    call: impl FnOnce() -> CK_RV,
) -> CK_RV {
    let verdict = state::begin(function, session);
    verdict.lose.into_iter().for_each(lose);
    let answer = match (verdict.instead, verdict.fault) {
        (Some(instead), _) => code(instead),
        (None, Some(Fault::Fail(failure))) => code(failure),
        (None, Some(Fault::FailAfter(failure))) => {
            call();
            code(failure)
        }
        (None, Some(Fault::Hang(time))) => {
            state::hang(time);
            call()
        }
        (None, Some(Fault::Drop) | None) => call(),
    };
    if let Some(lost) = state::end(function, session, answer as u64) {
        lose(lost);
    }
    answer
}

/// Defines the functions in front. Those `in` a session have it as their first argument.
macro_rules! in_front {
    (@session) => {
        None
    };
    (@session $session:ident) => {
        Some(number($session))
    };
    ($(fn $name:ident $(in $session:ident)? ($($arg:ident: $type:ty),*);)+) => {
        $(
            #[expect(non_snake_case, reason = "the names of PKCS#11")]
            unsafe extern "C" fn $name($($session: CK_SESSION_HANDLE,)? $($arg: $type),*) -> CK_RV {
                let session = in_front!(@session $($session)?);
                guarded(stringify!($name), session, || {
                    match lists().and_then(|lists| lists.real.$name) {
                        // SAFETY: the caller's arguments, for the function that they were meant for.
                        Some(real) => unsafe { real($($session,)? $($arg),*) },
                        None => CKR_FUNCTION_NOT_SUPPORTED,
                    }
                })
            }
        )+

        fn in_front_of(real: CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
            CK_FUNCTION_LIST {
                $($name: Some($name),)+
                C_GetFunctionList: Some(C_GetFunctionList),
                C_OpenSession: Some(open_session),
                C_GetTokenInfo: Some(token_info),
                C_GetMechanismList: Some(x25519::mechanism_list),
                C_GenerateKeyPair: Some(x25519::generate_key_pair),
                ..real
            }
        }
    };
}

in_front! {
    fn C_Initialize(args: *mut c_void);
    fn C_Finalize(reserved: *mut c_void);
    fn C_GetInfo(info: *mut CK_INFO);
    fn C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG);
    fn C_CloseSession in session ();
    fn C_GetSessionInfo in session (info: *mut CK_SESSION_INFO);
    fn C_Login in session (user: CK_USER_TYPE, pin: *mut CK_BYTE, len: CK_ULONG);
    fn C_GetAttributeValue in session (object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    fn C_FindObjectsInit in session (template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    fn C_FindObjects in session (objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG, count: *mut CK_ULONG);
    fn C_FindObjectsFinal in session ();
    fn C_DestroyObject in session (object: CK_OBJECT_HANDLE);
    fn C_EncryptInit in session (mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    fn C_Encrypt in session (data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG);
    fn C_DecryptInit in session (mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    fn C_Decrypt in session (data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG);
    fn C_SignInit in session (mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE);
    fn C_Sign in session (data: *mut CK_BYTE, len: CK_ULONG, out: *mut CK_BYTE, out_len: *mut CK_ULONG);
    fn C_GenerateKey in session (mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
    fn C_DeriveKey in session (mechanism: *mut CK_MECHANISM, base: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, key: *mut CK_OBJECT_HANDLE);
}

unsafe extern "C" fn open_session(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    guarded("C_OpenSession", None, || {
        let Some(real) = lists().and_then(|lists| lists.real.C_OpenSession) else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        // SAFETY: the caller's arguments; what they point to was written when it succeeds.
        unsafe {
            let code = real(slot, flags, application, notify, session);
            if code == CKR_OK && !session.is_null() {
                state::opened(number(*session));
            }
            code
        }
    })
}

unsafe extern "C" fn token_info(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    guarded("C_GetTokenInfo", None, || {
        let Some(real) = lists().and_then(|lists| lists.real.C_GetTokenInfo) else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        // SAFETY: the caller's arguments; what they point to was written when it succeeds.
        unsafe {
            let answer = real(slot, info);
            if answer == CKR_OK && !info.is_null() {
                let flags = &raw mut (*info).flags;
                flags.write_unaligned(flags.read_unaligned() | state::pin_flags() as CK_FLAGS);
            }
            answer
        }
    })
}

/// PKCS#11 v2.40, section 5.4: the only function that is looked up by name.
///
/// # Safety
/// `list` points to a place for a pointer, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    match lists() {
        // SAFETY: not null; the list lives as long as this library, and nobody writes to it.
        Some(lists) => unsafe {
            *list = (&raw const lists.ours).cast_mut();
            CKR_OK
        },
        None => CKR_GENERAL_ERROR,
    }
}

/// What was seen so far.
///
/// # Safety
/// `report` points to a place for a report.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kms_fault_report(report: *mut Report) {
    // SAFETY: by the contract.
    unsafe { *report = state::report() };
}
