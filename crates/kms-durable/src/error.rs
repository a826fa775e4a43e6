//! What can go wrong below a file, sorted by what the caller must do.

use std::fmt;

use kms_core::{ErrorCode, KmsError};
use rustix::io::Errno;

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed change or read. Messages name the step and the system's reason, never a path or a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No space or quota (`ENOSPC`, `EDQUOT`, `EFBIG`). Nothing was changed; the same call may succeed later.
    DiskFull {
        /// The system call.
        step: &'static str,
    },
    /// The name is taken. Nothing was changed.
    Exists,
    /// No such file or directory.
    NotFound,
    /// Another process holds the lock; its id where it could be read.
    Locked {
        /// Of the process that holds it.
        pid: Option<u32>,
    },
    /// The file is longer than the caller allows.
    TooLong,
    /// The change may be in place or not, or is in place and may not outlive a power cut: a sync failed, or the call
    /// that puts it in place did. Nothing may be acknowledged, nor the sync tried again: the kernel may have dropped
    /// the pages and would report success. Only a fresh start, which reads what is there, goes on.
    InDoubt {
        /// The system call.
        step: &'static str,
        /// The system's reason.
        reason: Errno,
    },
    /// Any other failure. Nothing was changed.
    Io {
        /// The system call.
        step: &'static str,
        /// The system's reason.
        reason: Errno,
    },
}

impl Error {
    /// The failure of a step before which nothing was put in place.
    pub(crate) fn before(step: &'static str, reason: Errno) -> Error {
        match reason {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Error::DiskFull { step },
            Errno::EXIST => Error::Exists,
            Errno::NOENT => Error::NotFound,
            reason => Error::Io { step, reason },
        }
    }

    /// The failure of a step that puts something in place. The kernel checks space and names before it begins, so
    /// those refusals leave nothing behind.
    pub(crate) fn placing(step: &'static str, reason: Errno) -> Error {
        match Error::before(step, reason) {
            Error::Io { step, reason } => Error::InDoubt { step, reason },
            error => error,
        }
    }

    /// The failure of a sync of something that is in place.
    pub(crate) fn unsynced(reason: Errno) -> Error {
        Error::InDoubt { step: "fsync", reason }
    }

    /// Whether the writer must stop until a fresh start.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Error::InDoubt { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::DiskFull { step } => write!(f, "no space left on the disk ({step})"),
            Error::Exists => f.write_str("the name is taken"),
            Error::NotFound => f.write_str("no such file or directory"),
            Error::Locked { pid: Some(pid) } => {
                write!(f, "the directory is in use by the process {pid}")
            }
            Error::Locked { pid: None } => {
                f.write_str("the directory is in use by another process")
            }
            Error::TooLong => f.write_str("the file is longer than any that belongs there"),
            Error::InDoubt { step, reason } => {
                write!(f, "{step} failed ({reason}) and left the outcome open")
            }
            Error::Io { step, reason } => write!(f, "{step} failed ({reason})"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for KmsError {
    /// All are `StoreUnavailable`; retryable only where the same call may succeed later.
    fn from(error: Error) -> KmsError {
        let retryable = matches!(error, Error::DiskFull { .. });
        KmsError::new(ErrorCode::StoreUnavailable, error.to_string()).retryable(retryable)
    }
}
