//! What a log is held to, and what came out.

use super::{Continuities, SealedBy};
use crate::error::Damage;
use crate::merkle::Hash;
use crate::note::{Note, NoteKey};

/// What came out. The numbers are exit codes that scripts can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it was written.
    Intact = 0,
    /// All but a torn record or checkpoint at the very end, as a crash leaves it; the next start drops it.
    Torn = 3,
    /// A record, a segment or a checkpoint is not as it was written, or a continuity proof does not hold.
    Damaged = 4,
    /// A checkpoint, of the log or kept by the caller, has another root than the records, covers more of them than there
    /// are, contradicts the one before, or is not signed by the keys in force.
    BadCheckpoint = 5,
    /// A change of audit keys was not signed by the keys before, or the pinned keys do not lead to those in force.
    BadAuditKey = 6,
    /// The anchor, or an earlier visit, saw more records, or others.
    BehindAnchor = 7,
    /// The log is sealed by a device, or was pinned to one, and a checkpoint lacks its line though no record ended that.
    Unsealed = 8,
}

impl Outcome {
    /// The exit code. Of a process that could not read at all it is 1, and 2 of one that was called wrongly.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The verdict.
    pub outcome: Outcome,
    /// The first thing that is wrong.
    pub first_bad: Option<Damage>,
    /// The first record that is there; those before were pruned and count by their hashes.
    pub first: u64,
    /// Records in the tree, up to the first bad one.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Checkpoints that hold.
    pub checkpoints: u64,
    /// Records that the last of them covers. Those after it are signed by nobody yet.
    pub covered: u64,
    /// The keys in force at the end.
    pub keys: Vec<NoteKey>,
    /// The device that seals it at the end.
    pub sealed_by: Option<SealedBy>,
    /// The proofs of rotations.
    pub continuity: Continuities,
    /// What an auditor should look at, though nothing contradicts it: overrides, dropped records, unchecked signatures.
    /// At most [`MAX_REMARKS`], and then a line that there are more.
    pub remarks: Vec<String>,
}

/// Most remarks of a report.
pub const MAX_REMARKS: usize = 1000;

/// What a log is held to, beside itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expect<'a> {
    /// Keys that the caller trusts; without them the log vouches for its own first keys. All must be among those that the
    /// first record names, and every later change signed; or all be in force at the end, with a checkpoint by them. Of a device
    /// ([`is_device`](crate::checkpoint::is_device)) the same holds from the first that seals the log, whether or not other keys are given.
    pub keys: Option<&'a [NoteKey]>,
    /// Size and root that an anchor, or an earlier visit, saw.
    pub seen: Option<(u64, Hash)>,
    /// Checkpoints that the caller kept: signed by the keys that were in force, and prefixes of the log.
    pub kept: &'a [Note],
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records read, the pruned ones included.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of the segments that there were at the beginning. The last one need not be full.
    pub of_bytes: u64,
}
