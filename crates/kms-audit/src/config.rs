//! What a log is opened with.

use std::sync::Arc;
use std::time::Duration;

use kms_core::{Anchor, Clock};

use crate::checkpoint::Origin;
use crate::device::Device;
use crate::error::{AuditError, Malformed, Result};
use crate::layout::{MAX_SEGMENT, MIN_SEGMENT};
use crate::note::{NoteSigner, NoteVerifier};

/// What an append waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// For the record to be in a preallocated, memory-mapped file: a killed process loses nothing, a power cut at
    /// most the last flush interval.
    Queued,
    /// For the disk. Appends that wait at the same time share one sync.
    Fsync,
}

/// What happens to an append when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// It is refused, and with it the operation.
    Reject,
    /// The oldest sealed segment gives up its records: their leaf hashes stay, and a record says which they
    /// were. Nothing beyond the last checkpoint is dropped, nor is a checkpoint; then appends are refused.
    DropOldest,
}

/// Settings of a log.
#[derive(Clone, Debug)]
pub struct Config {
    /// The log's name.
    pub origin: Origin,
    /// What an append waits for.
    pub durability: Durability,
    /// What happens when there is no room.
    pub on_full: OnFull,
    /// Bytes of a segment, 256 KiB to 256 MiB, a multiple of 4 KiB. On disk are at least two.
    pub segment_bytes: u64,
    /// Bytes that may wait for the disk before appends are refused with `Backpressure`.
    pub max_backlog_bytes: u64,
    /// The longest that a record of a `queued` log waits for the disk.
    pub flush_interval: Duration,
    /// Records after which a checkpoint is made.
    pub checkpoint_interval_ops: u64,
    /// Time after which a checkpoint is made, if there are records that none covers.
    pub checkpoint_interval: Duration,
    /// Whether every checkpoint carries a line by the device of [`Parts`] too, or is not made.
    pub attested: bool,
}

impl Config {
    /// The defaults: queued, reject, 16 MiB, 64 MiB, 100 ms, 5,000 records, 10 s, no device.
    pub fn new(origin: Origin) -> Config {
        Config {
            origin,
            durability: Durability::Queued,
            on_full: OnFull::Reject,
            segment_bytes: 16 * 1024 * 1024,
            max_backlog_bytes: 64 * 1024 * 1024,
            flush_interval: Duration::from_millis(100),
            checkpoint_interval_ops: 5000,
            checkpoint_interval: Duration::from_secs(10),
            attested: false,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let fits = (MIN_SEGMENT..=MAX_SEGMENT).contains(&self.segment_bytes)
            && self.segment_bytes.is_multiple_of(4096);
        if !fits {
            return Err(AuditError::Malformed(Malformed("segment_bytes")));
        }
        if self.checkpoint_interval_ops == 0 {
            return Err(AuditError::Malformed(Malformed("checkpoint_interval_ops")));
        }
        Ok(())
    }
}

/// What a log works with.
#[derive(Clone)]
pub struct Parts {
    /// The second place.
    pub anchor: Arc<dyn Anchor>,
    /// Who signs checkpoints: one, or two when post-quantum signatures are on. All have the origin as their name.
    pub signers: Vec<Arc<dyn NoteSigner>>,
    /// The device that seals the log where that is wanted, and that can end it where it did.
    pub device: Option<Arc<dyn Device>>,
    /// Checks signatures of checkpoints when a log is opened, and those of the device when they are made.
    pub verifier: Arc<dyn NoteVerifier>,
    /// Gives records their times.
    pub clock: Arc<dyn Clock>,
}

/// An operator's decision to go on where a log was refused. It is recorded in the log.
#[derive(Clone, Debug)]
pub struct Override {
    /// Who decided.
    pub actor: String,
    /// Goes on although log and anchor disagree. Records that the anchor saw and the log has not are lost, and their
    /// indexes are given out again.
    pub rollback: bool,
    /// Goes on with an audit key that the one before it did not sign, and with a device that the one before did not.
    pub audit_key: bool,
}

/// What was found when a log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// Records that were there.
    pub records: u64,
    /// The first record that is there; those before were pruned.
    pub first: u64,
    /// Bytes of torn records that were dropped.
    pub dropped_bytes: u64,
    /// Bytes of a torn checkpoint that were dropped.
    pub dropped_checkpoint_bytes: u64,
    /// What an override overrode.
    pub overridden: Vec<String>,
}
