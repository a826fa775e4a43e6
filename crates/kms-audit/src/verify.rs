//! Verifies a whole log offline: every record, the tree over them, every checkpoint, every change of audit keys and every
//! continuity proof.
//!
//! It streams, so ten million records take no more memory than ten, and names the first thing that is wrong.
//! It trusts nothing that the writer wrote down for itself: the tree is built anew from the records.

mod continuity;
mod device;
mod keys;
mod report;

use std::fs::File;
use std::io::BufReader;
use std::ops::ControlFlow;
use std::path::Path;

use self::continuity::Chains;
pub use self::continuity::Continuities;
pub use self::device::SealedBy;
use self::device::{Device, Fault, UNSEALED};
use self::keys::{Keys, signed_by_all};
pub use self::report::{Expect, MAX_REMARKS, Outcome, Progress, Report};
use crate::checkpoint::{Checkpoint, is_device};
use crate::checkpoint_reader::{CheckpointReader, Stored};
use crate::error::{AuditError, Damage, Malformed, Result};
use crate::layout::{CHECKPOINTS, KEYS, hashes_name, segment_name};
use crate::merkle::{Frontier, Hash};
use crate::note::{Note, NoteKey, NoteVerifier};
use crate::reader::{Entry, Next, Records, read_up_to};
use crate::record::Body;

/// Verifies the log in a directory; it may be open for writing. `progress` is told every few thousand records, and
/// can stop it.
///
/// # Errors
/// `Io` and `NotFound` when there is nothing to read, `Malformed` for a kept note that is no checkpoint, `Interrupted`.
/// What is wrong with a log is in the report.
pub fn verify(
    dir: &Path,
    verifier: &dyn NoteVerifier,
    expect: Expect<'_>,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Report> {
    let kept = expect
        .kept
        .iter()
        .map(|note| Ok((Checkpoint::parse(&note.text)?, note)))
        .collect::<Result<_, Malformed>>()?;
    let (devices, audit_keys): (Vec<_>, Vec<_>) =
        expect.keys.unwrap_or_default().iter().cloned().partition(is_device);
    // A device alone says nothing of the audit keys.
    let pinned = expect.keys.is_some() && (devices.is_empty() || !audit_keys.is_empty());
    let mut run = Run {
        dir,
        verifier,
        expect,
        kept,
        // Records that these cover are in their segments before the checkpoints are in their file.
        checkpoints: CheckpointReader::open(dir)?,
        pending: None,
        last: None,
        keys: Keys::new(verifier, pinned.then_some(audit_keys)),
        device: Device::new(verifier, devices),
        chains: Chains::default(),
        dropped_until: 0,
        seen_root: None,
        report: Report {
            outcome: Outcome::Intact,
            first_bad: None,
            first: 0,
            size: 0,
            root: Frontier::default().root(),
            checkpoints: 0,
            covered: 0,
            keys: Vec::new(),
            sealed_by: None,
            continuity: Continuities::default(),
            remarks: Vec::new(),
        },
    };
    let mut tree = Frontier::default();
    let verdict = run.all(&mut tree, progress);
    let mut report = run.report;
    match verdict {
        Ok(()) => {}
        Err(Stop::Bad(outcome, damage)) => {
            report.outcome = outcome;
            report.first_bad = Some(damage);
        }
        Err(Stop::Error(error)) => return Err(error),
    }
    report.size = tree.size();
    report.root = tree.root();
    report.keys = run.keys.now.unwrap_or_default();
    report.sealed_by = run.device.into_sealed_by();
    report.continuity = run.chains.counts;
    Ok(report)
}

enum Stop {
    Bad(Outcome, Damage),
    Error(AuditError),
}

impl From<AuditError> for Stop {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Damaged(damage) => Stop::Bad(Outcome::Damaged, damage),
            error => Stop::Error(error),
        }
    }
}

struct Run<'a> {
    dir: &'a Path,
    verifier: &'a dyn NoteVerifier,
    expect: Expect<'a>,
    /// What the caller kept and was not reached yet.
    kept: Vec<(Checkpoint, &'a Note)>,
    checkpoints: CheckpointReader,
    /// The next checkpoint, whose size was not reached yet.
    pending: Option<Stored>,
    last: Option<Checkpoint>,
    keys: Keys<'a>,
    device: Device<'a>,
    chains: Chains,
    dropped_until: u64,
    seen_root: Option<Hash>,
    report: Report,
}

impl Run<'_> {
    fn all(
        &mut self,
        tree: &mut Frontier,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let mut records = Records::first(self.dir)?;
        let of_bytes = records.bytes_from_here()?;
        let mut bytes = 0;
        let mut tell = |records, bytes| match progress(Progress { records, bytes, of_bytes }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Error(AuditError::Interrupted)),
        };
        *tree = records.segment_frontier().clone();
        self.report.first = tree.size();
        if tree.size() > 0 {
            self.pruned(tree)?;
        }
        // What was read there and not reached is still to be checked.
        if self.pending.is_none() {
            self.advance()?;
        }
        self.at(tree)?;
        let mut segment = records.segment_number();
        loop {
            let entry = match records.next()? {
                Next::Record(entry) => entry,
                Next::End => break,
                Next::Broken { damage, torn } => {
                    let covered = self.pending.is_some();
                    let outcome = if torn && !covered { Outcome::Torn } else { Outcome::Damaged };
                    return Err(Stop::Bad(outcome, damage));
                }
            };
            self.record(&entry)?;
            let (seq, leaf, number) = (entry.record.seq, entry.leaf, entry.segment);
            bytes += entry.frame_len();
            if number != segment {
                segment = number;
                if records.segment_frontier() != tree {
                    let damage = Damage {
                        seq: Some(seq),
                        file: segment_name(number).into(),
                        offset: 0,
                        why: "the segment does not follow the one before it".into(),
                    };
                    return Err(Stop::Bad(Outcome::Damaged, damage));
                }
            }
            tree.push(leaf);
            self.at(tree)?;
            if seq.is_multiple_of(4096) {
                tell(seq, bytes)?;
            }
        }
        tell(tree.size(), bytes)?;
        self.finish(tree)
    }

    /// What a record says about the log itself, and the proofs in it.
    fn record(&mut self, entry: &Entry<'_>) -> Result<(), Stop> {
        let seq = entry.record.seq;
        let bad = |why: &'static str| Damage {
            seq: Some(seq),
            file: segment_name(entry.segment).into(),
            offset: entry.offset,
            why: why.into(),
        };
        match &entry.record.body {
            Body::AuditKeys(it) => match self.keys.change(it, &bad, seq) {
                Ok(None) => {}
                Ok(Some(remark)) => self.remark(|| format!("record {seq}: {remark}")),
                Err(why) => return Err(Stop::Bad(Outcome::BadAuditKey, bad(why))),
            },
            _ if seq == 0 => {
                let why = "the log does not begin with its keys";
                return Err(Stop::Bad(Outcome::BadAuditKey, bad(why)));
            }
            Body::Continuity(it) => self
                .chains
                .check(it, self.verifier)
                .map_err(|why| Stop::Bad(Outcome::Damaged, bad(why)))?,
            Body::Sealing(it) => {
                let keys = self.keys.known();
                match self.device.change(it, self.last.as_ref(), keys, &bad, seq) {
                    Ok(None) => {}
                    Ok(Some(remark)) => self.remark(|| format!("record {seq}: {remark}")),
                    Err(why) => return Err(Stop::Bad(Outcome::BadAuditKey, bad(why))),
                }
            }
            Body::Override(it) => {
                self.remark(|| format!("record {seq}: {} overrode: {}", it.actor, it.refused));
            }
            Body::Dropped(it) => self.dropped_until = it.first + it.count,
            Body::Opened(it) if it.dropped_bytes > 0 => self.remark(|| {
                let bytes = it.dropped_bytes;
                format!("record {seq}: {bytes} bytes of torn records were dropped before it")
            }),
            _ => {}
        }
        Ok(())
    }

    fn remark(&mut self, remark: impl FnOnce() -> String) {
        let remarks = &mut self.report.remarks;
        match remarks.len() {
            ..MAX_REMARKS => remarks.push(remark()),
            MAX_REMARKS => remarks.push("there are more remarks".into()),
            _ => {}
        }
    }

    /// The tree has this size now: does a checkpoint, or what the caller saw, know it?
    fn at(&mut self, tree: &Frontier) -> Result<(), Stop> {
        if self.expect.seen.is_some_and(|(size, _)| size == tree.size()) {
            self.seen_root = Some(tree.root());
        }
        if !self.kept.is_empty() {
            self.kept_at(tree)?;
        }
        while let Some(Stored { checkpoint, note, offset }) =
            self.pending.take_if(|it| it.checkpoint.size <= tree.size())
        {
            let bad = |why| checkpoint_fault(Outcome::BadCheckpoint, offset, why);
            if checkpoint.size == tree.size() && checkpoint.root != tree.root() {
                return Err(bad("the checkpoint has another root than the records"));
            }
            if let Some(why) = self.last.as_ref().and_then(|last| last.contradicts(&checkpoint)) {
                return Err(bad(why));
            }
            self.keys.check(&checkpoint, &note, offset).map_err(bad)?;
            self.device.check(&checkpoint, &note, true).map_err(|fault| match fault {
                Fault::Unsealed => checkpoint_fault(Outcome::Unsealed, offset, UNSEALED),
                Fault::Invalid => bad("the checkpoint has a bad signature by the device"),
            })?;
            self.report.checkpoints += 1;
            self.report.covered = checkpoint.size;
            self.last = Some(checkpoint);
            self.advance()?;
        }
        Ok(())
    }

    /// What the caller kept at this size is held to the same as a checkpoint of the log.
    fn kept_at(&mut self, tree: &Frontier) -> Result<(), Stop> {
        let size = tree.size();
        while let Some(at) = self.kept.iter().position(|(it, _)| it.size == size) {
            let (checkpoint, note) = self.kept.swap_remove(at);
            if checkpoint.root != tree.root() {
                let why = format!("at {size} records the log has another root");
                return Err(kept_fault(why));
            }
            if let Some(keys) = &self.keys.now {
                signed_by_all(&checkpoint, note, keys, self.verifier)
                    .map_err(|fault| kept_fault(fault.why().into()))?;
            } else {
                self.remark(|| format!("the signers of the kept checkpoint of {size} are unknown"));
            }
            self.device.check(&checkpoint, note, false).map_err(|fault| match fault {
                Fault::Unsealed => Stop::Bad(Outcome::Unsealed, kept_damage(UNSEALED.into())),
                Fault::Invalid => kept_fault("it has a bad signature by the device".into()),
            })?;
        }
        Ok(())
    }

    /// Reads the next checkpoint. A torn one at the end is noticed at the end.
    fn advance(&mut self) -> Result<(), Stop> {
        self.pending = self.checkpoints.next()?;
        Ok(())
    }

    /// A log whose first records are hashes only: they must give the tree that the first segment begins with, and the roots
    /// of the checkpoints before it.
    fn pruned(&mut self, begin: &Frontier) -> Result<(), Stop> {
        let today = std::fs::read_to_string(self.dir.join(KEYS)).ok().and_then(|text| {
            text.lines().map(|line| NoteKey::parse(line).ok()).collect::<Option<Vec<_>>>()
        });
        if self.expect.keys.is_none() {
            self.remark(|| "the first keys were pruned with their record".into());
        }
        let (devices, keys): (Vec<_>, Vec<_>) = today.into_iter().flatten().partition(is_device);
        self.keys.guess((!keys.is_empty()).then_some(keys));
        self.device.guess(devices.into_iter().next(), begin.size());
        let Ok(file) = File::open(self.dir.join(hashes_name(0))) else {
            self.remark(|| "the hashes of pruned records are missing".into());
            return Ok(());
        };
        let mut file = BufReader::new(file);
        let mut tree = Frontier::default();
        self.advance()?;
        let mut leaf = [0; 32];
        while tree.size() < begin.size() {
            let read = read_up_to(&mut file, &mut leaf)
                .map_err(|error| AuditError::Io("read the hashes", error))?;
            if read < leaf.len() {
                self.remark(|| "the hashes of pruned records are not complete".into());
                return Ok(());
            }
            tree.push(leaf);
            if tree.size() < begin.size() {
                self.at(&tree)?;
            }
        }
        if tree != *begin {
            return Err(Stop::Bad(
                Outcome::Damaged,
                Damage {
                    seq: None,
                    file: hashes_name(0).into(),
                    offset: 0,
                    why: "the hashes of pruned records do not lead to the first record".into(),
                },
            ));
        }
        Ok(())
    }

    fn finish(&mut self, tree: &Frontier) -> Result<(), Stop> {
        if let Some(Stored { offset, .. }) = &self.pending {
            let why = "the checkpoint covers more records than there are";
            return Err(checkpoint_fault(Outcome::BadCheckpoint, *offset, why));
        }
        let of_first_segment = |seq, why: &'static str| Damage {
            seq: Some(seq),
            file: segment_name(0).into(),
            offset: 0,
            why: why.into(),
        };
        if self.report.first > self.dropped_until {
            let why = "records are missing that no record says were dropped";
            let damage = of_first_segment(self.dropped_until, why);
            return Err(Stop::Bad(Outcome::Damaged, damage));
        }
        self.keys.trusted().map_err(|damage| Stop::Bad(Outcome::BadAuditKey, damage))?;
        self.device.trusted().map_err(|damage| Stop::Bad(Outcome::BadAuditKey, damage))?;
        if self.device.never_sealed() {
            let why = "no checkpoint has a line by the device that should seal the log";
            return Err(checkpoint_fault(Outcome::Unsealed, 0, why));
        }
        if let Some(offset) = self.keys.unsigned() {
            let why = "nothing says which keys this and the later checkpoints are signed by";
            return Err(checkpoint_fault(Outcome::BadCheckpoint, offset, why));
        }
        if self.keys.vouch_for_nothing() {
            let why = "no checkpoint is signed by the pinned keys";
            return Err(checkpoint_fault(Outcome::BadCheckpoint, 0, why));
        }
        if self.report.checkpoints == 0 && tree.size() > 0 {
            self.remark(|| "there is no checkpoint: nobody signed any of it".into());
        }
        if self.keys.has_unknown() {
            self.remark(|| "the signers of the first checkpoints are unknown".into());
        }
        if let Some((kept, _)) = self.kept.first() {
            let size = kept.size;
            return Err(kept_fault(match size > tree.size() {
                true => format!("it has {size} records, and the log {}", tree.size()),
                false => format!("of the tree of {size} records not even hashes are left"),
            }));
        }
        if let Some((size, root)) = self.expect.seen.filter(|(size, _)| *size > 0) {
            let why = match self.seen_root {
                Some(seen) if seen == root => None,
                Some(_) => Some("another root at the anchor's size"),
                None if size > tree.size() => Some("the log is older than its anchor"),
                None => Some("the anchor's size lies before the first record"),
            };
            if let Some(why) = why {
                return Err(Stop::Bad(Outcome::BehindAnchor, of_first_segment(size, why)));
            }
        }
        match self.checkpoints.torn_at() {
            Some(at) => Err(checkpoint_fault(Outcome::Torn, at, "the last checkpoint is torn")),
            None => Ok(()),
        }
    }
}

fn checkpoint_fault(outcome: Outcome, offset: u64, why: &'static str) -> Stop {
    Stop::Bad(outcome, Damage { seq: None, file: CHECKPOINTS.into(), offset, why: why.into() })
}

fn kept_fault(why: String) -> Stop {
    Stop::Bad(Outcome::BadCheckpoint, kept_damage(why))
}

fn kept_damage(why: String) -> Damage {
    Damage { seq: None, file: "kept checkpoint".into(), offset: 0, why: why.into() }
}
