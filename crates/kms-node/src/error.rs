//! The only conversion from the service's error to a JavaScript one.

use kms_core::KmsError;
use kms_engine::wire::error_json;
use napi::bindgen_prelude::{Error, Status};
use napi_derive::napi;

/// Stable error codes, shared by thrown errors and HTTP answers. Codes are only ever added.
#[napi(string_enum)]
pub enum ErrorCode {
    /// The input is malformed; `field` names the part.
    BadRequest,
    /// Well formed, but not something this key or build does.
    Unsupported,
    /// The caller's capability is missing, invalid or too narrow.
    NoCapability,
    /// Private keys never leave.
    ExportForbidden,
    /// Policy asks for attestation evidence that is not there.
    AttestationMissing,
    /// No such key or version (or none that the caller may know of).
    NotFound,
    /// The state of the key or of an earlier request forbids it.
    Conflict,
    /// Over a documented size limit.
    TooLarge,
    /// Refused before work because the service is full; try again.
    Backpressure,
    /// The custody backend cannot be used now.
    StoreUnavailable,
    /// The deadline passed.
    Timeout,
    /// A fault of the service; details stay in its log.
    Internal,
}

impl From<kms_core::ErrorCode> for ErrorCode {
    /// Exists so that a new code in the core stops this crate from compiling until it is added here.
    fn from(code: kms_core::ErrorCode) -> Self {
        match code {
            kms_core::ErrorCode::BadRequest => ErrorCode::BadRequest,
            kms_core::ErrorCode::Unsupported => ErrorCode::Unsupported,
            kms_core::ErrorCode::NoCapability => ErrorCode::NoCapability,
            kms_core::ErrorCode::ExportForbidden => ErrorCode::ExportForbidden,
            kms_core::ErrorCode::AttestationMissing => ErrorCode::AttestationMissing,
            kms_core::ErrorCode::NotFound => ErrorCode::NotFound,
            kms_core::ErrorCode::Conflict => ErrorCode::Conflict,
            kms_core::ErrorCode::TooLarge => ErrorCode::TooLarge,
            kms_core::ErrorCode::Backpressure => ErrorCode::Backpressure,
            kms_core::ErrorCode::StoreUnavailable => ErrorCode::StoreUnavailable,
            kms_core::ErrorCode::Timeout => ErrorCode::Timeout,
            kms_core::ErrorCode::Internal => ErrorCode::Internal,
        }
    }
}

/// An error whose message is the JSON of the service's error, on synchronous and asynchronous paths
/// alike (a rejected promise keeps no custom code). `toKmsError` in TypeScript makes the class of it.
pub(crate) fn to_js(error: &KmsError) -> Error {
    Error::new(Status::GenericFailure, error_json(error))
}
