//! The place of the audit log in every use case.

use crate::context::Context;
use crate::error::{KmsError, Result};
use crate::key_id::KidRef;

/// One operation, as the use case saw it.
#[derive(Clone, Copy, Debug)]
pub struct AuditEvent<'a> {
    /// The operation, by the engine's name.
    pub op: &'static str,
    /// Who asked, by which request, under which op_id.
    pub context: &'a Context,
    /// The kid that was made or used, where there is one. Its algorithm is part of it.
    pub kid: Option<KidRef<'a>>,
    /// BLAKE3-256 of what was signed, where something was.
    pub input_hash: Option<&'a [u8; 32]>,
    /// `None` when it succeeded, and the reason when it was refused.
    pub refusal: Option<&'a KmsError>,
    /// BLAKE3-256 of the attestation evidence that goes with the answer, where some does.
    pub attestation: Option<&'a [u8; 32]>,
}

/// A public half, or a signature, with the name of its algorithm: one for each track of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track<'a> {
    /// The name in `alg` fields.
    pub alg: &'a str,
    /// The bytes, as the API gives them.
    pub bytes: &'a [u8],
}

/// A head, and the version that comes after it.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// The kid that signed, with its version.
    pub from: KidRef<'a>,
    /// The kid that comes after it, with its version.
    pub to: KidRef<'a>,
    /// The public halves of `from`.
    pub from_public: &'a [Track<'a>],
    /// The public halves of `to`.
    pub public: &'a [Track<'a>],
}

/// The proof that a head vouched for what comes after it.
#[derive(Clone, Copy, Debug)]
pub struct ContinuityEvent<'a> {
    /// Who rotated the key.
    pub context: &'a Context,
    /// What the head vouched for.
    pub rotation: Rotation<'a>,
    /// By `from`, one for each of its tracks.
    pub signatures: &'a [Track<'a>],
}

/// One verification request: what is recorded of it instead of a record for each signature.
#[derive(Clone, Copy, Debug)]
pub struct VerificationEvent<'a> {
    /// The operation, by the engine's name.
    pub op: &'static str,
    /// Who asked.
    pub context: &'a Context,
    /// Signatures looked at.
    pub count: u32,
    /// Of which were not valid.
    pub failures: u32,
    /// BLAKE3-256 over the inputs.
    pub inputs_hash: &'a [u8; 32],
}

/// Receives every operation that makes a key, a version or a signature, after policy and before its
/// effect can be seen: a key or version is recorded before it is published, a signature before it
/// leaves.
///
/// Called from many threads at once. An error here withholds the answer: nothing is acknowledged
/// that was not recorded.
pub trait AuditSink: Send + Sync {
    /// The name of the log that indexes are of, where the sink is a log.
    fn log(&self) -> Option<&str> {
        None
    }

    /// Takes one event and gives the index of its leaf in the log, where the sink is a log. Never waits for a disk: what
    /// the log promises of durability holds after [`AuditSink::settle`].
    ///
    /// # Errors
    /// Any; the use case fails with it.
    fn append(&self, event: &AuditEvent<'_>) -> Result<Option<u64>>;

    /// What a head signs before it retires; `None` where proofs of continuity are not taken.
    ///
    /// # Errors
    /// Any; the rotation fails with it.
    fn continuity_statement(&self, _rotation: &Rotation<'_>) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Takes the proof that a rotation adds, before the record of the rotation itself.
    ///
    /// # Errors
    /// Any; the rotation fails with it.
    fn append_continuity(&self, _event: &ContinuityEvent<'_>) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Takes the summary of one verification request. It may be dropped: a verification is never refused
    /// because of it.
    fn verified(&self, _event: &VerificationEvent<'_>) {}

    /// Counts a refusal before authentication, or one that names no key of the caller; counts become one record a second.
    fn refused(&self, _refusal: &KmsError) {}

    /// Whether [`AuditSink::settle`] waits for a disk.
    fn is_slow(&self) -> bool {
        false
    }

    /// Waits until all that was taken is as durable as the sink promises.
    ///
    /// # Errors
    /// Any; nothing that was taken and not settled before may be acknowledged then.
    fn settle(&self) -> Result<()> {
        Ok(())
    }

    /// As [`AuditSink::settle`], without waiting: `settled` is called, at once or on another thread.
    fn when_settled(&self, settled: Settled) {
        settled(self.settle());
    }
}

/// What follows when records are durable, or cannot be.
pub type Settled = Box<dyn FnOnce(Result<()>) + Send>;
