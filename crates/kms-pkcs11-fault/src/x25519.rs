//! Key pairs of X25519 in the words of PKCS#11 v3.0, over a module that has those of SoftHSM; and a module that offers them
//! and makes none.

use cryptoki_sys::*;

use crate::module::{guarded, lists, number};
use crate::plan::X25519;
use crate::state;

/// The mechanisms of the real module; that of X25519 keys beside them, or without Ed25519, where the plan says so.
pub(crate) unsafe extern "C" fn mechanism_list(
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    guarded("C_GetMechanismList", None, || {
        let Some(real) = lists().and_then(|lists| lists.real.C_GetMechanismList) else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        if state::x25519() != X25519::Montgomery || count.is_null() {
            // SAFETY: the caller's arguments; after success `list`, if any, holds as many as `count` says.
            unsafe {
                let code = real(slot, list, count);
                if code == CKR_OK && state::no_eddsa() && !list.is_null() && !count.is_null() {
                    let offered = std::slice::from_raw_parts_mut(list, *count as usize);
                    let kept_back = offered.iter_mut().filter(|it| **it == CKM_EDDSA);
                    kept_back.for_each(|it| *it = CKM_VENDOR_DEFINED);
                }
                return code;
            }
        }
        // SAFETY: `count` is not null, and `list` is null or has room for as many as it says.
        unsafe {
            let room = *count;
            let code = real(slot, list, count);
            if code != CKR_OK {
                return code;
            }
            let at = *count;
            *count += 1;
            if list.is_null() {
                return CKR_OK;
            }
            if room <= at {
                return CKR_BUFFER_TOO_SMALL;
            }
            *list.add(at as usize) = CKM_EC_MONTGOMERY_KEY_PAIR_GEN;
            CKR_OK
        }
    })
}

/// Whether a template asks for a key on curve25519, by its object identifier or its name.
unsafe fn is_x25519(template: &[CK_ATTRIBUTE]) -> bool {
    template.iter().any(|it| {
        let (kind, value, length) = (it.type_, it.pValue, it.ulValueLen);
        if kind != CKA_EC_PARAMS || value.is_null() {
            return false;
        }
        // SAFETY: an attribute's value has its length.
        let bytes = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), length as usize) };
        bytes == [6, 3, 43, 101, 110] || bytes.ends_with(b"curve25519")
    })
}

pub(crate) unsafe extern "C" fn generate_key_pair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    guarded("C_GenerateKeyPair", Some(number(session)), || {
        let Some(real) = lists().and_then(|lists| lists.real.C_GenerateKeyPair) else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        // SAFETY: the caller's arguments: an array with its length, and a mechanism.
        let (template, montgomery) = unsafe {
            let template = std::slice::from_raw_parts(public, public_count as usize);
            (template, (*mechanism).mechanism == CKM_EC_MONTGOMERY_KEY_PAIR_GEN)
        };
        // SAFETY: as above.
        let x25519 = unsafe { is_x25519(template) };
        let mut template = template.to_vec();
        let mut mechanism_type = mechanism;
        let mut edwards = CK_MECHANISM {
            mechanism: CKM_EC_EDWARDS_KEY_PAIR_GEN,
            pParameter: std::ptr::null_mut(),
            ulParameterLen: 0,
        };
        let mut key_type = CKK_EC_EDWARDS;
        match state::x25519() {
            X25519::Refused if x25519 => return CKR_CURVE_NOT_SUPPORTED,
            X25519::Montgomery if x25519 && !montgomery => return CKR_CURVE_NOT_SUPPORTED,
            X25519::Montgomery if montgomery => {
                mechanism_type = &raw mut edwards;
                for attribute in template.iter_mut().filter(|it| it.type_ == CKA_KEY_TYPE) {
                    attribute.pValue = (&raw mut key_type).cast();
                }
            }
            _ => {}
        }
        let count = public_count;
        // SAFETY: the caller's arguments, but for a template of the same length and a mechanism without parameters.
        unsafe {
            real(
                session,
                mechanism_type,
                template.as_mut_ptr(),
                count,
                private,
                private_count,
                public_key,
                private_key,
            )
        }
    })
}
