//! The log: opened, appended to, asked for checkpoints and proofs, closed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use kms_durable::{Dir, DirLock};

use crate::background;
use crate::checkpoint::Checkpoint;
use crate::checkpoints::{CheckpointFile, SignedCheckpoint};
use crate::config::{Config, Durability, OpenReport, Override, Parts};
use crate::error::{AuditError, Damage, Result};
use crate::hashes::HashFiles;
use crate::layout::{KEYS, hashes_name, segment_name};
use crate::merkle::{
    Hash, Nodes, consistency_proof, inclusion_proof, range_root, verify_consistency,
    verify_inclusion,
};
use crate::note::NoteSigner;
use crate::open::{self, boot_id, durable};
use crate::record::{AuditKey, AuditKeys, Body, Dropped, Opened, Override as OverrideRecord};
use crate::settle::{self, Settling};
use crate::writer::{Writer, checked, fit};

/// An open log. Appends, checkpoints and proofs may be asked for from many threads at once; dropping it makes a last
/// checkpoint and joins its thread.
pub struct AuditLog {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    report: OpenReport,
    lock: Mutex<Option<DirLock>>,
}

/// All that the log's own thread works on too.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) dir: Dir,
    pub(crate) writer: Writer,
    pub(crate) parts: Parts,
    pub(crate) signers: Mutex<Vec<Arc<dyn NoteSigner>>>,
    pub(crate) hashes: Mutex<Option<HashFiles>>,
    pub(crate) checkpoints: Mutex<CheckpointFile>,
    /// The number of the first segment that is there; held while segments are removed.
    pub(crate) first_segment: Mutex<u32>,
    pub(crate) dropped_verifications: AtomicU64,
    /// Records of operations that were not taken.
    pub(crate) refused_records: AtomicU64,
    checkpoints_made: AtomicU64,
    checkpoints_failed: AtomicU64,
    pub(crate) settling: Settling,
    /// When the last checkpoint was made; 0 for none.
    checkpoint_at_ms: AtomicU64,
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
        let opened = open::open(path, &config, &parts, decision)?;
        let began = opened.report.records == 0;
        let new_keys = opened.new_keys;
        let shared = Arc::new(Shared {
            path: opened.path,
            dir: opened.dir,
            writer: Writer::new(config, parts.clock.clone(), opened.tail),
            signers: Mutex::new(parts.signers.clone()),
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
        shared.first_records(
            &opened.report,
            began,
            new_keys,
            opened.overridden.as_ref(),
            decision,
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
        let checkpoints = self.shared.checkpoints.lock().map_err(|_| AuditError::Stopped)?;
        checkpoints.latest.clone().ok_or(AuditError::NotFound("checkpoint"))
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
        // One lock after the other: checkpoints take them the other way round.
        let tail = shared
            .writer
            .tail()
            .map(|tail| (tail.frontier.size(), tail.spare.is_some() || !tail.no_space));
        let covered = shared.checkpoints.lock().ok().and_then(|it| it.latest.clone());
        let (size, writable) = tail.unwrap_or_default();
        Status {
            size,
            checkpoint_size: covered.map_or(0, |it| it.checkpoint.size),
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

impl Shared {
    /// Says in the log that it was begun or opened, and what was overridden.
    fn first_records(
        &self,
        report: &OpenReport,
        began: bool,
        new_keys: bool,
        overridden: Option<&kms_core::AnchorState>,
        decision: Option<&Override>,
    ) -> Result<()> {
        if began {
            self.submit_keys(&[])?;
        }
        let opened = Opened {
            software: env!("CARGO_PKG_VERSION"),
            boot: boot_id(),
            dropped_bytes: report.dropped_bytes,
        };
        self.writer.submit(Body::Opened(opened))?;
        for refused in &report.overridden {
            self.writer.submit(Body::Override(OverrideRecord {
                actor: checked("actor", decision.map_or("", |it| &it.actor))?,
                refused: &fit(refused),
                anchor_size: overridden.map_or(0, |it| it.log_size),
                anchor_root: overridden.map_or([0; 32], |it| it.log_root),
            }))?;
        }
        if new_keys && !began {
            self.submit_keys(&[])?;
        }
        Ok(())
    }

    fn signers(&self) -> Result<Vec<Arc<dyn NoteSigner>>> {
        Ok(self.signers.lock().map_err(|_| AuditError::Stopped)?.clone())
    }

    fn submit_keys(&self, signatures: &[Vec<u8>]) -> Result<u64> {
        let signers = self.signers()?;
        let origin = self.writer.config.origin.as_str();
        let signatures = signatures.iter().map(Vec::as_slice).collect();
        let keys = public_keys(&signers);
        self.writer.submit(Body::AuditKeys(AuditKeys { origin, keys, signatures }))
    }

    /// The file of keys, where it says something else.
    fn write_keys(&self) -> Result<()> {
        self.write_keys_of(&self.signers()?)
    }

    fn write_keys_of(&self, signers: &[Arc<dyn NoteSigner>]) -> Result<()> {
        let text: String = signers.iter().map(|it| format!("{}\n", it.key())).collect();
        let there = self.dir.read(KEYS, crate::note::MAX_NOTE);
        if there.is_ok_and(|bytes| bytes == text.as_bytes()) {
            return Ok(());
        }
        // The record that names these keys is durable first.
        self.writer.flush()?;
        self.dir.replace(KEYS, text.as_bytes()).map_err(|error| {
            if error.is_in_doubt() {
                self.writer.stop();
            }
            durable("write the keys")(error)
        })
    }

    fn head(&self) -> Result<(u64, Hash)> {
        let tail = self.writer.tail()?;
        Ok((tail.frontier.size(), tail.frontier.root()))
    }

    pub(crate) fn checkpoint(&self) -> Result<Arc<SignedCheckpoint>> {
        let mut file = self.checkpoints.lock().map_err(|_| AuditError::Stopped)?;
        self.checkpoint_into(&mut file)
    }

    /// In this order: log durable, anchor durable, checkpoint durable, handed out. The signers are those of now: they
    /// change under the same lock.
    fn checkpoint_into(&self, file: &mut CheckpointFile) -> Result<Arc<SignedCheckpoint>> {
        let made = self.make_checkpoint(file);
        if made.is_err() {
            self.checkpoints_failed.fetch_add(1, Ordering::Relaxed);
        }
        made
    }

    fn make_checkpoint(&self, file: &mut CheckpointFile) -> Result<Arc<SignedCheckpoint>> {
        let signers = self.signers()?;
        let (size, root) = self.head()?;
        if let Some(latest) = file.latest.as_ref().filter(|it| it.checkpoint.size == size) {
            return Ok(latest.clone());
        }
        self.writer.flush()?;
        let origin = self.writer.config.origin.as_str().to_owned();
        let checkpoint = Checkpoint { origin, size, root };
        let signers: Vec<&dyn NoteSigner> = signers.iter().map(|it| &**it).collect();
        let note = checkpoint.sign(&signers, self.parts.clock.unix_ms() / 1000)?.to_string();
        self.parts.anchor.advance_log(size, &root)?;
        file.append(&note).map_err(|(stop, error)| {
            if stop {
                self.writer.stop();
            }
            AuditError::Io("write a checkpoint", error)
        })?;
        let signed = Arc::new(SignedCheckpoint { checkpoint, note });
        file.latest = Some(signed.clone());
        self.checkpoint_at_ms.store(self.parts.clock.unix_ms(), Ordering::Relaxed);
        self.checkpoints_made.fetch_add(1, Ordering::Relaxed);
        Ok(signed)
    }

    fn rotate_keys(&self, new: Vec<Arc<dyn NoteSigner>>) -> Result<Arc<SignedCheckpoint>> {
        let origin = self.writer.config.origin.as_str();
        if new.is_empty() || new.iter().any(|it| it.key().name() != origin) {
            return Err(AuditError::AuditKey("its name is not the log's origin"));
        }
        // No checkpoint by the wrong keys may come between the record and the one that covers it.
        let mut file = self.checkpoints.lock().map_err(|_| AuditError::Stopped)?;
        let old = self.signers()?;
        let keys = public_keys(&new);
        let statement = AuditKeys::statement(origin, &keys)?;
        let signatures =
            old.iter().map(|it| it.sign(&statement)).collect::<kms_core::Result<Vec<_>>>()?;
        let signatures = signatures.iter().map(Vec::as_slice).collect();
        self.writer.submit(Body::AuditKeys(AuditKeys { origin, keys, signatures }))?;
        // By both: whether or not the file of keys is replaced before a crash, the last checkpoint fits it; and if
        // the next steps fail, so do later checkpoints.
        self.set_signers(old.iter().chain(&new).cloned().collect())?;
        let signed = self.checkpoint_into(&mut file)?;
        self.write_keys_of(&new)?;
        self.set_signers(new)?;
        Ok(signed)
    }

    fn set_signers(&self, signers: Vec<Arc<dyn NoteSigner>>) -> Result<()> {
        *self.signers.lock().map_err(|_| AuditError::Stopped)? = signers;
        Ok(())
    }

    /// Runs `make` on the hash files, which have been checked, with the root of the first `size` records.
    fn with_hashes<T>(
        &self,
        size: u64,
        make: impl FnOnce(&HashFiles, &Hash) -> std::io::Result<Option<T>>,
    ) -> Result<T> {
        let mut hashes = self.hashes.lock().map_err(|_| AuditError::Stopped)?;
        let (head, root) = self.drain_leaves(&mut hashes)?;
        let hashes = hashes.as_ref().ok_or(AuditError::NotFound("hashes"))?;
        if size > head {
            return Err(AuditError::NotFound("size"));
        }
        let fail = open::io("read the hashes");
        let wrong = || {
            AuditError::Damaged(Damage {
                seq: None,
                file: hashes_name(0).into(),
                offset: 0,
                why: "the hashes kept for proofs do not give the root".into(),
            })
        };
        // The files are not trusted: they must give the root of the writer's own tree.
        if range_root(hashes, 0, head).map_err(&fail)? != root {
            return Err(wrong());
        }
        let root = range_root(hashes, 0, size).map_err(&fail)?;
        make(hashes, &root)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => AuditError::NotFound("record"),
                _ => fail(error),
            })?
            .ok_or_else(wrong)
    }

    /// Moves leaves from memory into the hash files.
    pub(crate) fn write_hashes(&self) -> Result<()> {
        let mut hashes = self.hashes.lock().map_err(|_| AuditError::Stopped)?;
        self.drain_leaves(&mut hashes).map(|_| ())
    }

    /// The same, with the files locked; gives size and root of the tree that the files then have.
    fn drain_leaves(&self, hashes: &mut Option<HashFiles>) -> Result<(u64, Hash)> {
        let (leaves, head) = {
            let mut tail = self.writer.tail()?;
            let head = (tail.frontier.size(), tail.frontier.root());
            (std::mem::take(&mut tail.leaves), head)
        };
        let Some(files) = hashes.as_mut() else { return Ok(head) };
        if let Err(error) = files.push(&leaves) {
            // No space, most likely: they wait in memory.
            self.writer.tail()?.leaves.splice(0..0, leaves);
            return Err(AuditError::Io("write the hashes", error));
        }
        Ok(head)
    }

    fn prune(&self, before: u64, archive: Option<&Path>) -> Result<u64> {
        let mut first = self.first_segment.lock().map_err(|_| AuditError::Stopped)?;
        loop {
            let begin = open::header_of(&self.path, *first)?.frontier.size();
            let Some(end) = self.droppable(*first)?.filter(|end| *end <= before) else {
                return Ok(begin);
            };
            self.say_dropped(begin, end)?;
            let name = segment_name(*first);
            match archive {
                None => self.dir.remove(&name).map_err(durable("remove a segment"))?,
                Some(archive) => {
                    let move_it = || {
                        std::fs::rename(self.path.join(&name), archive.join(&name))?;
                        std::fs::File::open(archive)?.sync_all()
                    };
                    move_it().map_err(open::io("archive a segment"))?;
                    self.dir.sync().map_err(durable("sync the directory"))?;
                }
            }
            *first += 1;
        }
    }

    /// The index after the last record of a segment, where it is sealed and a checkpoint covers all of it.
    pub(crate) fn droppable(&self, segment: u32) -> Result<Option<u64>> {
        if segment >= self.writer.tail()?.number {
            return Ok(None);
        }
        let end = open::header_of(&self.path, segment + 1)?.frontier.size();
        let checkpoints = self.checkpoints.lock().map_err(|_| AuditError::Stopped)?;
        let covered = checkpoints.latest.as_ref().map_or(0, |it| it.checkpoint.size);
        Ok((end <= covered).then_some(end))
    }

    /// Makes durable that these records are there as hashes only, and the hashes, before the records go.
    pub(crate) fn say_dropped(&self, first: u64, end: u64) -> Result<()> {
        self.write_hashes()?;
        let hashes = self.hashes.lock().map_err(|_| AuditError::Stopped)?;
        let hashes = hashes.as_ref().ok_or(AuditError::NotFound("hashes"))?;
        hashes.sync().map_err(open::io("sync the hashes"))?;
        self.writer.submit_dropped(Dropped { first, count: end - first })?;
        self.writer.flush().map(|_| ())
    }
}

fn public_keys(signers: &[Arc<dyn NoteSigner>]) -> Vec<AuditKey<'_>> {
    signers
        .iter()
        .map(|it| AuditKey { algorithm: it.key().algorithm(), public: it.key().public() })
        .collect()
}
