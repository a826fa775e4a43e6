//! The audit log: an append-only record of every key operation, provable to others.
//!
//! | Part | One line |
//! | --- | --- |
//! | [`record`] | canonical bytes of a record; their hash is a leaf |
//! | [`merkle`] | the tree of RFC 9162, pure |
//! | [`note`], [`checkpoint`] | signed notes, checkpoints and cosignatures of C2SP |
//! | [`AuditLog`] | the writer: segments, group commit, checkpoints, proofs, retention |
//! | [`reader`], [`export`], [`json`] | records from the files, beside a writer or offline |
//! | [`proof`] | proofs offline, one pass over the leaves |
//! | [`MemoryLog`] | for a service that writes nothing |
//! | [`verify`](mod@verify) | the whole log offline; shares only definitions with the writer |
//!
//! Keys are used through [`note::NoteSigner`] and [`note::NoteVerifier`], so this crate knows no algorithm but SHA-256.
//!
//! # What is promised
//!
//! `queued`: an append returns when the record is in a preallocated, memory-mapped file. A killed process loses none; a
//! power cut at most those of the last flush interval. `fsync`: it returns when the record is on disk; appends that
//! wait together share one sync. A checkpoint is handed out after the log, then the anchor, then the checkpoint itself are
//! durable, so the newest one that anybody has is a prefix of the log and no larger than the anchor. After a failed sync the
//! writer has stopped for good: the kernel may have dropped the pages and would call the next sync a success.
//!
//! # What is refused
//!
//! When a log is opened, everything beyond the last checkpoint is read and the tree compared with that checkpoint and
//! with the anchor. Records torn at the very end are dropped, reported, and said in the log (`scan.rs` has the rules). All
//! else is a typed error that names the record, and nothing is written. Disagreement with the anchor, or an audit
//! key that the chain does not lead to, can be overridden by an operator; the override is a record.
//!
//! # Why it is built like this
//!
//! - **A segment's header holds the tree before it**, at most 64 hashes. So a log opens by reading its last segment, and goes
//!   on when those before are archived.
//! - **Records are dropped by the segment, and their leaf hashes stay** (`hashes-00`). That is what `drop-oldest` and
//!   retention both do: a record says which leaves are hashes only, before they are; proofs go on. The queue that
//!   runs full is the preallocated file itself: nothing acknowledged is ever in memory only.
//! - **Origins begin with `ron-kms/`** always, for other services too (`ron-kms/svc-passport/eu-1`): C2SP says which bytes a
//!   log signs, and every sign API refuses messages that begin so.
//! - **A change of audit keys is a record signed by the keys before**, and the first checkpoint after it is signed by both.
//! - **A device that seals the log signs under a name of its own** (`#device`), beside the audit keys: whoever knows only those reads
//!   the note as before. Whether its line is required is a record. Where that is pruned, or before what is read, only
//!   the file of keys and the lines themselves say so: who verifies pins the device.
//! - **Checkpoints are appended to one file**, each synced once: a rename for each would sync a directory too.
//!
//! Restoring an older copy of the directory together with its anchor goes unnoticed; only a witness, or whoever kept a
//! checkpoint, can tell.

#[cfg(unix)]
mod background;
#[cfg(unix)]
mod changes;
pub mod checkpoint;
mod checkpoint_reader;
#[cfg(unix)]
mod checkpoints;
mod codec;
#[cfg(unix)]
mod config;
#[cfg(unix)]
mod device;
pub mod error;
pub mod export;
#[cfg(unix)]
mod hashes;
pub mod json;
#[cfg(unix)]
mod key_file;
mod layout;
#[cfg(unix)]
mod log;
#[cfg(unix)]
mod memory;
pub mod merkle;
pub mod note;
#[cfg(unix)]
mod open;
pub mod proof;
pub mod reader;
pub mod record;
#[cfg(unix)]
mod scan;
#[cfg(unix)]
mod sealing;
#[cfg(unix)]
mod segment;
#[cfg(unix)]
mod settle;
#[cfg(unix)]
mod shared;
#[cfg(unix)]
mod signing;
#[cfg(unix)]
mod sink;
pub mod verify;
#[cfg(unix)]
mod writer;

#[cfg(unix)]
pub use checkpoints::SignedCheckpoint;
#[cfg(unix)]
pub use config::{Config, Durability, OnFull, OpenReport, Override, Parts};
#[cfg(unix)]
pub use device::{Device, Sealer};
pub use error::{AnchorFault, AuditError, Damage, Malformed};
#[cfg(unix)]
pub use log::{AuditLog, Status};
#[cfg(unix)]
pub use memory::MemoryLog;

#[cfg(test)]
#[path = "tests/own_vectors.rs"]
mod own_vectors;
#[cfg(test)]
#[cfg(unix)]
#[path = "tests/beside.rs"]
mod test_beside;
#[cfg(test)]
#[cfg(unix)]
#[path = "tests/crash.rs"]
mod test_crash;
#[cfg(test)]
#[cfg(unix)]
#[path = "tests/damage.rs"]
mod test_damage;
#[cfg(test)]
#[cfg(unix)]
#[path = "tests/export.rs"]
mod test_export;
#[cfg(test)]
#[path = "tests/keys.rs"]
mod test_keys;
#[cfg(test)]
#[cfg(unix)]
#[path = "tests/log.rs"]
mod test_log;
#[cfg(test)]
#[cfg(unix)]
#[path = "tests/sealing.rs"]
mod test_sealing;
#[cfg(test)]
#[cfg(unix)]
#[path = "tests/support.rs"]
mod test_support;
