//! What an open log is made of, and how its records are kept: hashes for proofs, segments that are given up.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use kms_durable::Dir;

use crate::checkpoints::{CheckpointFile, SignedCheckpoint};
use crate::config::Parts;
use crate::error::{AuditError, Damage, Result};
use crate::hashes::HashFiles;
use crate::layout::{hashes_name, segment_name};
use crate::merkle::{Hash, range_root};
use crate::note::NoteSigner;
use crate::open::{self, durable};
use crate::record::Dropped;
use crate::sealing::Sealing;
use crate::settle::Settling;
use crate::writer::Writer;

/// All that the log's own thread works on too.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) dir: Dir,
    pub(crate) writer: Writer,
    pub(crate) parts: Parts,
    pub(crate) signers: Mutex<Vec<Arc<dyn NoteSigner>>>,
    pub(crate) hashes: Mutex<Option<HashFiles>>,
    /// Held while one is made, however long that takes.
    pub(crate) checkpoints: Mutex<CheckpointFile>,
    /// The last one; held for a moment only.
    pub(crate) latest: Mutex<Option<Arc<SignedCheckpoint>>>,
    /// The device that signs beside the signers, where there is one.
    pub(crate) sealing: Option<Sealing>,
    /// The number of the first segment that is there; held while segments are removed.
    pub(crate) first_segment: Mutex<u32>,
    pub(crate) dropped_verifications: AtomicU64,
    /// Records of operations that were not taken.
    pub(crate) refused_records: AtomicU64,
    pub(crate) checkpoints_made: AtomicU64,
    pub(crate) checkpoints_failed: AtomicU64,
    pub(crate) settling: Settling,
    /// When the last checkpoint was made; 0 for none.
    pub(crate) checkpoint_at_ms: AtomicU64,
}

impl Shared {
    /// Runs `make` on the hash files, which have been checked, with the root of the first `size` records.
    pub(crate) fn with_hashes<T>(
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

    pub(crate) fn prune(&self, before: u64, archive: Option<&Path>) -> Result<u64> {
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
        Ok((end <= self.covered()?).then_some(end))
    }

    /// The last checkpoint.
    pub(crate) fn latest(&self) -> Result<Option<Arc<SignedCheckpoint>>> {
        Ok(self.latest.lock().map_err(|_| AuditError::Stopped)?.clone())
    }

    /// Records that it covers.
    pub(crate) fn covered(&self) -> Result<u64> {
        Ok(self.latest()?.map_or(0, |it| it.checkpoint.size))
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
