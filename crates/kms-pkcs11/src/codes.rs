//! Every return code of PKCS#11: its name, what it means for the pool, and what an operator does about it.
//!
//! Codes are those of PKCS#11 v3.2, section 5.1.6. The table has no catch-all, so a code that the bindings learn
//! stops the build until it is here.

use cryptoki::error::RvError;

/// What a code means for the session, for the token and for a second try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The session is dead, logged out or in the middle of something: another one serves.
    Session,
    /// The token or the module is not there. Calls fail at once until it is found again.
    Gone,
    /// The device failed; it may have been once. Several in a row count as gone.
    Device,
    /// The token has no room for another session.
    Crowded,
    /// The token does not accept who logs in. It is never asked again with the same PIN.
    Pin,
    /// A handle of an object no longer means anything: the object is looked for again.
    Handle,
    /// The token does not do this.
    Unsupported,
    /// What was to be opened or unwrapped does not open under this key.
    Data,
    /// The call was wrong, which is a fault of this crate or of the module.
    Call,
}

impl Class {
    /// Whether another session, or the same call a moment later, may do better.
    pub(crate) const fn may_pass(self) -> bool {
        matches!(
            self,
            Class::Session | Class::Gone | Class::Device | Class::Crowded | Class::Handle
        )
    }
}

/// A return code, told apart as far as PKCS#11 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// `CKR_…`, or `vendor code` and `unknown code`.
    pub name: &'static str,
    /// The number, of codes that have no name in PKCS#11.
    pub number: Option<u64>,
    /// What it means.
    pub class: Class,
    /// What an operator does about it.
    pub next_step: &'static str,
}

const SESSION: &str = "none: the session is replaced; if this goes on, the token drops sessions";
const GONE: &str = "check that the token is plugged in or reachable; service resumes by itself";
const DEVICE: &str = "read the token's own log; service resumes by itself once calls succeed";
const MEMORY: &str = "free memory on the token or the host, or lower max_sessions";
const CROWDED: &str = "raise the token's session limit, lower max_sessions, or stop other clients";
const PIN: &str =
    "set the right PIN in its environment variable and restart; do not guess, tokens lock";
const LOCKED: &str = "have the security officer unlock or set the user PIN, then restart";
const USER: &str =
    "no other user may be logged in from this process; restart with the user PIN only";
const HANDLE: &str =
    "none: the object is looked for again; if this goes on, check that it still exists";
const MECHANISM: &str =
    "use a token or firmware with this mechanism (capabilities are logged at start)";
const POLICY: &str = "allow this to the user and the key in the token's policy";
const DATA: &str = "restore the sealed data, or use the token and key that sealed it";
const BUG: &str = "report it, with the module's name and version: the call does not fit the module";
const LOAD: &str = "install what the module needs, and check its own configuration file";

macro_rules! codes {
    ($($variant:ident $name:ident $class:ident $next:ident;)+) => {
        /// The table.
        fn look_up(code: RvError) -> (&'static str, Option<u64>, Class, &'static str) {
            match code {
                $(RvError::$variant => (stringify!($name), None, Class::$class, $next),)+
                // CK_RV is 32 or 64 bits wide.
                RvError::VendorDefined(it) => ("vendor code", Some(it.into()), Class::Device, DEVICE),
                RvError::UnknownErrorCode(it) => ("unknown code", Some(it.into()), Class::Device, DEVICE),
            }
        }

        /// Every code with a name.
        #[cfg(test)]
        const NAMED: &[RvError] = &[$(RvError::$variant),+];
    };
}

codes! {
    Cancel CKR_CANCEL Session SESSION;
    HostMemory CKR_HOST_MEMORY Device MEMORY;
    SlotIdInvalid CKR_SLOT_ID_INVALID Gone GONE;
    GeneralError CKR_GENERAL_ERROR Device DEVICE;
    FunctionFailed CKR_FUNCTION_FAILED Device DEVICE;
    ArgumentsBad CKR_ARGUMENTS_BAD Call BUG;
    NoEvent CKR_NO_EVENT Call BUG;
    NeedToCreateThreads CKR_NEED_TO_CREATE_THREADS Call BUG;
    CantLock CKR_CANT_LOCK Unsupported BUG;
    AttributeReadOnly CKR_ATTRIBUTE_READ_ONLY Unsupported MECHANISM;
    AttributeSensitive CKR_ATTRIBUTE_SENSITIVE Unsupported POLICY;
    AttributeTypeInvalid CKR_ATTRIBUTE_TYPE_INVALID Unsupported MECHANISM;
    AttributeValueInvalid CKR_ATTRIBUTE_VALUE_INVALID Unsupported MECHANISM;
    ActionProhibited CKR_ACTION_PROHIBITED Unsupported POLICY;
    DataInvalid CKR_DATA_INVALID Call BUG;
    DataLenRange CKR_DATA_LEN_RANGE Unsupported MECHANISM;
    DeviceError CKR_DEVICE_ERROR Device DEVICE;
    DeviceMemory CKR_DEVICE_MEMORY Device MEMORY;
    DeviceRemoved CKR_DEVICE_REMOVED Gone GONE;
    EncryptedDataInvalid CKR_ENCRYPTED_DATA_INVALID Data DATA;
    EncryptedDataLenRange CKR_ENCRYPTED_DATA_LEN_RANGE Data DATA;
    FunctionCanceled CKR_FUNCTION_CANCELED Session SESSION;
    FunctionNotParallel CKR_FUNCTION_NOT_PARALLEL Call BUG;
    FunctionNotSupported CKR_FUNCTION_NOT_SUPPORTED Unsupported MECHANISM;
    CurveNotSupported CKR_CURVE_NOT_SUPPORTED Unsupported MECHANISM;
    KeyHandleInvalid CKR_KEY_HANDLE_INVALID Handle HANDLE;
    KeySizeRange CKR_KEY_SIZE_RANGE Unsupported MECHANISM;
    KeyTypeInconsistent CKR_KEY_TYPE_INCONSISTENT Unsupported MECHANISM;
    KeyNotNeeded CKR_KEY_NOT_NEEDED Call BUG;
    KeyChanged CKR_KEY_CHANGED Call BUG;
    KeyNeeded CKR_KEY_NEEDED Call BUG;
    KeyIndigestible CKR_KEY_INDIGESTIBLE Call BUG;
    KeyFunctionNotPermitted CKR_KEY_FUNCTION_NOT_PERMITTED Unsupported POLICY;
    KeyNotWrappable CKR_KEY_NOT_WRAPPABLE Unsupported POLICY;
    KeyUnextractable CKR_KEY_UNEXTRACTABLE Unsupported POLICY;
    MechanismInvalid CKR_MECHANISM_INVALID Unsupported MECHANISM;
    MechanismParamInvalid CKR_MECHANISM_PARAM_INVALID Unsupported MECHANISM;
    ObjectHandleInvalid CKR_OBJECT_HANDLE_INVALID Handle HANDLE;
    OperationActive CKR_OPERATION_ACTIVE Session SESSION;
    OperationNotInitialized CKR_OPERATION_NOT_INITIALIZED Session SESSION;
    PinIncorrect CKR_PIN_INCORRECT Pin PIN;
    PinInvalid CKR_PIN_INVALID Pin PIN;
    PinLenRange CKR_PIN_LEN_RANGE Pin PIN;
    PinExpired CKR_PIN_EXPIRED Pin LOCKED;
    PinLocked CKR_PIN_LOCKED Pin LOCKED;
    SessionClosed CKR_SESSION_CLOSED Session SESSION;
    SessionCount CKR_SESSION_COUNT Crowded CROWDED;
    SessionHandleInvalid CKR_SESSION_HANDLE_INVALID Session SESSION;
    SessionParallelNotSupported CKR_SESSION_PARALLEL_NOT_SUPPORTED Call BUG;
    SessionReadOnly CKR_SESSION_READ_ONLY Unsupported POLICY;
    SessionExists CKR_SESSION_EXISTS Call BUG;
    SessionReadOnlyExists CKR_SESSION_READ_ONLY_EXISTS Pin USER;
    SessionReadWriteSoExists CKR_SESSION_READ_WRITE_SO_EXISTS Pin USER;
    SignatureInvalid CKR_SIGNATURE_INVALID Call BUG;
    SignatureLenRange CKR_SIGNATURE_LEN_RANGE Call BUG;
    TemplateIncomplete CKR_TEMPLATE_INCOMPLETE Unsupported MECHANISM;
    TemplateInconsistent CKR_TEMPLATE_INCONSISTENT Unsupported MECHANISM;
    TokenNotPresent CKR_TOKEN_NOT_PRESENT Gone GONE;
    TokenNotRecognized CKR_TOKEN_NOT_RECOGNIZED Gone GONE;
    TokenWriteProtected CKR_TOKEN_WRITE_PROTECTED Unsupported POLICY;
    UnwrappingKeyHandleInvalid CKR_UNWRAPPING_KEY_HANDLE_INVALID Handle HANDLE;
    UnwrappingKeySizeRange CKR_UNWRAPPING_KEY_SIZE_RANGE Unsupported MECHANISM;
    UnwrappingKeyTypeInconsistent CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT Unsupported MECHANISM;
    UserAlreadyLoggedIn CKR_USER_ALREADY_LOGGED_IN Session SESSION;
    UserNotLoggedIn CKR_USER_NOT_LOGGED_IN Session SESSION;
    UserPinNotInitialized CKR_USER_PIN_NOT_INITIALIZED Pin LOCKED;
    UserTypeInvalid CKR_USER_TYPE_INVALID Pin USER;
    UserAnotherAlreadyLoggedIn CKR_USER_ANOTHER_ALREADY_LOGGED_IN Pin USER;
    UserTooManyTypes CKR_USER_TOO_MANY_TYPES Pin USER;
    WrappedKeyInvalid CKR_WRAPPED_KEY_INVALID Data DATA;
    WrappedKeyLenRange CKR_WRAPPED_KEY_LEN_RANGE Data DATA;
    WrappingKeyHandleInvalid CKR_WRAPPING_KEY_HANDLE_INVALID Handle HANDLE;
    WrappingKeySizeRange CKR_WRAPPING_KEY_SIZE_RANGE Unsupported MECHANISM;
    WrappingKeyTypeInconsistent CKR_WRAPPING_KEY_TYPE_INCONSISTENT Unsupported MECHANISM;
    RandomSeedNotSupported CKR_RANDOM_SEED_NOT_SUPPORTED Call BUG;
    RandomNoRng CKR_RANDOM_NO_RNG Unsupported MECHANISM;
    DomainParamsInvalid CKR_DOMAIN_PARAMS_INVALID Unsupported MECHANISM;
    BufferTooSmall CKR_BUFFER_TOO_SMALL Call BUG;
    SavedStateInvalid CKR_SAVED_STATE_INVALID Call BUG;
    InformationSensitive CKR_INFORMATION_SENSITIVE Unsupported POLICY;
    StateUnsaveable CKR_STATE_UNSAVEABLE Call BUG;
    CryptokiNotInitialized CKR_CRYPTOKI_NOT_INITIALIZED Gone GONE;
    CryptokiAlreadyInitialized CKR_CRYPTOKI_ALREADY_INITIALIZED Call BUG;
    MutexBad CKR_MUTEX_BAD Device DEVICE;
    MutexNotLocked CKR_MUTEX_NOT_LOCKED Device DEVICE;
    NewPinMode CKR_NEW_PIN_MODE Pin LOCKED;
    NextOtp CKR_NEXT_OTP Pin LOCKED;
    ExceededMaxIterations CKR_EXCEEDED_MAX_ITERATIONS Device DEVICE;
    FipsSelfTestFailed CKR_FIPS_SELF_TEST_FAILED Device DEVICE;
    LibraryLoadFailed CKR_LIBRARY_LOAD_FAILED Call LOAD;
    PinTooWeak CKR_PIN_TOO_WEAK Pin PIN;
    PublicKeyInvalid CKR_PUBLIC_KEY_INVALID Call BUG;
    FunctionRejected CKR_FUNCTION_REJECTED Unsupported POLICY;
}

impl From<RvError> for Code {
    fn from(code: RvError) -> Code {
        let (name, number, class, next_step) = look_up(code);
        Code { name, number, class, next_step }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_a_name_and_a_next_step_of_its_own_class() {
        let codes: Vec<Code> = NAMED.iter().map(|code| Code::from(*code)).collect();
        let names: HashSet<&str> = codes.iter().map(|code| code.name).collect();
        assert_eq!(names.len(), codes.len(), "no name twice");
        assert!(codes.iter().all(|it| it.name.starts_with("CKR_") && !it.next_step.is_empty()));
        let vendor = Code::from(RvError::VendorDefined(0x8000_0001));
        assert_eq!((vendor.number, vendor.class), (Some(0x8000_0001), Class::Device));
    }

    #[test]
    fn what_concerns_the_pin_is_never_tried_again() {
        for code in NAMED.iter().map(|code| Code::from(*code)) {
            let of_pin = code.name.contains("_PIN_");
            assert!(
                !of_pin || (code.class == Class::Pin && !code.class.may_pass()),
                "{}",
                code.name
            );
        }
    }
}
