//! The log: opened, appended to, asked for checkpoints and proofs, closed.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use kms_durable::DirLock;

use crate::background;
use crate::checkpoints::SignedCheckpoint;
use crate::config::{Config, Durability, OpenReport, Override, Parts};
use crate::error::{AuditError, Result};
use crate::merkle::{
    Hash, Nodes as _, consistency_proof, inclusion_proof, range_root, verify_consistency,
    verify_inclusion,
};
use crate::note::{NoteKey, NoteSigner};
use crate::open;
use crate::record::{Body, MAX_RECORD};
use crate::sealing::{self, Sealing};
use crate::settle::{self, Settling};
use crate::shared::Shared;
use crate::writer::Writer;

/// An open log. Appends, checkpoints and proofs may be asked for from many threads at once; dropping it makes a last
/// checkpoint and joins its thread.
pub struct AuditLog {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    report: OpenReport,
    lock: Mutex<Option<DirLock>>,
}

/// What can be said about a log while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Records.
    pub size: u64,
    /// Records that the last checkpoint covers.
    pub checkpoint_size: u64,
    /// Whether it takes records: it was not stopped by a failed write or sync, and has room.
    pub writable: bool,
    /// When that was made by this process, in Unix milliseconds.
    pub checkpoint_at_ms: Option<u64>,
    /// Verification summaries that were dropped since the log was opened.
    pub dropped_verifications: u64,
    /// Records of operations that were not taken since then.
    pub refused_records: u64,
    /// Checkpoints that were made since then.
    pub checkpoints_made: u64,
    /// Attempts to make one that failed since then.
    pub checkpoints_failed: u64,
}

impl AuditLog {
    /// Opens the log in a directory, or begins one where there is none; its parent must be there. With `decision`, an
    /// operator's, some refusals are overridden and recorded.
    ///
    /// # Errors
    /// `Locked` while another process has it open; `Damaged` and `Checkpoint` where something is not as it was
    /// written; `Anchor` where log and anchor disagree; `AuditKey` where the signers are not the log's.
    pub fn open(
        path: &Path,
        config: Config,
        parts: Parts,
        decision: Option<&Override>,
    ) -> Result<AuditLog> {
        let mut opened = open::open(path, &config, &parts, decision)?;
        let began = opened.report.records == 0;
        let new_keys = opened.new_keys;
        let shared = Arc::new(Shared {
            path: opened.path,
            dir: opened.dir,
            writer: Writer::new(config, parts.clock.clone(), opened.tail),
            signers: Mutex::new(parts.signers.clone()),
            sealing: opened.device.by.as_ref().map(|it| Sealing::new(Arc::clone(&it.signer))),
            latest: Mutex::new(opened.checkpoints.latest.take()),
            parts,
            hashes: Mutex::new(opened.hashes),
            checkpoints: Mutex::new(opened.checkpoints),
            first_segment: Mutex::new(opened.first_segment),
            dropped_verifications: AtomicU64::new(0),
            refused_records: AtomicU64::new(0),
            checkpoints_made: AtomicU64::new(0),
            checkpoints_failed: AtomicU64::new(0),
            settling: Settling::default(),
            checkpoint_at_ms: AtomicU64::new(0),
        });
        // Where the process before ended with its segment full, and before there was another, there is no thread yet that
        // would make one.
        if !shared.writer.tail()?.fits(MAX_RECORD) {
            background::reserve(&shared)?;
        }
        shared.first_records(
            &mut opened.report,
            began,
            new_keys,
            opened.overridden.as_ref(),
            decision,
            opened.device,
        )?;
        shared.write_keys()?;
        if opened.overridden.is_some() {
            let (size, root) = shared.head()?;
            shared.writer.flush()?;
            shared.parts.anchor.override_with(Some((size, root)), None)?;
        }
        shared.checkpoint()?;
        let mut threads = vec![background::start(shared.clone())?];
        if shared.writer.config.durability == Durability::Fsync {
            threads.push(settle::start(shared.clone())?);
        }
        threads.extend(sealing::start(&shared)?);
        let (threads, lock) = (Mutex::new(threads), Mutex::new(Some(opened.lock)));
        Ok(AuditLog { shared, threads, report: opened.report, lock })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// What was found when it was opened.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Appends a record and waits for what the durability promises; gives its index.
    ///
    /// # Errors
    /// `Malformed` for a record that does not fit; `Full` and `Backlog` where it could be appended later; `Stopped` or
    /// `Io` when nothing will be. After any of them nothing may be acknowledged; after `Stopped` and `Io` from the
    /// wait, the record may be in the log all the same.
    pub fn append(&self, body: Body<'_>) -> Result<u64> {
        self.shared.writer.append(body)
    }

    /// Appends a record without waiting for the disk, in `fsync` durability too; [`AuditLog::wait_durable`] is for
    /// callers that wait elsewhere, or for many records at once.
    ///
    /// # Errors
    /// As [`AuditLog::append`].
    pub fn submit(&self, body: Body<'_>) -> Result<u64> {
        self.shared.writer.submit(body)
    }

    /// Waits until the record with this index, and all before it, are on disk.
    ///
    /// # Errors
    /// `NotFound` where there is none; `Io` and `Stopped` when a sync failed.
    pub fn wait_durable(&self, index: u64) -> Result<()> {
        if index >= self.shared.writer.tail()?.frontier.size() {
            return Err(AuditError::NotFound("record"));
        }
        self.shared.writer.wait_durable(index)
    }

    /// Makes a checkpoint of all records, or gives the last one if it covers them. Log and anchor are durable
    /// before it is given.
    ///
    /// # Errors
    /// `Io` and `Stopped` when a sync failed; `Other` from signer and anchor.
    pub fn checkpoint_now(&self) -> Result<Arc<SignedCheckpoint>> {
        self.shared.checkpoint()
    }

    /// The last checkpoint.
    ///
    /// # Errors
    /// `Stopped` after a panic.
    pub fn latest_checkpoint(&self) -> Result<Arc<SignedCheckpoint>> {
        self.shared.latest()?.ok_or(AuditError::NotFound("checkpoint"))
    }

    /// The key of the device that seals it, where one does.
    pub fn device(&self) -> Option<&NoteKey> {
        self.shared.sealing.as_ref().map(|it| it.device().key())
    }

    /// Whether operations may be recorded, where a device seals the log.
    ///
    /// # Errors
    /// `StoreUnavailable`, with the cause, from a checkpoint that the device did not sign to the next that it did.
    pub fn check_sealed(&self) -> kms_core::Result<()> {
        self.shared.sealing.as_ref().map_or(Ok(()), Sealing::check)
    }

    /// Has a checkpoint made soon, without waiting for the device; for a log that one seals.
    pub fn ask_for_checkpoint(&self) {
        if let Some(sealing) = &self.shared.sealing {
            sealing.ask();
        }
    }

    /// The leaf hash of a record, and its audit path in the tree of the first `size` records.
    ///
    /// # Errors
    /// `NotFound` unless `index` < `size` ≤ the records there are; `Damaged` where the hashes that are kept do
    /// not give the root.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<(Hash, Vec<Hash>)> {
        self.shared.with_hashes(size, |hashes, root| {
            let leaf = hashes.node(0, index)?;
            let proof = inclusion_proof(hashes, index, size)?.unwrap_or_default();
            let holds = verify_inclusion(&leaf, index, size, &proof, root);
            Ok(holds.then_some((leaf, proof)))
        })
    }

    /// The proof that the first `old` records are a prefix of the first `new`.
    ///
    /// # Errors
    /// As [`AuditLog::inclusion_proof`], for 0 < `old` ≤ `new`.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>> {
        if old == 0 || old > new {
            return Err(AuditError::NotFound("size"));
        }
        self.shared.with_hashes(new, |hashes, root| {
            let old_root = range_root(hashes, 0, old)?;
            let proof = consistency_proof(hashes, old, new)?.unwrap_or_default();
            Ok(verify_consistency(old, new, &proof, &old_root, root).then_some(proof))
        })
    }

    /// Has other keys sign from here on: the keys until now sign a record that says so, and the next
    /// checkpoint together with the new ones.
    ///
    /// # Errors
    /// `AuditKey` for keys of another name; otherwise as [`AuditLog::checkpoint_now`], and both sets of keys may sign then.
    pub fn rotate_audit_keys(
        &self,
        signers: Vec<Arc<dyn NoteSigner>>,
    ) -> Result<Arc<SignedCheckpoint>> {
        self.shared.rotate_keys(signers)
    }

    /// Ends the use of sealed segments that hold only records below `before`, and that a checkpoint covers: moves them
    /// into `archive`, a directory of the same file system, or removes them. Hashes stay, so proofs go on. Gives the first
    /// record that is still there.
    ///
    /// # Errors
    /// `Io`; as [`AuditLog::append`], for the record that says what was taken.
    pub fn prune(&self, before: u64, archive: Option<&Path>) -> Result<u64> {
        self.shared.prune(before, archive)
    }

    /// How it is.
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let tail = shared
            .writer
            .tail()
            .map(|tail| (tail.frontier.size(), tail.spare.is_some() || !tail.no_space));
        let covered = shared.covered().unwrap_or_default();
        let (size, writable) = tail.unwrap_or_default();
        Status {
            size,
            checkpoint_size: covered,
            checkpoint_at_ms: match shared.checkpoint_at_ms.load(Ordering::Relaxed) {
                0 => None,
                at => Some(at),
            },
            writable,
            dropped_verifications: shared.dropped_verifications.load(Ordering::Relaxed),
            refused_records: shared.refused_records.load(Ordering::Relaxed),
            checkpoints_made: shared.checkpoints_made.load(Ordering::Relaxed),
            checkpoints_failed: shared.checkpoints_failed.load(Ordering::Relaxed),
        }
    }

    /// Makes a last checkpoint and takes no more records; another process may open the log then.
    pub fn close(&self) {
        if let Ok(mut tail) = self.shared.writer.tail() {
            tail.closing = true;
        }
        self.shared.writer.work.notify_all();
        self.shared.settling.close();
        if let Some(sealing) = &self.shared.sealing {
            sealing.close();
        }
        let threads = self.threads.lock().map(|mut threads| std::mem::take(&mut *threads));
        for thread in threads.unwrap_or_default() {
            // A panic of a thread has poisoned what it held, which stopped the log.
            let _ = thread.join();
        }
        self.shared.writer.stop();
        if let Ok(mut lock) = self.lock.lock() {
            lock.take();
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.close();
    }
}
