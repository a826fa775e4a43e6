//! The one function that is called past the bindings. They would read a value into memory of theirs that nobody wipes.

use std::path::Path;

use cryptoki::context::Function as By;
use cryptoki::error::{Error as Raw, Rv};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki_sys::{
    CK_ATTRIBUTE, CK_FUNCTION_LIST, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG,
    CKA_VALUE, CKR_OK,
};

type GetFunctionList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
type GetAttributeValue =
    unsafe extern "C" fn(CK_SESSION_HANDLE, CK_OBJECT_HANDLE, *mut CK_ATTRIBUTE, CK_ULONG) -> CK_RV;

/// C_GetAttributeValue of a module that is loaded.
#[derive(Clone, Copy)]
pub(crate) struct RawValue(Option<GetAttributeValue>);

impl RawValue {
    /// Finds it in the module at `path`, which has been loaded from there and is never unloaded.
    #[expect(unsafe_code, reason = "the C interface of PKCS#11")]
    pub(crate) fn of(path: &Path) -> RawValue {
        // SAFETY: the library is loaded already, so nothing of it is run by this.
        let Ok(library) = (unsafe { libloading::Library::new(path) }) else {
            return RawValue(None);
        };
        let mut list = std::ptr::null_mut();
        // SAFETY: PKCS#11 v3.2, section 5.2, gives the function this type. A list that it gives is static in the
        // library, and read unaligned because the structure is packed on some platforms.
        let found = unsafe {
            match library.get::<GetFunctionList>(b"C_GetFunctionList\0") {
                Ok(get) if get(&raw mut list) == CKR_OK && !list.is_null() => {
                    (&raw const (*list).C_GetAttributeValue).read_unaligned()
                }
                _ => None,
            }
        };
        // Modules stay: they may have threads.
        std::mem::forget(library);
        RawValue(found)
    }

    /// CKA_VALUE of an object, written by the module straight to where it is to be. An object with another length of it
    /// is `InvalidValue`.
    #[expect(unsafe_code, reason = "the C interface of PKCS#11")]
    pub(crate) fn read(
        self,
        session: &Session,
        object: ObjectHandle,
        out: &mut [u8; 32],
    ) -> cryptoki::error::Result<()> {
        let call = self.0.ok_or(Raw::NullFunctionPointer)?;
        let mut asked =
            CK_ATTRIBUTE { type_: CKA_VALUE, pValue: out.as_mut_ptr().cast(), ulValueLen: 32 };
        // SAFETY: one attribute, whose buffer has the length that is given; the session is this thread's.
        let code = unsafe { call(session.handle(), object.handle(), &raw mut asked, 1) };
        Rv::from(code).into_result(By::GetAttributeValue)?;
        let length = asked.ulValueLen;
        if length == 32 { Ok(()) } else { Err(Raw::InvalidValue) }
    }
}
