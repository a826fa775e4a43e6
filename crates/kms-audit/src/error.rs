//! What can be wrong with a log, each fault by its own name.

use std::borrow::Cow;
use std::{fmt, io};

use kms_core::{ErrorCode, KmsError};

/// `Result` with [`AuditError`].
pub type Result<T, E = AuditError> = std::result::Result<T, E>;

/// Bytes that are not the one encoding of anything; names the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "field `{}` is malformed", self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for KmsError {
    fn from(Malformed(field): Malformed) -> Self {
        KmsError::bad_request("does not fit an audit record").field(field)
    }
}

/// The first thing in a log that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The leaf index of the first bad record, where it is about a record.
    pub seq: Option<u64>,
    /// The file's name in the log directory.
    pub file: Cow<'static, str>,
    /// The byte in it.
    pub offset: u64,
    /// What is wrong there.
    pub why: Cow<'static, str>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { seq, file, offset, why } = self;
        match seq {
            Some(seq) => write!(f, "record {seq} ({file}, byte {offset}): {why}"),
            None => write!(f, "{file}, byte {offset}: {why}"),
        }
    }
}

/// How a log and its anchor disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorFault {
    /// The log has fewer records than its anchor saw: an older copy was restored.
    LogOlder {
        /// Records in the log.
        log: u64,
        /// Records that the anchor saw.
        anchor: u64,
    },
    /// At the anchor's size the log has another root: records were replaced.
    OtherRoot {
        /// Records that the anchor saw.
        anchor: u64,
    },
    /// The log has records, and the anchor has never seen one.
    Missing,
    /// The log was pruned past the anchor's size, so nothing can be compared.
    Pruned {
        /// Records that the anchor saw.
        anchor: u64,
    },
}

impl fmt::Display for AnchorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnchorFault::LogOlder { log, anchor } => {
                write!(f, "log older than its anchor: {log} records, the anchor saw {anchor}")
            }
            AnchorFault::OtherRoot { anchor } => {
                write!(f, "another root at the anchor's size ({anchor} records)")
            }
            AnchorFault::Missing => f.write_str("the log has records and its anchor is missing"),
            AnchorFault::Pruned { anchor } => {
                write!(f, "the log does not reach back to the anchor's size ({anchor} records)")
            }
        }
    }
}

/// Why a log cannot be opened, written or read.
#[derive(Debug)]
pub enum AuditError {
    /// The operating system refused; names what was being done to which file.
    Io(&'static str, io::Error),
    /// Another process has the log open.
    Locked,
    /// Something in the directory is not as it was written.
    Damaged(Damage),
    /// The log and its anchor disagree.
    Anchor(AnchorFault),
    /// The last checkpoint does not fit the records: the root differs, or there are fewer records.
    Checkpoint(Cow<'static, str>),
    /// The audit key is not the one that the log names.
    AuditKey(&'static str),
    /// A record of who seals the log does not hold: it is forged, moved or cut away.
    Sealing(&'static str),
    /// The device that seals the log is not at hand.
    Device(Cow<'static, str>),
    /// Every preallocated byte is used, and no more could be reserved.
    Full,
    /// More is waiting for the disk than the configured backlog.
    Backlog,
    /// An earlier write or sync failed; this writer has stopped for good.
    Stopped,
    /// The record does not fit the format.
    Malformed(Malformed),
    /// No such record, size or proof.
    NotFound(&'static str),
    /// Whoever asked for it asked to stop.
    Interrupted,
    /// From the anchor or the signer.
    Other(KmsError),
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuditError::Io(what, error) => write!(f, "audit log: {what}: {error}"),
            AuditError::Locked => f.write_str("another process has the audit log open"),
            AuditError::Damaged(damage) => write!(f, "audit log damaged: {damage}"),
            AuditError::Anchor(fault) => write!(f, "audit log refused: {fault}"),
            AuditError::Checkpoint(why) => write!(f, "audit log refused: {why}"),
            AuditError::AuditKey(why) => write!(f, "audit key refused: {why}"),
            AuditError::Sealing(why) => write!(f, "audit log refused: {why}"),
            AuditError::Device(why) => write!(f, "device of the audit log refused: {why}"),
            AuditError::Full => f.write_str("no space for audit records"),
            AuditError::Backlog => f.write_str("too many audit records wait for the disk"),
            AuditError::Stopped => f.write_str("the audit log stopped after a failed write"),
            AuditError::Malformed(fault) => write!(f, "audit record: {fault}"),
            AuditError::NotFound(what) => write!(f, "audit log: no such {what}"),
            AuditError::Interrupted => f.write_str("audit log: stopped on request"),
            AuditError::Other(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AuditError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AuditError::Io(_, error) => Some(error),
            AuditError::Other(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Malformed> for AuditError {
    fn from(fault: Malformed) -> Self {
        AuditError::Malformed(fault)
    }
}

impl From<KmsError> for AuditError {
    fn from(error: KmsError) -> Self {
        AuditError::Other(error)
    }
}

impl From<AuditError> for KmsError {
    fn from(error: AuditError) -> Self {
        let store = |text: &'static str| KmsError::new(ErrorCode::StoreUnavailable, text);
        match error {
            AuditError::Full => store("no space for audit records").retry_after_ms(1000),
            AuditError::Backlog => {
                let text = "too many audit records wait for the disk";
                KmsError::new(ErrorCode::Backpressure, text).retry_after_ms(50)
            }
            AuditError::Stopped => {
                store("the audit log stopped after a failed write").retryable(false)
            }
            AuditError::Malformed(fault) => fault.into(),
            AuditError::NotFound(what) => {
                KmsError::new(ErrorCode::NotFound, format!("the audit log has no such {what}"))
            }
            AuditError::Other(error) => error,
            AuditError::Io(..) => store("the audit log cannot be used").retryable(false),
            error => KmsError::new(ErrorCode::StoreUnavailable, error.to_string()).retryable(false),
        }
    }
}
