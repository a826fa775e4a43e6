//! Verifies a whole log offline: every record, the tree over them, every checkpoint, every change of audit keys.
//!
//! It streams, so ten million records take no more memory than ten, and names the first thing that is wrong.
//! It trusts nothing that the writer wrote down for itself: the tree is built anew from the records.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::checkpoint::{Checkpoint, Signed, signed_by, verify_raw};
use crate::error::{AuditError, Damage, Result};
use crate::layout::{
    CHECKPOINTS, FrameKind, HEAD, KEYS, check_frame_body, frame_len, hashes_name, parse_head,
    segment_name,
};
use crate::merkle::{Frontier, Hash};
use crate::note::{MAX_NOTE, Note, NoteKey, NoteVerifier};
use crate::reader::{Next, Records, read_up_to};
use crate::record::{AuditKeys, Body};

/// What came out. The numbers are exit codes that scripts can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it was written.
    Intact = 0,
    /// All but a torn record or checkpoint at the very end, as a crash leaves it; the next start drops it.
    Torn = 3,
    /// A record, a segment or a checkpoint is not as it was written.
    Damaged = 4,
    /// A checkpoint has another root than the records, covers more of them than there are, contradicts the one before, or
    /// is not signed by the keys in force.
    BadCheckpoint = 5,
    /// A change of audit keys was not signed by the keys before, or the first keys are not the trusted ones.
    BadAuditKey = 6,
    /// The anchor saw more records, or others.
    BehindAnchor = 7,
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
    /// Records that the last of them covers.
    pub covered: u64,
    /// The keys in force at the end.
    pub keys: Vec<NoteKey>,
    /// What an auditor should look at, though nothing contradicts it: overrides, dropped records, unchecked signatures.
    pub remarks: Vec<String>,
}

/// What a log is held to, beside itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expect<'a> {
    /// The keys that the first record must name; without them the log vouches for its own first keys.
    pub keys: Option<&'a [NoteKey]>,
    /// Size and root that an anchor, or an earlier visit, saw.
    pub seen: Option<(u64, Hash)>,
}

/// Verifies the log in a directory; it may be open for writing. `progress` is told the number of records read, every
/// few thousand.
///
/// # Errors
/// `Io` and `NotFound` when there is nothing to read. What is wrong with a log is in the report.
pub fn verify(
    dir: &Path,
    verifier: &dyn NoteVerifier,
    expect: Expect<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Report> {
    let mut run = Run {
        dir,
        verifier,
        expect,
        // Records that these cover are in their segments before the checkpoints are in their file.
        checkpoints: CheckpointReader::open(dir)?,
        pending: None,
        last: None,
        keys: None,
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
            remarks: Vec::new(),
        },
    };
    match run.all(progress) {
        Ok(()) => {}
        Err(Stop::Bad(outcome, damage)) => {
            run.report.outcome = outcome;
            run.report.first_bad = Some(damage);
        }
        Err(Stop::Error(error)) => return Err(error),
    }
    run.report.keys = run.keys.unwrap_or_default();
    Ok(run.report)
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
    checkpoints: CheckpointReader,
    /// The next checkpoint, whose size was not reached yet.
    pending: Option<(Checkpoint, Note, u64)>,
    last: Option<Checkpoint>,
    /// Who must sign; unknown in a pruned log until a record or the caller says.
    keys: Option<Vec<NoteKey>>,
    dropped_until: u64,
    seen_root: Option<Hash>,
    report: Report,
}

impl Run<'_> {
    fn all(&mut self, progress: &mut dyn FnMut(u64)) -> Result<(), Stop> {
        let mut records = Records::first(self.dir)?;
        let mut tree = records.segment_frontier().clone();
        self.report.first = tree.size();
        self.keys = self.expect.keys.map(<[NoteKey]>::to_vec);
        if tree.size() > 0 {
            self.pruned(&tree)?;
        }
        self.advance()?;
        self.at(&tree)?;
        let mut segment = records.segment_number();
        loop {
            let next = records.next()?;
            let entry = match next {
                Next::Record(entry) => entry,
                Next::End => break,
                Next::Broken { damage, torn } => {
                    self.summarise(&tree);
                    let covered = self.pending.is_some();
                    let outcome = if torn && !covered { Outcome::Torn } else { Outcome::Damaged };
                    return Err(Stop::Bad(outcome, damage));
                }
            };
            let bad = |why: &'static str| Damage {
                seq: Some(entry.record.seq),
                file: segment_name(entry.segment).into(),
                offset: entry.offset,
                why: why.into(),
            };
            match &entry.record.body {
                Body::AuditKeys(it) => {
                    let keys = self
                        .change_keys(it, entry.record.seq)
                        .map_err(|why| Stop::Bad(Outcome::BadAuditKey, bad(why)));
                    if keys.is_err() {
                        self.summarise(&tree);
                    }
                    self.keys = Some(keys?);
                }
                Body::Override(it) => self.report.remarks.push(format!(
                    "record {}: {} overrode: {}",
                    entry.record.seq, it.actor, it.refused
                )),
                Body::Dropped(it) => self.dropped_until = it.first + it.count,
                Body::Opened(it) if it.dropped_bytes > 0 => self.report.remarks.push(format!(
                    "record {}: {} bytes of torn records were dropped before it",
                    entry.record.seq, it.dropped_bytes
                )),
                _ => {}
            }
            if entry.record.seq == 0 && !matches!(entry.record.body, Body::AuditKeys(_)) {
                return Err(Stop::Bad(
                    Outcome::BadAuditKey,
                    bad("the log does not begin with its keys"),
                ));
            }
            let (seq, leaf, number) = (entry.record.seq, entry.leaf, entry.segment);
            if number != segment {
                segment = number;
                if *records.segment_frontier() != tree {
                    self.summarise(&tree);
                    return Err(Stop::Bad(
                        Outcome::Damaged,
                        Damage {
                            seq: Some(seq),
                            file: segment_name(number).into(),
                            offset: 0,
                            why: "the segment does not follow the one before it".into(),
                        },
                    ));
                }
            }
            tree.push(leaf);
            if let Err(stop) = self.at(&tree) {
                self.summarise(&tree);
                return Err(stop);
            }
            if seq.is_multiple_of(4096) {
                progress(seq);
            }
        }
        self.summarise(&tree);
        progress(tree.size());
        self.finish(&tree)
    }

    fn summarise(&mut self, tree: &Frontier) {
        self.report.size = tree.size();
        self.report.root = tree.root();
    }

    /// The tree has this size now: does a checkpoint, or the anchor, know it?
    fn at(&mut self, tree: &Frontier) -> Result<(), Stop> {
        if self.expect.seen.is_some_and(|(size, _)| size == tree.size()) {
            self.seen_root = Some(tree.root());
        }
        while let Some((checkpoint, note, offset)) =
            self.pending.take_if(|(it, ..)| it.size <= tree.size())
        {
            let bad = |why: &'static str| {
                Stop::Bad(
                    Outcome::BadCheckpoint,
                    Damage { seq: None, file: CHECKPOINTS.into(), offset, why: why.into() },
                )
            };
            if checkpoint.size == tree.size() && checkpoint.root != tree.root() {
                return Err(bad("the checkpoint has another root than the records"));
            }
            if let Some(why) = self.last.as_ref().and_then(|last| last.contradicts(&checkpoint)) {
                return Err(bad(why));
            }
            for key in self.keys.iter().flatten() {
                if checkpoint.origin != key.name() {
                    return Err(bad("the checkpoint is of another log"));
                }
                match signed_by(&note, key, self.verifier) {
                    Signed::Yes(_) => {}
                    Signed::No => return Err(bad("the checkpoint is not signed by the audit key")),
                    Signed::Invalid => return Err(bad("the checkpoint has a bad signature")),
                }
            }
            self.report.checkpoints += 1;
            self.report.covered = checkpoint.size;
            self.last = Some(checkpoint);
            self.advance()?;
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
        if self.keys.is_none() {
            self.keys = std::fs::read_to_string(self.dir.join(KEYS)).ok().and_then(|text| {
                text.lines().map(|line| NoteKey::parse(line).ok()).collect::<Option<Vec<_>>>()
            });
            self.report.remarks.push("the first keys were pruned with their record".into());
        }
        let Ok(file) = File::open(self.dir.join(hashes_name(0))) else {
            self.report.remarks.push("the hashes of pruned records are missing".into());
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
                self.report.remarks.push("the hashes of pruned records are not complete".into());
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

    fn change_keys(&mut self, it: &AuditKeys<'_>, seq: u64) -> Result<Vec<NoteKey>, &'static str> {
        let keys = it
            .keys
            .iter()
            .map(|key| NoteKey::new(it.origin, key.algorithm, key.public))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| "the record names keys that are none")?;
        let Some(before) = &self.keys else {
            if seq > 0 {
                self.report.remarks.push(format!("record {seq}: a change of keys was not checked"));
            }
            return Ok(keys);
        };
        if seq == 0 {
            return if *before == keys {
                Ok(keys)
            } else {
                Err("the first keys are not the trusted ones")
            };
        }
        if it.signatures.is_empty() {
            self.report.remarks.push(format!("record {seq}: keys changed without a signature"));
            return Ok(keys);
        }
        let statement = AuditKeys::statement(it.origin, &it.keys)
            .map_err(|_| "the record names keys that are none")?;
        let signed = before.len() == it.signatures.len()
            && before
                .iter()
                .zip(&it.signatures)
                .all(|(key, signature)| verify_raw(key, &statement, signature, self.verifier));
        if signed { Ok(keys) } else { Err("the keys before did not sign this change") }
    }

    fn finish(&mut self, tree: &Frontier) -> Result<(), Stop> {
        let checkpoint_fault = |outcome, offset, why: &'static str| {
            Err(Stop::Bad(
                outcome,
                Damage { seq: None, file: CHECKPOINTS.into(), offset, why: why.into() },
            ))
        };
        if let Some((_, _, offset)) = &self.pending {
            let why = "the checkpoint covers more records than there are";
            return checkpoint_fault(Outcome::BadCheckpoint, *offset, why);
        }
        let unexplained = |seq| Damage {
            seq: Some(seq),
            file: segment_name(0).into(),
            offset: 0,
            why: "records are missing that no record says were dropped".into(),
        };
        if self.report.first > self.dropped_until {
            return Err(Stop::Bad(Outcome::Damaged, unexplained(self.dropped_until)));
        }
        if let Some((size, root)) = self.expect.seen.filter(|(size, _)| *size > 0) {
            let why = match self.seen_root {
                Some(seen) if seen == root => None,
                Some(_) => Some("another root at the anchor's size"),
                None if size > tree.size() => Some("the log is older than its anchor"),
                None => Some("the anchor's size lies before the first record"),
            };
            if let Some(why) = why {
                let damage = Damage {
                    seq: Some(size),
                    file: segment_name(0).into(),
                    offset: 0,
                    why: why.into(),
                };
                return Err(Stop::Bad(Outcome::BehindAnchor, damage));
            }
        }
        if self.checkpoints.torn {
            return checkpoint_fault(
                Outcome::Torn,
                self.checkpoints.at,
                "the last checkpoint is torn",
            );
        }
        Ok(())
    }
}

/// Reads the file of checkpoints, as far as it went when it was opened.
struct CheckpointReader {
    file: Option<BufReader<File>>,
    at: u64,
    len: u64,
    torn: bool,
}

impl CheckpointReader {
    fn open(dir: &Path) -> Result<CheckpointReader> {
        let fail = |error| AuditError::Io("read the checkpoints", error);
        match File::open(dir.join(CHECKPOINTS)) {
            Ok(file) => {
                let len = file.metadata().map_err(fail)?.len();
                Ok(CheckpointReader { file: Some(BufReader::new(file)), at: 0, len, torn: false })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(CheckpointReader { file: None, at: 0, len: 0, torn: false })
            }
            Err(error) => Err(fail(error)),
        }
    }

    fn next(&mut self) -> Result<Option<(Checkpoint, Note, u64)>> {
        let fail = |error| AuditError::Io("read the checkpoints", error);
        let Some(file) = &mut self.file else { return Ok(None) };
        if self.torn || self.at >= self.len {
            return Ok(None);
        }
        let left = self.len - self.at;
        let offset = self.at;
        let bad = |why: &'static str| {
            Err(AuditError::Damaged(Damage {
                seq: None,
                file: CHECKPOINTS.into(),
                offset,
                why: why.into(),
            }))
        };
        let mut head = [0; HEAD];
        let read = read_up_to(file, &mut head).map_err(fail)?;
        if read < HEAD {
            self.torn = true;
            return Ok(None);
        }
        let Some((FrameKind::Checkpoint, len @ ..=MAX_NOTE)) = parse_head(u64::from_le_bytes(head))
        else {
            return bad("the checkpoint is not as it was written");
        };
        let mut body = vec![0; frame_len(len) - HEAD];
        let read = read_up_to(file, &mut body).map_err(fail)?;
        if check_frame_body(&body, len).is_none() {
            self.torn =
                left <= frame_len(len) as u64 && (read < body.len() || body.last() == Some(&0));
            return if self.torn {
                Ok(None)
            } else {
                bad("the checkpoint is not as it was written")
            };
        }
        self.at += frame_len(len) as u64;
        match Note::parse(&body[..len]).and_then(|note| Ok((Checkpoint::parse(&note.text)?, note)))
        {
            Ok((checkpoint, note)) => Ok(Some((checkpoint, note, offset))),
            Err(_) => bad("the checkpoint is malformed"),
        }
    }
}
