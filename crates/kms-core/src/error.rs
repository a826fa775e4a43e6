//! The one error of the service and its stable codes.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;

/// `Result` with [`KmsError`].
pub type Result<T, E = KmsError> = std::result::Result<T, E>;

/// Stable error codes, shared by thrown errors and HTTP answers. Codes are only ever added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

impl ErrorCode {
    /// Every code; the position is `code as usize`.
    pub const ALL: [ErrorCode; 12] = [
        ErrorCode::BadRequest,
        ErrorCode::Unsupported,
        ErrorCode::NoCapability,
        ErrorCode::ExportForbidden,
        ErrorCode::AttestationMissing,
        ErrorCode::NotFound,
        ErrorCode::Conflict,
        ErrorCode::TooLarge,
        ErrorCode::Backpressure,
        ErrorCode::StoreUnavailable,
        ErrorCode::Timeout,
        ErrorCode::Internal,
    ];

    /// The name on the wire and in `KmsError.code`.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorCode::BadRequest => "BadRequest",
            ErrorCode::Unsupported => "Unsupported",
            ErrorCode::NoCapability => "NoCapability",
            ErrorCode::ExportForbidden => "ExportForbidden",
            ErrorCode::AttestationMissing => "AttestationMissing",
            ErrorCode::NotFound => "NotFound",
            ErrorCode::Conflict => "Conflict",
            ErrorCode::TooLarge => "TooLarge",
            ErrorCode::Backpressure => "Backpressure",
            ErrorCode::StoreUnavailable => "StoreUnavailable",
            ErrorCode::Timeout => "Timeout",
            ErrorCode::Internal => "Internal",
        }
    }

    /// Whether the same request may succeed later unless an error says otherwise.
    pub const fn retryable(self) -> bool {
        matches!(self, ErrorCode::Backpressure | ErrorCode::StoreUnavailable | ErrorCode::Timeout)
    }
}

/// An error with a stable code and a message that holds neither a secret nor the caller's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsError {
    /// The stable code.
    pub code: ErrorCode,
    /// For people; its wording may change.
    pub message: Cow<'static, str>,
    /// The part of the input that is at fault, as a path such as `sigs[0].alg`.
    pub field: Option<Cow<'static, str>>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// When to try again, in milliseconds, where the service knows.
    pub retry_after_ms: Option<u32>,
}

impl KmsError {
    /// An error with the code's usual `retryable`.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        KmsError {
            code,
            message: message.into(),
            field: None,
            retryable: code.retryable(),
            retry_after_ms: None,
        }
    }

    /// [`ErrorCode::BadRequest`].
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    /// [`ErrorCode::Unsupported`].
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Unsupported, message)
    }

    /// [`ErrorCode::NotFound`]. The message never says whether the key or the version is missing.
    pub fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "no such key or version").field("kid")
    }

    /// [`ErrorCode::Conflict`], not retryable.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// [`ErrorCode::Internal`].
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// What a panic becomes: the error that secret memory unwinds with, and `Internal` for any other.
    pub fn of_panic(payload: Box<dyn Any + Send>) -> Self {
        let other = |_| Self::internal("the operation failed");
        payload.downcast::<KmsError>().map_or_else(other, |error| *error)
    }

    /// Names the part of the input that is at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Puts `parent.` (or `parent`, where the error names no field) in front of the field.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.field = Some(match self.field {
            Some(field) => Cow::Owned(format!("{parent}.{field}")),
            None => Cow::Owned(parent.to_owned()),
        });
        self
    }

    /// Overrides the code's usual `retryable`.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u32) -> Self {
        self.retry_after_ms = Some(ms);
        self.retryable(true)
    }
}

impl fmt::Display for KmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)?;
        match &self.field {
            Some(field) => write!(f, " (field `{field}`)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KmsError {}
