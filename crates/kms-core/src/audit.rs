//! The place of the audit log in every use case.

use crate::algorithm::Algorithm;
use crate::context::Context;
use crate::error::Result;

/// One operation that succeeded, as the use case saw it.
#[derive(Clone, Copy, Debug)]
pub struct AuditEvent<'a> {
    /// The operation, by the engine's name.
    pub op: &'static str,
    /// Who asked.
    pub context: &'a Context,
    /// The full kid that was made or used.
    pub kid: &'a str,
    /// Its algorithm.
    pub alg: Algorithm,
    /// BLAKE3-256 of what was signed, where something was.
    pub input_hash: Option<&'a [u8; 32]>,
}

/// Receives every operation that makes a key, a version or a signature, after policy and before its
/// effect can be seen: a key or version is recorded before it is published, a signature before it
/// leaves.
///
/// Called from many threads at once. An error here withholds the answer: nothing is acknowledged
/// that was not recorded.
pub trait AuditSink: Send + Sync {
    /// Takes one event.
    ///
    /// # Errors
    /// Any; the use case fails with it.
    fn append(&self, event: &AuditEvent<'_>) -> Result<()>;
}
